"""Starting, identifying and stopping processes.

Owns that a pid is never mistaken for another process (its start time must match), and
that what a fleet started, with all descendants, can be found and ended. Every process
starts in a session of its own, away from the terminal's signals, with its output in a
log file.
"""

import contextlib
import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil

from controlplane.localfleet.commands import Launch, folders
from controlplane.localfleet.record import LocalFleetError, ProcessRecord

MARK = "SLACKTIDE_CLUSTER"
"""Environment variable that every process of a fleet, and its children, carry."""
_SAME_START_S = 0.5  # the kernel tells start times in ticks since a boot time that may shift
_LOG_TAIL_LINES = 5


def start(
    launch: Launch,
    *,
    python: Path,
    version: str,
    state_dir: Path,
    environment: Iterable[tuple[str, str]] = (),
) -> ProcessRecord:
    """Starts a process in the background.

    Args:
        launch: what to start.
        python: interpreter of the build to run.
        version: that build's version.
        state_dir: the fleet's folder; also the process's working folder.
        environment: variables beside those of this process.
    """
    folders(launch, state_dir).mkdir(parents=True, exist_ok=True)
    log = state_dir / "logs" / f"{launch.id}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    variables = {
        "OMP_NUM_THREADS": "1",  # idle OpenMP threads spin: ten times slower on shared cores
        "PYTHONUNBUFFERED": "1",
        **os.environ,
        **dict(environment),
        MARK: str(state_dir.resolve()),
        # The build's own packages, never those of the folder it happens to start in.
        "PYTHONSAFEPATH": "1",
    }
    with log.open("ab") as stream:
        child = subprocess.Popen(
            [str(python), "-m", launch.module, *launch.arguments],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            cwd=state_dir,
            env=variables,
            start_new_session=True,
        )
    return ProcessRecord(
        kind=launch.kind,
        id=launch.id,
        address=launch.address,
        pid=child.pid,
        start_time_s=psutil.Process(child.pid).create_time(),
        version=version,
        python=str(python),
        log=str(log),
    )


def is_running(record: ProcessRecord) -> bool:
    """Whether that very process lives; a zombie does not."""
    return _process(record) is not None


def stop(records: Sequence[ProcessRecord], *, grace_s: float) -> list[ProcessRecord]:
    """Asks processes to end, waits, then ends what is left with its descendants.

    Returns:
        Those that had to be killed.
    """
    living = [(record, process) for record in records if (process := _process(record))]
    descendants = [child for _, process in living for child in _descendants(process)]
    for _, process in living:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, left = psutil.wait_procs([process for _, process in living], timeout=grace_s)
    forced = [record for record, process in living if process in left]
    _kill([*left, *descendants])
    return forced


def left_behind(state_dir: Path) -> list[psutil.Process]:
    """Processes that carry the fleet's mark, without this one and its ancestors."""
    mark = str(state_dir.resolve())
    own = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid not in own and process.environ().get(MARK) == mark:
                found.append(process)
    return found


def kill_left_behind(state_dir: Path) -> list[str]:
    """Ends what carries the mark; returns a line for each process that was there."""
    found = left_behind(state_dir)
    lines = []
    for process in found:
        with contextlib.suppress(psutil.Error):
            lines.append(f"pid {process.pid}: {' '.join(process.cmdline()[:4])}")
    _kill(found)
    return lines


def log_tail(record: ProcessRecord) -> str:
    """The last lines of a process's log, for an error's sake."""
    try:
        with Path(record.log).open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - 4096))
            lines = stream.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join(line for line in lines if line.strip())[-1500:].strip()


def require_running(record: ProcessRecord) -> None:
    """Refuses to wait for a process that has ended.

    Raises:
        LocalFleetError: it has, with the end of its log.
    """
    if not is_running(record):
        tail = "\n  ".join(log_tail(record).splitlines()[-_LOG_TAIL_LINES:])
        raise LocalFleetError(
            f"{record.kind.value} {record.id}: ended before it was ready; the end of"
            f" {record.log}:\n  {tail}"
        )


def _process(record: ProcessRecord) -> psutil.Process | None:
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.start_time_s) < _SAME_START_S
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _kill(processes: Sequence[psutil.Process]) -> None:
    """Kills and waits; psutil itself checks that a pid is still the same process."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(list(processes), timeout=10)
