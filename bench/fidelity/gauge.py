"""The machine's pace, before and after a judged run.

Owns one small load, a few online requests beside a few of the batch, and what its passes come
to over typical ones. Passes with online rows are among them because they last longer than a
batch's of the same shape: their tokens leave one by one. A shared machine changes its pace
by a fifth within minutes (measured), which no model fitted once can know: the simulation of
a run is given the mean of the paces before and after it. Refuses the judged run's own passes.
"""

from bench.colocate.client import SloLabels, run_arm
from bench.colocate.engines import BenchEngine
from bench.colocate.slices import OfflinePrompts, Slice
from bench.fidelity.arms import UNHURRIED
from nodeagent.plugin_contract import MeasuredIteration, encode_budgets
from planner.latency.sample import IterationSample
from planner.simulation.measured import MeasuredTimes

GAUGE_ROWS = 8  # decodes of few rows, as beside online, and prompts between them


async def run_small(
    engine: BenchEngine,
    *,
    offline: OfflinePrompts,
    rows: int,
    seconds: float,
    online: Slice | None = None,
) -> list[MeasuredIteration]:
    """The passes of a small batch, with online requests beside it or none.

    The engine is left empty.

    Args:
        engine: with the plugin, awake and empty.
        offline: the batch.
        rows: its requests in the engine.
        seconds: how long, short enough for the engine's ring of iterations.
        online: requests beside it, which carry no targets.
    """
    await engine.set(encode_budgets(UNHURRIED))
    before = (await engine.state()).samples
    await run_arm(
        engine.client, online=online, duration_s=seconds, labels=SloLabels(),
        offline=offline, window=rows, settle_s=0.0, tag="small1",
    )  # fmt: skip
    passes = (await engine.state()).samples_after(before[-1].sequence if before else 0)
    await engine.empty()
    return list(passes)


def pace_of(times: MeasuredTimes, passes: list[MeasuredIteration]) -> float:
    """How much slower than typical the passes were, as a ratio."""
    return times.pace_of(samples_of(passes))


def samples_of(passes: list[MeasuredIteration]) -> list[IterationSample]:
    """Passes as the latency model's samples."""
    return [IterationSample(shape=each.shape, measured_ms=each.measured_ms) for each in passes]
