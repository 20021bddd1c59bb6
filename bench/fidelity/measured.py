"""Judged runs on the real engine.

Owns one run and what is noted beside it: its own iterations, the plugin's counters, and the
machine's pace before and after. Refuses to judge, and to let a judged run's own iterations
into what simulation is told: they only explain.
"""

import asyncio
import contextlib
from dataclasses import asdict, dataclass

from bench.colocate.probing import follow
from bench.colocate.reading import ArmReading, read_arm
from bench.colocate.slices import OfflinePrompts, Slice
from bench.colocate.stage import Stage
from bench.fidelity.gauge import GAUGE_ROWS, pace_of, run_small
from bench.fidelity.twin import JudgedRun
from nodeagent.plugin_contract import MeasuredIteration, encode_budgets
from planner.simulation.measured import MeasuredTimes

_FOLLOW_S = 4.0  # the ring of 512 iterations lasts longer; a reading takes the engine 5 ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One judged run.

    Args:
        gauge: number of the last pace measured before it.
        passes: its own iterations, the batch's before the judged time too; not all.
        counters: what the plugin counted meanwhile.
    """

    judged: JudgedRun
    gauge: int
    reading: ArmReading
    passes: tuple[MeasuredIteration, ...]
    counters: dict[str, int]


class Bench:
    """The engine with the plugin, and the machine's pace so far.

    Args:
        stage: with that engine alone.
        name: of the engine.
        times: what the pace is told by.
        offline: the batch.
        window: offline requests in the engine.
        gauge: online requests by which the pace is measured.
        gauge_s: how long the pace is measured.
    """

    def __init__(
        self,
        stage: Stage,
        name: str,
        *,
        times: MeasuredTimes,
        offline: OfflinePrompts,
        window: int,
        gauge: Slice,
        gauge_s: float,
    ) -> None:
        self._stage, self._name, self._times = stage, name, times
        self._offline, self._window = offline, window
        self._gauge, self._gauge_s = gauge, gauge_s
        self.paces: list[float] = []

    async def gauge(self) -> None:
        """Measures the pace once more."""
        engine = await self._stage.enter(self._name)
        passes = await run_small(
            engine,
            offline=self._offline,
            rows=GAUGE_ROWS,
            seconds=self._gauge_s,
            online=self._gauge,
        )
        self.paces.append(pace_of(self._times, passes))

    async def run(self, judged: JudgedRun) -> Measured:
        """A judged run; the pace after it is the next one measured."""
        arm = judged.arm
        engine = await self._stage.enter(self._name)
        if arm.budgets is not None:
            await engine.set(encode_budgets(arm.budgets))
        before = await engine.state()
        gathered: dict[int, MeasuredIteration] = {}
        follower = asyncio.create_task(follow(engine, gathered, period_s=_FOLLOW_S))
        try:
            watched = await self._stage.run(
                self._name,
                online=judged.online,
                duration_s=judged.duration_s,
                labels=judged.labels,
                offline=self._offline if arm.has_offline else None,
                window=self._window,
                settle_s=judged.settle_s,
            )
        finally:
            follower.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await follower
        after = await engine.state()
        gathered |= {sample.sequence: sample for sample in after.samples}
        newest = before.samples[-1].sequence if before.samples else 0
        counted = asdict(before.counters)
        return Measured(
            judged=judged,
            gauge=len(self.paces) - 1,
            reading=read_arm(
                watched.run,
                arm=arm.name,
                idle_engine_cpu_s=watched.idle_engine_cpu_s,
                foreign_cores=watched.foreign_cores,
            ),
            passes=tuple(gathered[n] for n in sorted(gathered) if n > newest),
            counters={name: n - counted[name] for name, n in asdict(after.counters).items()},
        )

    def pace_around(self, measured: Measured) -> float:
        """The mean of the paces before and after a run; the one before where it is the last."""
        around = self.paces[measured.gauge : measured.gauge + 2]
        return sum(around) / len(around)

    def own_pace(self, measured: Measured) -> float:
        """The pace of a run's own iterations; that around it where none were read."""
        if not measured.passes:
            return self.pace_around(measured)
        return pace_of(self._times, list(measured.passes))

    def own_paces(self, measured: Measured) -> dict[str, float]:
        """Likewise by kind of pass, which says what the simulation has wrong."""
        kinds: dict[str, list[MeasuredIteration]] = {}
        for each in measured.passes:
            kind = "decode" if each.shape.is_decode_only else "prompt"
            whose = "online" if each.ran_online else "batch"
            if each.ran_online and each.offline_rows:
                whose = "both"
            kinds.setdefault(f"{kind}, {whose}", []).append(each)
        return {kind: pace_of(self._times, passes) for kind, passes in sorted(kinds.items())}
