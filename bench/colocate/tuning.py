"""From an engine's own iterations to the budgets of each SLO.

Owns the fit and the search: a latency model is fitted to iterations measured on the real
engine (`probing`); for each SLO the budgets are searched in simulation, with that model as
the policy's belief and, with the spread it left, as truth. Refuses clocks and engines.

What simulation gets wrong in level is divided out: a limit enters as a multiple of what
online alone measured, and holds for that multiple of what online alone comes to in
simulation. What it gets wrong in growth, one pilot on the engine corrects (`growth_of`).
"""

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from bench.colocate.arms import ArmSlo
from bench.colocate.client import SloLabels
from bench.colocate.reading import METRICS
from bench.colocate.slices import OfflinePrompts, Slice
from nodeagent.plugin_contract import MeasuredIteration, encode_model
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
_SIMULATED_SETTLE_S = 3.0
_GROWTH_RANGE = (0.5, 4.0)
_LEAST_EXCESS = 0.02  # over online alone: a smaller one is neither simulated nor measured


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
    """Where a search starts: the median as the ordinary gap, the tail as the longest stall.

    Twice the median as the mean gap: offline work is to be in few gaps, and much in those.
    """
    limits = slo.limits_ms
    budget_ms = limits["itl_p50"]
    return Budgets(
        latency_budget_ms=2.0 * budget_ms,
        calm_budget_ms=budget_ms,
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
        )
        # Made anew for each replay: a shared one would give each probe other noise.
        self._truth = partial(
            model_truth, fitted.model, noise_ratio=fitted.noise_ratio, seed=online.seed
        )
        alone = self._replay(
            budgets=Budgets(),
            truth=self._truth(),
            scheduled=self._scheduled(SloLabels(), at_s=0.0),
        )
        self.alone = metrics_of(alone)
        self.alone_busy_ratio = alone.busy_ratio
        self.growth: Mapping[str, float] = dict.fromkeys(METRICS, 1.0)  # of `growth_of`

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
            truth=self._truth(),
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


def growth_of(
    rehearsal: Rehearsal,
    *,
    slo: ArmSlo,
    budgets: Budgets,
    alone: Mapping[str, float],
    beside: Mapping[str, float],
) -> dict[str, float]:
    """By what simulation understates interference, from one pilot on the real engine.

    Args:
        rehearsal: the pilot's slice in simulation.
        slo: what the pilot's requests carried.
        budgets: it ran at.
        alone: METRICS of online alone on that slice, measured.
        beside: METRICS of the pilot, measured.

    Returns:
        By metric, measured excess over online alone / simulated excess, within
        _GROWTH_RANGE, since one pilot tells no more.
    """
    simulated = metrics_of(rehearsal.run(budgets, slo=rehearsal.scaled(slo, alone=alone)))
    least, most = _GROWTH_RANGE
    found = {}
    for name in METRICS:
        real = beside[name] / alone[name] - 1.0
        expected = max(simulated[name] / rehearsal.alone[name] - 1.0, _LEAST_EXCESS)
        found[name] = min(most, max(least, real / expected))
    return found


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
