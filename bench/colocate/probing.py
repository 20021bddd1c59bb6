"""What is measured on the real engine before the arms, on slices none of them is judged by.

Owns three short loads on the engine with the plugin: mixed ones whose iterations the latency
model is fitted to, online alone, and one pilot at budgets from simulation. Refuses to fit.
"""

import asyncio
import contextlib
import math
from dataclasses import dataclass, replace
from typing import Any

from bench.colocate.arms import ArmSlo
from bench.colocate.client import SloLabels, run_arm
from bench.colocate.engines import BenchEngine
from bench.colocate.reading import read_arm
from bench.colocate.scale import Latencies
from bench.colocate.slices import OfflinePrompts, Slice
from nodeagent.engine.errors import EngineError
from nodeagent.plugin_contract import MeasuredIteration, encode_budgets
from planner.batching.state import Budgets

_POLL_S = 1.0  # the plugin keeps its newest 512 iterations: 2 ms ones would just fit
_BUDGETS_SEEN_MS = (15.0, 40.0, 120.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineOnly:
    """The plugin's engine with online requests alone.

    Args:
        busy_ratio: share of the time in which an iteration ran.
        plugin_ratio: CPU time of the plugin over the time of the passes.
        latencies: of the requests.
    """

    seconds: float
    passes: int
    busy_ratio: float
    plugin_ratio: float
    latencies: Latencies

    def as_values(self) -> dict[str, Any]:
        """What the report says of it."""
        return {
            "seconds": round(self.seconds, 2),
            "passes": self.passes,
            "busy_ratio": round(self.busy_ratio, 4),
            "plugin_ratio": round(self.plugin_ratio, 5),
            **{f"{name}_ms": round(ms, 3) for name, ms in self.latencies.metrics().items()},
        }


async def gather_samples(
    engine: BenchEngine,
    online: Slice,
    offline: OfflinePrompts,
    *,
    window: int,
    seconds: float,
) -> list[MeasuredIteration]:
    """Iterations of mixed load under several budgets, and of the batch alone at the end.

    Args:
        engine: with the plugin, awake and empty.
        online: arrivals that no arm is judged by.
        offline: the batch.
        window: offline requests in the engine.
        seconds: for all of it.
    """
    gathered: dict[int, MeasuredIteration] = {}
    follower = asyncio.create_task(follow(engine, gathered))
    try:
        stretch_s = seconds / (len(_BUDGETS_SEEN_MS) + 1)
        for number, budget_ms in enumerate(_BUDGETS_SEEN_MS):
            # Uncalibrated: all of each limit, so that long iterations are seen too.
            budgets = Budgets(
                latency_budget_ms=budget_ms, max_stall_ms=2 * budget_ms, uncalibrated_ratio=1.0
            )
            await engine.set(encode_budgets(budgets))
            part = _part(online, number=number, of=len(_BUDGETS_SEEN_MS), duration_s=stretch_s)
            await run_arm(
                engine.client, online=part, duration_s=stretch_s, labels=SloLabels(),
                offline=offline, window=window, settle_s=0.5, tag=f"tune{number:02d}",
            )  # fmt: skip
        await run_arm(
            engine.client, online=None, duration_s=stretch_s, labels=SloLabels(),
            offline=offline, window=window, settle_s=0.0, tag="tunebb",
        )  # fmt: skip
        await engine.empty()
    finally:
        follower.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await follower
    return [gathered[number] for number in sorted(gathered)]


async def measure_online_only(engine: BenchEngine, online: Slice) -> OnlineOnly:
    """Busy share, and what the plugin itself takes where there is nothing to co-locate."""
    before = (await engine.state()).counters
    run = await run_arm(
        engine.client, online=online, duration_s=online.duration_s, labels=SloLabels(),
        offline=None, window=0, settle_s=0.0, tag="tuneon",
    )  # fmt: skip
    after = (await engine.state()).counters
    last_s = [r.trace.chunks[-1].at_s for r in run.records if r.trace.chunks]
    seconds = max([run.began_s + run.duration_s, *last_s]) - run.began_s
    pass_us = after.online_only_pass_us - before.online_only_pass_us
    plugin_us = after.online_only_scheduling_us - before.online_only_scheduling_us
    return OnlineOnly(
        seconds=seconds,
        passes=after.passes - before.passes,
        busy_ratio=pass_us / 1e6 / seconds,
        plugin_ratio=plugin_us / pass_us if pass_us else math.nan,
        latencies=Latencies.of_arms([read_arm(run, arm="A")]),
    )


async def run_pilot(
    engine: BenchEngine,
    online: Slice,
    *,
    slo: ArmSlo,
    budgets: Budgets,
    offline: OfflinePrompts,
    window: int,
    settle_s: float,
) -> Latencies:
    """A slice beside the batch under budgets that simulation found for an SLO.

    Args:
        engine: with the plugin, awake and empty.
        online: a slice that no arm is judged by.
        slo: what its requests carry.
        budgets: to run at.
        offline: the batch.
        window: offline requests in the engine.
        settle_s: how long the batch runs before the slice.
    """
    await engine.set(encode_budgets(budgets))
    run = await run_arm(
        engine.client,
        online=online,
        duration_s=online.duration_s,
        labels=SloLabels(ttft_ms=slo.ttft_ms, itl_ms=slo.itl_ms),
        offline=offline,
        window=window,
        settle_s=settle_s,
        tag="tunepp",
    )
    return Latencies.of_arms([read_arm(run, arm="pilot")])


async def follow(
    engine: BenchEngine, gathered: dict[int, MeasuredIteration], *, period_s: float = _POLL_S
) -> None:
    """Reads the plugin's newest iterations until it is cancelled.

    Args:
        engine: with the plugin.
        gathered: where they go, by sequence number.
        period_s: between two readings, each of which takes the engine some milliseconds.
    """
    while True:
        with contextlib.suppress(EngineError):
            for sample in (await engine.state()).samples:
                gathered[sample.sequence] = sample
        await asyncio.sleep(period_s)


def _part(online: Slice, *, number: int, of: int, duration_s: float) -> Slice:
    """A share of the slice's requests, from its own 0 on, no later than `duration_s`."""
    share = math.ceil(len(online.requests) / of)
    requests = online.requests[number * share : (number + 1) * share] or online.requests[:1]
    first_s = requests[0].at_s
    dated = tuple(replace(r, at_s=min(r.at_s - first_s, duration_s)) for r in requests)
    prompts = online.prompts[number * share : (number + 1) * share] or online.prompts[:1]
    return replace(online, requests=dated, prompts=prompts)
