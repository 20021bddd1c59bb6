"""One solve in a process of its own, watched.

Owns the process, its deadline, the times of its plans and its memory. Refuses to judge
plans. Its seconds are of the processor: a solve has one thread, so on a quiet core they are
those of the clock, and others on the machine do not shorten it. They count from the moment
the process has the snapshot in memory, as in a solver that waits for rounds; whoever outlives
the deadline by far is killed, and what it had sent counts.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from bench.placement.contestants import incumbents
from planner.model import Plan, Snapshot

_GRACE_S = 30.0  # the search asks between steps; one step may take a while
_PACE = 4.0  # seconds by the clock for one of the processor, where others take their share
_START_S = 120.0  # imports and the snapshot, until it begins


Search = Callable[..., Iterator[Plan]]
"""As `contestants.incumbents`; of a module that a new process can import."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incumbent:
    """A plan and when it came.

    Attributes:
        wall_s: Since the solve began.
        cpu_s: Of the solving process until then.
    """

    wall_s: float
    cpu_s: float
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Solve:
    """One solve.

    Attributes:
        incumbents: In order.
        wall_s: All of it.
        peak_bytes: Of the process's resident memory.
        failure: What ended it early; "" where nothing did.
    """

    incumbents: Sequence[Incumbent]
    wall_s: float
    peak_bytes: int
    failure: str


def solve_apart(
    snapshot: Snapshot,
    *,
    seconds: float,
    search: Search = incumbents,
    grace_s: float = _GRACE_S,
) -> Solve:
    """Solves a snapshot in a child, for so many processor seconds.

    Args:
        snapshot: What to solve.
        seconds: After which the search is asked to end.
        search: What solves it.
        grace_s: After four times as many by the clock and these more it is killed.
    """
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_solve, args=(sender, search, snapshot, seconds), daemon=True)
    child.start()
    sender.close()
    found: list[Incumbent] = []
    failure, peak_bytes, wall_s = "", 0, 0.0
    deadline = time.monotonic() + _START_S
    try:
        while True:
            if not receiver.poll(max(0.0, deadline - time.monotonic())):
                failure = f"killed {grace_s:g} s after its time"
                peak_bytes = max(peak_bytes, peak_of(child.pid))
                break
            match receiver.recv():
                case "begun":
                    deadline = time.monotonic() + _PACE * seconds + grace_s
                case Incumbent() as incumbent:
                    found.append(incumbent)
                    peak_bytes = max(peak_bytes, peak_of(child.pid))
                case (float() as wall_s, int() as own_peak, str() as failure):
                    peak_bytes = max(peak_bytes, own_peak)
                    break
    except EOFError:
        child.join()
        failure = f"ended with exit code {child.exitcode}"
    finally:
        receiver.close()
        if child.is_alive() and failure:
            child.kill()
        child.join()
    return Solve(
        incumbents=tuple(found),
        wall_s=wall_s or (found[-1].wall_s if found else 0.0),
        peak_bytes=peak_bytes,
        failure=failure,
    )


def peak_of(pid: int | None) -> int:
    """Peak resident memory of a process, bytes; 0 where it is gone or not told."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    sizes = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return 1024 * int(sizes[0]) if sizes else 0


def _solve(sender: Connection, search: Search, snapshot: Snapshot, seconds: float) -> None:
    sender.send("begun")
    began, cpu = time.perf_counter(), time.process_time()
    failure = ""
    try:
        left = lambda: seconds - (time.process_time() - cpu)  # noqa: E731
        for plan in search(snapshot, work_left=left):
            sender.send(
                Incumbent(
                    wall_s=time.perf_counter() - began,
                    cpu_s=time.process_time() - cpu,
                    plan=plan,
                )
            )
    except Exception as error:  # noqa: BLE001 - told to the parent, which reports it
        failure = f"{type(error).__name__}: {error}"
    sender.send((time.perf_counter() - began, peak_of(os.getpid()), failure))
