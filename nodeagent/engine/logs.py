"""Log files of engines: one a start, the oldest dropped.

Owns their names and what is quoted of them. Refuses to parse more than the tail: a log
can be gigabytes.
"""

import re
from pathlib import Path

KEPT_LOGS = 5
_TAIL_BYTES = 64 * 1024
_LONGEST_QUOTE = 240
_CAUSE = re.compile(r"^\S*(?:Error|Exception|Killed)\b.*")


def new_log_path(folder: Path, *, start: int) -> Path:
    """Path of the log of the `start`-th start, from 1; drops all but the newest few."""
    folder.mkdir(parents=True, exist_ok=True)
    logs = sorted(folder.glob("engine-*.log"))
    for old in logs[: max(0, len(logs) - (KEPT_LOGS - 1))]:
        old.unlink(missing_ok=True)
    return folder / f"engine-{start:06d}.log"


def next_start(folder: Path) -> int:
    """The number of the next start, counting those of earlier agents."""
    numbers = [int(path.stem.removeprefix("engine-")) for path in folder.glob("engine-*.log")]
    return max(numbers, default=0) + 1


def cause_of_death(log: Path) -> str:
    """The last line that names an exception, shortened; empty if there is none."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            lines = stream.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        if _CAUSE.match(line):
            return line[:_LONGEST_QUOTE]
    return ""
