"""The program against a real control plane without nodes, and without one."""

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest

from controlplane.cli.app import main
from controlplane.localfleet import commands, processes
from controlplane.localfleet.readiness import wait_serving
from controlplane.localfleet.record import FleetOptions, LocalFleetError
from controlplane.localfleet.release import current_release

MANIFEST = """
name: chat
model: tiny
slo: {ttft: 1s, itl: 100ms}
min_replicas: 1
max_replicas: 1
"""


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    state_dir = tmp_path_factory.mktemp("fleet")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    build = current_release()
    process = processes.start(
        commands.control_plane(FleetOptions(), state_dir=state_dir, address=address),
        python=build.python, version=build.version, state_dir=state_dir,
    )  # fmt: skip
    try:
        wait_serving(process, timeout_s=60)
        yield address
    except LocalFleetError:
        print(processes.log_tail(process))
        raise
    finally:
        processes.stop([process], grace_s=15)


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def slacktide(*arguments: str, endpoint: str = "") -> Done:
    """Runs the program in this process, as its console script does."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("SLACKTIDE_")}
    if endpoint:
        variables["SLACKTIDE_ENDPOINT"] = endpoint
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        patch.dict(os.environ, variables, clear=True),
        patch.object(sys, "argv", ["slacktide", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def test_program_says_what_to_do_when_no_control_plane_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, the three remedies, exit code 3, nothing on stdout."""
    monkeypatch.chdir(tmp_path)
    done = slacktide("node", "list")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.count("\n") == 1
    assert "--control-plane" in done.stderr
    assert "slacktide cluster up" in done.stderr


def test_program_says_so_when_the_control_plane_does_not_answer() -> None:
    """Unreachable is exit code 3 and names the next command."""
    done = slacktide("--control-plane", "127.0.0.1:1", "node", "list")
    assert done.returncode == 3
    assert "next: slacktide cluster status" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["node"], ["deployment", "apply"], ["batch", "submit"], ["placement", "plan"], ["cluster"]],
)
def test_program_teaches_when_asked_for_help(arguments: list[str]) -> None:
    """Every noun and verb explains itself."""
    done = slacktide(*arguments, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: ")


def test_status_shows_the_control_plane_when_it_runs(endpoint: str) -> None:
    """JSON is the wire contract's; the version is the build's."""
    done = slacktide("status", "-o", "json", endpoint=endpoint)
    component = json.loads(done.stdout)["components"][0]
    assert component["kind"] == "COMPONENT_KIND_CONTROL_PLANE"
    assert component["version"] == current_release().version


def test_apply_is_read_back_when_the_manifest_fits(endpoint: str, tmp_path: Path) -> None:
    """Apply, list, describe by prefix; a deployment without room says why."""
    path = tmp_path / "chat.yaml"
    path.write_text(MANIFEST)
    applied = slacktide("deployment", "apply", "-f", str(path), endpoint=endpoint)
    assert applied.returncode == 0, applied.stderr
    assert "applied, generation 1" in applied.stdout
    listed = slacktide("deployment", "list", "-o", "yaml", endpoint=endpoint)
    assert "deployments/chat" in listed.stdout
    described = slacktide("deployment", "describe", "ch", endpoint=endpoint)
    assert "ttft 1 s, itl 100 ms" in described.stdout


def test_apply_is_refused_by_field_when_the_slo_is_zero(endpoint: str, tmp_path: Path) -> None:
    """The control plane's violation reaches the terminal as one line."""
    path = tmp_path / "zero.yaml"
    path.write_text("name: zero\nmodel: tiny\nmax_replicas: 1\nslo: {ttft: 0s, itl: 1s}\n")
    refused = slacktide("deployment", "apply", "-f", str(path), endpoint=endpoint)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "ttft" in refused.stderr


def test_kill_switch_is_seen_when_it_is_on(endpoint: str) -> None:
    """On, seen in status, off again."""
    assert "on" in slacktide("rollout", "kill-switch", "on", endpoint=endpoint).stdout
    assert "kill switch on" in slacktide("status", endpoint=endpoint).stdout
    slacktide("rollout", "kill-switch", "off", endpoint=endpoint)
    assert "off" in slacktide("rollout", "kill-switch", "status", endpoint=endpoint).stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["node", "describe", "n9"], "node 'n9': not found; there are none"),
        (["batch", "status", "b9"], "batch 'b9': not found; there are none"),
        (["replica", "describe", "r9"], "replica 'r9': not found"),
    ],
)
def test_program_names_what_there_is_when_an_id_is_unknown(
    endpoint: str, arguments: list[str], says: str
) -> None:
    """NOT_FOUND is exit code 2 with the next command."""
    done = slacktide(*arguments, endpoint=endpoint)
    assert done.returncode == 2
    assert says in done.stderr
    assert "next: slacktide" in done.stderr


def test_plan_tells_by_its_exit_code_when_nothing_would_change(endpoint: str) -> None:
    """0: no change (there is no node to place on); the misfit is shown."""
    done = slacktide("placement", "plan", endpoint=endpoint)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("no change")


def test_completion_lists_ids_when_the_shell_asks(endpoint: str, tmp_path: Path) -> None:
    """Ids come from the control plane while one types."""
    path = tmp_path / "chat.yaml"
    path.write_text(MANIFEST)
    slacktide("deployment", "apply", "-f", str(path), endpoint=endpoint)
    environment = {
        **os.environ, "SLACKTIDE_ENDPOINT": endpoint, "_SLACKTIDE_COMPLETE": "complete_bash",
        "COMP_WORDS": "slacktide deployment describe c", "COMP_CWORD": "3",
    }  # fmt: skip
    done = subprocess.run(
        [str(Path(sys.executable).with_name("slacktide"))],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "chat" in done.stdout.split()
