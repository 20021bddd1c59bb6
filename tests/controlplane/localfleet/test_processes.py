"""Starting, identifying and stopping real processes."""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from controlplane.localfleet import processes
from controlplane.localfleet.commands import Launch
from controlplane.localfleet.record import LocalFleetError, ProcessRecord
from planner.rollout.upgrade import ProcessKind

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("started", flush=True)
time.sleep(600)
"""
POLITE = "import time\nprint('started', flush=True)\ntime.sleep(600)\n"
BROKEN = "raise SystemExit('disk n7 is full')\n"


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    processes.kill_left_behind(tmp_path)


def begin(state_dir: Path, source: str) -> ProcessRecord:
    (state_dir / "sleeper.py").write_text(source)
    record = processes.start(
        Launch(
            kind=ProcessKind.GATEWAY, id="g1", address="127.0.0.1:1", module="sleeper", arguments=()
        ),
        python=Path(sys.executable),
        version="1",
        state_dir=state_dir,
        environment=[("PYTHONPATH", str(state_dir))],
    )
    give_up = time.monotonic() + 30
    while "started" not in processes.log_tail(record) and processes.is_running(record):
        assert time.monotonic() < give_up
        time.sleep(0.02)
    return record


def test_process_runs_in_a_session_of_its_own_when_started(state_dir: Path) -> None:
    """Ctrl-C at the terminal does not reach it; its output is in its log."""
    record = begin(state_dir, POLITE)
    assert processes.is_running(record)
    assert psutil.Process(record.pid).terminal() is None
    assert processes.log_tail(record) == "started"
    assert processes.stop([record], grace_s=10) == []
    assert not processes.is_running(record)


def test_process_is_not_taken_for_another_when_its_start_time_differs(state_dir: Path) -> None:
    """A pid alone proves nothing: stop must not end a stranger."""
    record = begin(state_dir, POLITE)
    stranger = replace(record, start_time_s=record.start_time_s - 100)
    assert not processes.is_running(stranger)
    assert processes.stop([stranger], grace_s=1) == []
    assert processes.is_running(record)


def test_stop_kills_with_all_children_when_asking_does_not_help(state_dir: Path) -> None:
    """A process that ignores SIGTERM, and its child, are gone, and it is told."""
    record = begin(state_dir, STUBBORN)
    children = psutil.Process(record.pid).children(recursive=True)
    assert children
    assert processes.stop([record], grace_s=0.3) == [record]
    assert not any(child.is_running() for child in children)


def test_left_behind_finds_orphans_when_their_parent_was_killed(state_dir: Path) -> None:
    """What carries the fleet's mark is found without its parent, and ended."""
    record = begin(state_dir, STUBBORN)
    psutil.Process(record.pid).kill()
    psutil.Process(record.pid).wait(10)
    assert len(processes.left_behind(state_dir)) == 1
    assert len(processes.kill_left_behind(state_dir)) == 1
    assert processes.left_behind(state_dir) == []


def test_require_running_shows_the_end_of_the_log_when_it_ended(state_dir: Path) -> None:
    """Why a process ended stands in the error, not only in a file."""
    record = begin(state_dir, BROKEN)
    with pytest.raises(LocalFleetError, match="gateway g1: ended before it was ready") as error:
        processes.require_running(record)
    assert "disk n7 is full" in str(error.value)
