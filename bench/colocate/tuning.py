"""The budgets of each SLO, searched in simulation.

Owns where a search begins and what it is held to. Refuses clocks and engines. What
simulation gets wrong is taken out by `scale`.
"""

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from bench.colocate.arms import ArmSlo
from bench.colocate.rehearsal import Rehearsal
from bench.colocate.scale import NO_GROWTH, Latencies, growths, level_ratios, simulated_slo
from planner.batching.state import Budgets
from planner.interference.search import ProbeResult, search_budgets
from planner.interference.targets import LatencyTargets
from planner.latency.predictor import LatencyModel

_LEAST_CHUNKS = (1 / 8, 5 / 8)  # of a whole one: to use every gap, or to use each well
# Of SGLang's 8,192 tokens on an H100 an eighth lasts 30 ms and fits no gap: D@50% of a 7 B
# model was tuned to 242 tokens/s so, and to 2,876 from an eighth of this (simulated).
_WHOLE_TOKENS = 4096
_CALM_SHARES, _STALL_SHARES, _IDLE_SHARES = (0.6, 1.0), (0.5, 1.0), (0.75, 1.5)
_CREDIT_SHARES = (0.5, 1.5)
_ROWS = (1, 2, 4, 8)  # as static caps keep in flight
_LEAST_GROWTH = 0.02  # of the mean gap


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


def derive_starts(
    slo: ArmSlo, *, alone: Latencies, model: LatencyModel, chunk_tokens: int
) -> list[Budgets]:
    """Where a search starts: shares of what the limits come to, for each least chunk.

    A few let passes be as long as the tail allows and hold the mean gap by a credit, or by how
    few rows there are; the others hold ordinary gaps apart from long ones.

    Limits hold what iterations come to, budgets hold their upper bounds, so each limit is
    raised by the model's margin. The median is the ordinary gap, the tail the longest. An
    arrival finds a pass half over, and if no more than every second arrival finds a long one,
    the median waits for a quarter of it.

    Args:
        slo: in simulated milliseconds.
        alone: online alone in simulation.
        model: of the engine.
        chunk_tokens: prompt tokens a pass computes at the most; <= 0: they are never split.
    """
    whole = min(chunk_tokens, _WHOLE_TOKENS)
    limits = slo.limits_ms
    decode_ratio = 1.0 + model.decode.margin_ratio
    prefill_ratio = 1.0 + model.prefill.margin_ratio
    stall_ms = prefill_ratio * limits["itl_p99"]
    mean_ms = decode_ratio * limits["itl_mean"] if "itl_mean" in limits else stall_ms
    calm_ms = decode_ratio * limits["itl_p50"]
    idle_ms = prefill_ratio * 4.0 * (limits["ttft_p50"] - alone.ttft.p50)
    least_chunks = [int(whole * share) for share in _LEAST_CHUNKS if whole > 0]
    least_chunks = least_chunks or [Budgets().min_chunk_tokens]
    # Without a limit on the mean gap, what the median may grow by stands in.
    growth_ratio = limits["itl_p50"] / alone.itl.p50
    if "itl_mean" in limits:
        growth_ratio = limits["itl_mean"] / alone.itl.mean
    credit_ms = alone.itl.mean * max(_LEAST_GROWTH, growth_ratio - 1.0)
    on_credit = [
        Budgets(
            latency_budget_ms=stall_ms,
            idle_budget_ms=max(_IDLE_SHARES) * idle_ms,
            max_stall_ms=stall_ms,
            min_chunk_tokens=max(1, least),
            gap_credit_ms=share * credit_ms,
        )
        for least in least_chunks
        for share in _CREDIT_SHARES
    ]
    few_rows = [
        Budgets(
            latency_budget_ms=stall_ms,
            idle_budget_ms=max(_IDLE_SHARES) * idle_ms,
            max_stall_ms=stall_ms,
            min_chunk_tokens=max(1, least_chunks[-1]),
            max_rows_beside_online=rows,
        )
        for rows in _ROWS
    ]
    return (
        on_credit
        + few_rows
        + [
            Budgets(
                latency_budget_ms=min(mean_ms, stall * stall_ms),
                calm_budget_ms=calm * calm_ms,
                idle_budget_ms=idle * idle_ms,
                max_stall_ms=stall * stall_ms,
                min_chunk_tokens=max(1, least),
            )
            for least in least_chunks
            for idle, stall, calm in itertools.product(_IDLE_SHARES, _STALL_SHARES, _CALM_SHARES)
        ]
    )


def tune(
    rehearsal: Rehearsal,
    slo: ArmSlo,
    *,
    alone: Latencies,
    judged: Latencies,
    growth: Mapping[str, float],
    start: Budgets | None,
    max_probes: int,
) -> Tuned:
    """The budgets with the most offline work within an SLO, searched in simulation.

    Args:
        rehearsal: the instrument.
        slo: in measured milliseconds.
        alone: online alone, measured on the requests the SLO is of.
        judged: online alone in simulation, on those requests.
        growth: by what earlier runs came out above their simulation, of `scale.growths`.
        start: budgets that were good before; None: not known, so twice as many starts.
        max_probes: simulated runs at most.
    """
    scale = partial(
        simulated_slo,
        slo,
        level=level_ratios(alone, judged),
        judged=judged,
        alone=rehearsal.alone,
    )
    # Requests carry what they will on the engine; what the batch adds is in the targets alone.
    carried, scaled = scale(growth=NO_GROWTH), scale(growth=growth)

    def probe(budgets: Budgets) -> ProbeResult:
        seen = rehearsal.run(budgets, slo=carried)
        return ProbeResult(
            ttft=seen.ttft, itl=seen.itl, offline_tokens_per_s=seen.offline_tokens_per_s
        )

    targets = LatencyTargets(**{f"{name}_ms": ms for name, ms in scaled.limits_ms.items()})
    starts = derive_starts(
        scaled, alone=rehearsal.alone, model=rehearsal.model, chunk_tokens=rehearsal.chunk_tokens
    )
    if start is not None:
        starts = [start, *starts[::2]]
    outcome = search_budgets(probe, targets=targets, starts=starts, max_probes=max_probes)
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
    rehearsal: Rehearsal, *, slo: ArmSlo, budgets: Budgets, alone: Latencies, beside: Latencies
) -> dict[str, float]:
    """By what a run on the real engine came out above the same run in simulation.

    Args:
        rehearsal: of the slice that ran.
        slo: what its requests carried, in measured milliseconds.
        budgets: it ran at.
        alone: online alone on that slice, measured.
        beside: the run, measured.
    """
    there = rehearsal.alone
    level = level_ratios(alone, there)
    labels = simulated_slo(slo, level=level, growth=NO_GROWTH, judged=there, alone=there)
    simulated = Latencies.of_replay(rehearsal.run(budgets, slo=labels))
    return growths(beside, simulated, measured_alone=alone, simulated_alone=there)
