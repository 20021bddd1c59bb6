"""One machine for one arm at a time.

Owns which engine may run now, and what the machine did meanwhile. Invariant: while an arm
runs, every other engine is stopped, and its CPU time shows it.
"""

import os
import time
from dataclasses import dataclass

import psutil

from bench.colocate.client import ArmRun, OfflineItems, SloLabels, run_arm
from bench.colocate.engines import BenchEngine
from bench.colocate.slices import Slice


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A run and what the machine did meanwhile.

    Args:
        idle_engine_cpu_s: CPU that stopped engines took.
        foreign_cores: CPU of processes that are neither engines nor this one, in cores.
    """

    run: ArmRun
    idle_engine_cpu_s: float
    foreign_cores: float


class Stage:
    """Engines of which one at a time is awake."""

    def __init__(self, engines: dict[str, BenchEngine]) -> None:
        self._engines = engines
        self._runs = 0

    async def enter(self, name: str) -> BenchEngine:
        """Stops all others, wakes this one and empties it."""
        engine = self._engines[name]
        for other in self._engines.values():
            if other is not engine and not other.is_paused:
                other.pause()
        engine.wake()
        await engine.empty()
        return engine

    async def run(
        self,
        name: str,
        *,
        online: Slice | None,
        duration_s: float,
        labels: SloLabels,
        offline: OfflineItems | None,
        window: int,
        settle_s: float,
    ) -> Watched:
        """One arm on the engine that `enter` woke, see `client.run_arm`."""
        engine = self._engines[name]
        others = [e for e in self._engines.values() if e is not engine]
        self._runs += 1
        began_s, busy_s = time.monotonic(), _busy_s()
        own_s, idle_s = _own_s(engine), sum(e.cpu_s() for e in others)
        run = await run_arm(
            engine.client,
            online=online,
            duration_s=duration_s,
            labels=labels,
            offline=offline,
            window=window,
            settle_s=settle_s,
            tag=f"{self._runs:04d}",
        )
        seconds = time.monotonic() - began_s
        idle_s = sum(e.cpu_s() for e in others) - idle_s
        foreign_s = (_busy_s() - busy_s) - (_own_s(engine) - own_s) - idle_s
        await engine.empty()
        return Watched(
            run=run,
            idle_engine_cpu_s=idle_s,
            foreign_cores=max(0.0, foreign_s / seconds),
        )


def pin_this_process() -> tuple[int, int]:
    """Puts this process and all it will start on the second of two cores.

    Returns:
        The core for engines' schedulers, and the one for all the rest.

    Raises:
        ValueError: there is only one core.
    """
    cores = sorted(os.sched_getaffinity(os.getppid()))  # this one may be pinned already
    if len(cores) < 2:
        raise ValueError(f"cores {cores}: need two, one for the engine and one for the load")
    os.sched_setaffinity(0, {cores[1]})
    return cores[0], cores[1]


def _busy_s() -> float:
    """CPU seconds of the whole machine so far."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)  # user holds guests


def _own_s(engine: BenchEngine) -> float:
    own = psutil.Process().cpu_times()
    return engine.cpu_s() + own.user + own.system
