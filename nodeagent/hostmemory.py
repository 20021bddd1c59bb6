"""Host memory that replicas of this node may take.

Owns reading it: what the machine has, or the least that the agent's control groups allow,
since its engines are their children. Refuses to subtract what runs now: placement counts
replicas, and what else a host runs, other agents included, is for --host-memory or an
operator's label to say.
"""

from pathlib import Path

_STEPS = 32
"""Rounded down to so many parts of the next lower power of two at the least: machines alike
differ by some MiB, and placement counts together only nodes of equal memory."""


def host_memory_bytes(*, proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """What the host has for this process, in bytes, rounded down; 0 where it cannot be read.

    Args:
        proc: procfs.
        groups: where control groups are mounted, of version 1 or 2.
    """
    limits = [limit for limit in (_total(proc), *_group_limits(proc, groups)) if limit > 0]
    least = min(limits, default=0)
    step = max(1, (1 << least.bit_length() >> 1) // _STEPS)
    return least // step * step


def _total(proc: Path) -> int:
    for line in _lines(proc / "meminfo"):
        name, _, rest = line.partition(":")
        words = rest.split()
        if name == "MemTotal" and words and words[0].isdecimal():
            return int(words[0]) * 1024  # "kB" of procfs are KiB
    return 0


def _group_limits(proc: Path, groups: Path) -> list[int]:
    """Limits of the process's memory control groups and of all above them."""
    found = []
    for line in _lines(proc / "self" / "cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        root, file = (
            (groups / "memory", "memory.limit_in_bytes") if controllers else (groups, "memory.max")
        )
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            for text in _lines(root.joinpath(*parts[:depth]) / file)[:1]:
                if text.strip().isdecimal():  # "max": none
                    found.append(int(text))
    return found


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
