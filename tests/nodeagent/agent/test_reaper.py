"""No process of an engine outlives its agent, tested with real processes."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from nodeagent.engine.command import EngineCommand
from nodeagent.engine.process import EngineProcess

_HERE = Path(__file__).parent
_WARD = str(_HERE / "reaper_ward.py")
_OWNER = str(_HERE / "reaper_owner.py")


def _command(*argv: str) -> EngineCommand:
    return EngineCommand(argv=(sys.executable, *argv), environment=tuple(os.environ.items()))


def _read_pids(path: Path) -> list[int]:
    give_up_at = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < give_up_at, "the ward did not start"
        time.sleep(0.02)
    return [int(word) for word in path.read_text().split()]


def _assert_gone(pids: list[int]) -> None:
    give_up_at = time.monotonic() + 10
    while left := [pid for pid in pids if _is_alive(pid)]:
        assert time.monotonic() < give_up_at, f"still alive: {left}"
        time.sleep(0.02)


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_reaper_kills_the_whole_tree_when_the_agent_is_killed(tmp_path: Path) -> None:
    """SIGKILL of the agent: launcher, stubborn grandchild and a daemonised one all end."""
    pids_file = tmp_path / "pids"
    owner = subprocess.Popen(
        [sys.executable, _OWNER, str(tmp_path / "log"), sys.executable, _WARD, str(pids_file)],
        stdout=subprocess.PIPE,
    )
    assert owner.stdout is not None
    reaper = int(owner.stdout.readline())
    pids = _read_pids(pids_file)
    assert all(_is_alive(pid) for pid in pids)

    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()

    _assert_gone([reaper, *pids])


async def test_reaper_kills_the_rest_when_the_launcher_exits_by_itself(tmp_path: Path) -> None:
    """A launcher that crashes leaves no grandchildren, and its status is passed on."""
    pids_file = tmp_path / "pids"
    process = await EngineProcess.start(_command(_WARD, str(pids_file)), log_path=tmp_path / "log")
    pids = await asyncio.to_thread(_read_pids, pids_file)

    os.kill(pids[0], signal.SIGKILL)

    assert await process.wait() == 128 + signal.SIGKILL
    assert not any(_is_alive(pid) for pid in pids)


@pytest.mark.parametrize("stubborn", [False, True])
async def test_process_stops_within_its_grace_when_asked(tmp_path: Path, stubborn: bool) -> None:
    """SIGTERM reaches the launcher first; what ignores it is killed when the grace is over."""
    pids_file = tmp_path / "pids"
    flags = ["ignore-term"] if stubborn else []
    process = await EngineProcess.start(
        _command(_WARD, str(pids_file), *flags), log_path=tmp_path / "log"
    )
    pids = await asyncio.to_thread(_read_pids, pids_file)

    await process.stop(grace_s=0.5)

    assert not any(_is_alive(pid) for pid in [process.pid, *pids])
    expected = signal.SIGKILL if stubborn else signal.SIGTERM
    assert await process.wait() == 128 + expected


async def test_process_passes_on_output_and_status_when_the_command_ends(tmp_path: Path) -> None:
    """Output goes to the log, the exit status to whoever waits."""
    process = await EngineProcess.start(
        _command("-c", "print('hello'); raise SystemExit(7)"), log_path=tmp_path / "log"
    )
    assert await process.wait() == 7
    assert "hello" in (tmp_path / "log").read_text()
