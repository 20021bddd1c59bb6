"""From an engine's own iterations to the budgets of each SLO.

Owns three steps: iterations are measured on the real engine, on arrivals no arm is judged
by; a latency model is fitted to them; for each SLO the budgets are searched in simulation,
with that model as policy's belief and, with the spread it left, as truth. Refuses the
judged arms' arrivals. What simulation gets wrong in level is divided out: a limit enters
as a multiple of what online alone measured, and holds for that multiple of what online
alone comes to in simulation.
"""

import asyncio
import contextlib
import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from bench.colocate.arms import ArmSlo, pooled_metrics
from bench.colocate.client import SloLabels, run_arm
from bench.colocate.engines import BenchEngine
from bench.colocate.reading import METRICS, read_arm
from bench.colocate.slices import OfflinePrompts, Slice
from nodeagent.engine.errors import EngineError
from nodeagent.plugin_contract import Counters, MeasuredIteration, encode_budgets, encode_model
from planner.batching.decide import plan_iteration
from planner.batching.state import Budgets, WorkClass
from planner.interference.search import ProbeResult, search_budgets
from planner.interference.targets import LatencyTargets
from planner.latency.fit import FitReport, IterationSample, fit
from planner.latency.predictor import LatencyModel, default_model, identity_of
from planner.simulation.replay import Replayed, replay
from planner.simulation.request import SimulatedRequest
from planner.simulation.settings import EngineSettings, Loop
from planner.simulation.truth import model_truth
from planner.simulation.workload import ClosedLoop

COVERAGE_RATIO = 0.95
_POLL_S = 1.0  # the plugin keeps its newest 512 iterations: 2 ms ones would just fit
_BUDGETS_SEEN_MS = (15.0, 40.0, 120.0)
_SIMULATED_SETTLE_S = 3.0
_GROWTH_RANGE = (0.5, 4.0)
_LEAST_EXCESS = 0.02  # over online alone: a smaller one is neither simulated nor measured


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineOnly:
    """The plugin's engine with online requests alone.

    Args:
        busy_ratio: share of the time in which an iteration ran.
        plugin_ratio: CPU time of the plugin over the time of the passes.
        metrics: `reading.METRICS` in ms.
    """

    seconds: float
    passes: int
    busy_ratio: float
    plugin_ratio: float
    metrics: Mapping[str, float]

    def as_values(self) -> dict[str, Any]:
        """What the report says of it."""
        return {
            "seconds": round(self.seconds, 2),
            "passes": self.passes,
            "busy_ratio": round(self.busy_ratio, 4),
            "plugin_ratio": round(self.plugin_ratio, 5),
            **{f"{name}_ms": round(ms, 3) for name, ms in self.metrics.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A model of the engine and how well it fits.

    Args:
        noise_ratio: spread of measured over predicted, as the deviation of a logarithm.
    """

    model: LatencyModel
    decode: FitReport
    prefill: FitReport
    samples: int
    noise_ratio: float

    def as_values(self) -> dict[str, Any]:
        """What the report says of it."""
        return {
            "identity": self.model.identity,
            "samples": self.samples,
            "noise_ratio": round(self.noise_ratio, 4),
            "decode": asdict(self.decode),
            "prefill": asdict(self.prefill),
            "coefficients": self.model.to_values(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """Budgets found for an SLO, and what simulation expects of them."""

    budgets: Budgets
    source: str
    expected: Mapping[str, float]

    def as_values(self) -> dict[str, Any]:
        """What the report says of it."""
        expected = {name: round(value, 3) for name, value in self.expected.items()}
        return {"budgets": asdict(self.budgets), "source": self.source, "expected": expected}


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
    follower = asyncio.create_task(_follow(engine, gathered))
    try:
        stretch_s = seconds / (len(_BUDGETS_SEEN_MS) + 1)
        for number, budget_ms in enumerate(_BUDGETS_SEEN_MS):
            # Uncalibrated: all of each limit, so that long iterations are seen too.
            budgets = Budgets(
                latency_budget_ms=budget_ms, max_stall_ms=2 * budget_ms, uncalibrated_ratio=1.0
            )
            await engine.client.set_internal_state(encode_budgets(budgets))
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
    gathered: dict[int, MeasuredIteration] = {}
    newest = max((s.sequence for s in (await engine.state()).samples), default=0)
    follower = asyncio.create_task(_follow(engine, gathered))
    try:
        run = await run_arm(
            engine.client, online=online, duration_s=online.duration_s, labels=SloLabels(),
            offline=None, window=0, settle_s=0.0, tag="tuneon",
        )  # fmt: skip
        await asyncio.sleep(_POLL_S)
    finally:
        follower.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await follower
    after = (await engine.state()).counters
    pass_ms = math.fsum(s.measured_ms for s in gathered.values() if s.sequence > newest)
    ended_s = max(
        [run.began_s + run.duration_s]
        + [r.trace.chunks[-1].at_s for r in run.records if r.trace.chunks]
    )
    seconds = ended_s - run.began_s
    return OnlineOnly(
        seconds=seconds,
        passes=after.passes - before.passes,
        busy_ratio=pass_ms / 1e3 / seconds,
        plugin_ratio=_plugin_ratio(before, after, pass_ms=pass_ms),
        metrics=pooled_metrics([read_arm(run, arm="A")]),
    )


async def find_growth(
    engine: BenchEngine,
    online: Slice,
    *,
    slo: ArmSlo,
    budgets: Budgets,
    rehearsal: "Rehearsal",
    alone: Mapping[str, float],
    offline: OfflinePrompts,
    window: int,
    settle_s: float,
) -> dict[str, float]:
    """One pilot on the real engine: by what simulation understates interference.

    Args:
        engine: with the plugin, awake and empty.
        online: the slice that `alone` was measured on; no arm is judged by it.
        slo: what its requests carry.
        budgets: found in simulation for that SLO.
        rehearsal: the same slice in simulation.
        alone: `reading.METRICS` of online alone, measured.
        offline: the batch.
        window: offline requests in the engine.
        settle_s: how long the batch runs before the slice.

    Returns:
        By metric, measured excess over online alone / simulated excess, within
        _GROWTH_RANGE, since one pilot tells no more.
    """
    await engine.client.set_internal_state(encode_budgets(budgets))
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
    measured = pooled_metrics([read_arm(run, arm="pilot")])
    simulated = metrics_of(rehearsal.run(budgets, slo=rehearsal.scaled(slo, alone=alone)))
    least, most = _GROWTH_RANGE
    found = {}
    for name in METRICS:
        real = measured[name] / alone[name] - 1.0
        expected = max(simulated[name] / rehearsal.alone[name] - 1.0, _LEAST_EXCESS)
        found[name] = min(most, max(least, real / expected))
    return found


def fit_model(samples: Sequence[MeasuredIteration], *, device_name: str) -> Fitted:
    """The engine's latency model, the default kept where samples do not better it."""
    identity = identity_of(
        model="bench", device_type=device_name, tensor_parallel_size=1, engine_build="sglang"
    )
    incumbent = default_model(device_name)
    taken = [IterationSample(shape=s.shape, measured_ms=s.measured_ms) for s in samples]
    outcome = fit(taken, identity=identity, incumbent=incumbent, coverage_ratio=COVERAGE_RATIO)
    model = outcome.model or incumbent
    logs = [
        math.log(s.measured_ms / mean)
        for s in taken
        if s.measured_ms > 0 and (mean := model.predict_ms(s.shape)) > 0
    ]
    # 1.4826 median absolute deviations are a normal deviation, and forgive a few pauses.
    centre = statistics.median(logs) if logs else 0.0
    spread = statistics.median(abs(x - centre) for x in logs) if logs else 0.0
    return Fitted(
        model=model,
        decode=outcome.decode,
        prefill=outcome.prefill,
        samples=len(taken),
        noise_ratio=1.4826 * spread,
    )


def model_settings(fitted: Fitted) -> dict[str, float | int]:
    """The fitted model as live settings of an engine."""
    return encode_model(values=fitted.model.to_values(), identity=fitted.model.identity)


def derive_budgets(slo: ArmSlo) -> Budgets:
    """Where a search starts: the median gap as the budget, the tail as the longest stall."""
    limits = slo.limits_ms
    budget_ms = limits["itl_p50"]
    return Budgets(
        latency_budget_ms=budget_ms,
        idle_budget_ms=max(budget_ms, limits["ttft_p50"] / 2.0),
        max_stall_ms=max(budget_ms, limits["itl_p99"] - budget_ms),
    )


class Rehearsal:
    """A trace's tuning slice in simulation, on the fitted model.

    Args:
        fitted: the model, belief and truth.
        settings: the engine's limits.
        online: arrivals that no arm is judged by.
        offline: the batch.
        window: offline requests in the engine.
    """

    def __init__(
        self,
        *,
        fitted: Fitted,
        settings: EngineSettings,
        online: Slice,
        offline: OfflinePrompts,
        window: int,
    ) -> None:
        self._online, self._offline, self._window = online, offline, window
        self._replay = partial(
            replay,
            settings=settings,
            policy=plan_iteration,
            model=fitted.model,
            truth=model_truth(fitted.model, noise_ratio=fitted.noise_ratio, seed=online.seed),
        )
        alone = self._replay(budgets=Budgets(), scheduled=self._scheduled(SloLabels(), at_s=0.0))
        self.alone = metrics_of(alone)
        self.alone_busy_ratio = alone.busy_ratio
        self.growth: Mapping[str, float] = dict.fromkeys(METRICS, 1.0)  # of `find_growth`

    def scaled(self, slo: ArmSlo, *, alone: Mapping[str, float]) -> ArmSlo:
        """The SLO in simulated milliseconds: multiples of online alone, excess corrected.

        A limit below what online alone has, as noise may make it, counts as just above.

        Args:
            slo: in measured milliseconds.
            alone: `reading.METRICS` of online alone, measured.
        """
        limits_ms = {}
        for name, limit in slo.limits_ms.items():
            excess = max(_LEAST_EXCESS, limit / alone[name] - 1.0)
            limits_ms[name] = self.alone[name] * (1.0 + excess / self.growth[name])
        return ArmSlo(limits_ms=limits_ms)

    def run(self, budgets: Budgets, *, slo: ArmSlo) -> Replayed:
        """The slice beside the batch, under budgets, with requests that carry the SLO."""
        labels = SloLabels(ttft_ms=slo.ttft_ms, itl_ms=slo.itl_ms)
        settle_s = _SIMULATED_SETTLE_S
        return self._replay(
            budgets=budgets,
            scheduled=self._scheduled(labels, at_s=settle_s),
            clients=(ClosedLoop(source=self._batch(), in_flight=self._window),),
            from_s=settle_s,
            to_s=settle_s + self._online.duration_s,
        )

    def _scheduled(self, labels: SloLabels, *, at_s: float) -> list[SimulatedRequest]:
        return [
            SimulatedRequest(
                rid=f"online-{index:06d}",
                work_class=WorkClass.ONLINE,
                at_s=at_s + request.at_s,
                prompt_tokens=request.prompt_tokens,
                output_tokens=request.output_tokens,
                blocks=request.blocks,
                block_tokens=request.block_tokens,
                ttft_target_ms=labels.ttft_ms,
                itl_target_ms=labels.itl_ms,
            )
            for index, request in enumerate(self._online.requests)
        ]

    def _batch(self) -> Iterator[SimulatedRequest]:
        for index in itertools.count():
            prompt_tokens, output_tokens = self._offline.lengths(index)
            yield SimulatedRequest(
                rid=f"offline-{index:06d}",
                work_class=WorkClass.OFFLINE,
                prompt_tokens=prompt_tokens,
                output_tokens=output_tokens,
            )


def half_busy_rate(
    rehearse: Callable[[float], Rehearsal], *, busy_ratio: float, start: float
) -> float:
    """The rate at which online alone keeps the simulated engine as busy as asked.

    Args:
        rehearse: a slice at so many requests a second.
        busy_ratio: asked for.
        start: requests a second to begin with, > 0.
    """
    rate = start
    for _ in range(5):  # nearly linear while queues are short: three steps reach 2 %
        seen = rehearse(rate).alone_busy_ratio
        rate *= min(4.0, max(0.25, busy_ratio / max(seen, 1e-3)))
    return rate


def tune(
    rehearsal: Rehearsal,
    slo: ArmSlo,
    *,
    measured_alone: Mapping[str, float],
    start: Budgets | None,
    max_probes: int,
) -> Tuned:
    """The budgets with the most offline work within an SLO, searched in simulation.

    Args:
        rehearsal: the instrument.
        slo: in measured milliseconds.
        measured_alone: latencies of online alone, measured.
        start: budgets to begin with; None derives them from the SLO.
        max_probes: simulated runs at most.
    """
    scaled = rehearsal.scaled(slo, alone=measured_alone)

    def probe(budgets: Budgets) -> ProbeResult:
        seen = rehearsal.run(budgets, slo=scaled)
        return ProbeResult(
            ttft=seen.ttft, itl=seen.itl, offline_tokens_per_s=seen.offline_tokens_per_s
        )

    targets = LatencyTargets(**{f"{name}_ms": ms for name, ms in scaled.limits_ms.items()})
    start = start or derive_budgets(scaled)
    outcome = search_budgets(probe, targets=targets, start=start, max_probes=max_probes)
    # Nothing passed: the nearest is still an answer, and the judged arm says how far off.
    best = outcome.best or min(outcome.probes, key=lambda record: record.worst_ratio)
    return Tuned(
        budgets=best.budgets,
        source=f"simulation: {outcome.detail}",
        expected={
            "worst_ratio": best.worst_ratio,
            "offline_tokens_per_s": best.result.offline_tokens_per_s,
        },
    )


def metrics_of(replayed: Replayed) -> dict[str, float]:
    """Online latencies of a simulated run by the names of `reading.METRICS`."""
    found: dict[str, float] = {}
    for family, seen in (("ttft", replayed.ttft), ("itl", replayed.itl)):
        found |= {f"{family}_mean": seen.mean, f"{family}_p50": seen.p50, f"{family}_p99": seen.p99}
    return found


def simulated_engine(
    *, is_cpu: bool, mixes: bool, kv_tokens: int, chunk_tokens: int, max_rows: int
) -> EngineSettings:
    """The bench's engine as the simulation knows it."""
    return EngineSettings(
        kv_tokens=kv_tokens,
        chunked_prefill_size=chunk_tokens,
        max_running_requests=max_rows,
        mixes=mixes,
        loop=Loop.OVERLAP_BLOCKING if is_cpu else Loop.OVERLAP,
    )


async def _follow(engine: BenchEngine, gathered: dict[int, MeasuredIteration]) -> None:
    """Reads the plugin's newest iterations until it is cancelled."""
    while True:
        with contextlib.suppress(EngineError):
            for sample in (await engine.state()).samples:
                gathered[sample.sequence] = sample
        await asyncio.sleep(_POLL_S)


def _part(online: Slice, *, number: int, of: int, duration_s: float) -> Slice:
    """A share of the slice's requests, from its own 0 on, no later than `duration_s`."""
    share = math.ceil(len(online.requests) / of)
    requests = online.requests[number * share : (number + 1) * share] or online.requests[:1]
    first_s = requests[0].at_s
    dated = tuple(replace(r, at_s=min(r.at_s - first_s, duration_s)) for r in requests)
    prompts = online.prompts[number * share : (number + 1) * share] or online.prompts[:1]
    return replace(online, requests=dated, prompts=prompts)


def _plugin_ratio(before: Counters, after: Counters, *, pass_ms: float) -> float:
    plugin_us = after.scheduling_us - before.scheduling_us
    return plugin_us / 1e3 / pass_ms if pass_ms > 0 else math.nan
