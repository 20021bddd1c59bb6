"""What a solver process may take.

Owns the limits and how they are laid on a process from outside, so that they hold whatever
the process does. Refuses to watch them. Where a system lacks one of them, the others hold.
"""

import contextlib
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

if sys.platform == "linux":
    import resource

_log = logging.getLogger(__name__)

_MIB = 1024 * 1024
_OOM_SCORE = 500  # of -1000 to 1000: proc(5); half of all memory worse than what serves


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverLimits:
    """Limits of one solver process.

    Args:
        memory_bytes: Resident. Measured: 93 MiB at 50 nodes and 8 deployments, 130 MiB at
            1000 and 50, 211 MiB at 5000 and 100 in a solve that was killed in its middle.
        line_bytes: Of one plan. Measured: 1.8 MB at 1000 nodes and 50 deployments.
        start_s: To load OR-Tools; measured 1 to 6 s on two shared cores.
        kill_after_s: Past a solve's budget: solvers' own limits overrun (OR-Tools issues
            #2604, #4743).
        kill_after_ratio: Of the budget, added to that: a search is asked to end between its
            steps. Measured at 1000 nodes and 50 deployments, with 0.4 of a core: 9 s past a
            budget of 20 s, and the plan that was worth it came last.
        niceness: Above the control plane's own; 5 is a third of its share of a busy core.
        cpu_per_s: CPU seconds a solve may take per second it is given. The solvers run one
            thread; the other is for what libraries start.
        watch_every_s: How often memory is looked at.
    """

    memory_bytes: int = 2048 * _MIB
    line_bytes: int = 64 * _MIB
    start_s: float = 30.0
    kill_after_s: float = 2.0
    kill_after_ratio: float = 0.5
    niceness: int = 5
    cpu_per_s: int = 2
    watch_every_s: float = 0.05

    def overrun_s(self, budget_s: float) -> float:
        """How far past its budget a solve may run."""
        return self.kill_after_s + self.kill_after_ratio * budget_s

    @property
    def address_bytes(self) -> int:
        """Of writable private memory, resident or not.

        The watch over resident memory comes first, and tells why it kills; this holds where
        memory is swapped out, or grows while the control plane itself stands still.
        """
        return max(2 * self.memory_bytes, 1024 * _MIB)


def lay_on(pid: int, limits: SolverLimits) -> None:
    """Lays on a new process what holds for all its life; logs what could not be."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, 0) + limits.niceness)
        if sys.platform == "linux":
            resource.prlimit(pid, resource.RLIMIT_DATA, (limits.address_bytes,) * 2)
            Path(f"/proc/{pid}/oom_score_adj").write_text(str(_OOM_SCORE))
    except ProcessLookupError:
        pass  # it has died already; whoever reads from it learns so
    except (OSError, ValueError) as error:
        _log.warning("solver_limits_not_laid pid=%d error=%r", pid, str(error))


def allow_cpu(pid: int, wall_s: float, *, cpu_per_s: int) -> None:
    """Lets a process compute for a solve of so long, from now; beyond it gets SIGXCPU.

    The wall clock ends a solve first. This ends it where the control plane stands still.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(psutil.Error, OSError, ValueError):
        times = psutil.Process(pid).cpu_times()
        allowed = int(times.user + times.system + cpu_per_s * wall_s) + 1
        resource.prlimit(pid, resource.RLIMIT_CPU, (allowed, resource.RLIM_INFINITY))


def resident_bytes(pid: int) -> int:
    """Memory a process holds, 0 where it has ended."""
    try:
        resident: int = psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return 0
    return resident
