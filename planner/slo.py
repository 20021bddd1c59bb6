"""Latencies of a request as its client saw them, and whether they meet the SLO.

Owns the one definition of TTFT, gaps, TPOT and attainment that load generator, agents,
profiler and benches share. Refuses estimates: quantiles are exact, over all samples.
Invariants: every latency counts from the *scheduled* send time; a chunk of k tokens is
one gap and k - 1 zeros; failed, shed and timed-out requests miss.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from planner.model import Slo

GAPS_WITHIN_RATIO = 0.99
"""Share of a request's gaps that must meet a per-gap target."""


class Outcome(Enum):
    """How a request ended, for its client."""

    COMPLETED = "completed"
    FAILED = "failed"
    SHED = "shed"
    TIMED_OUT = "timed_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One message with tokens: when it came, and how many it carried (>= 1)."""

    at_s: float
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTrace:
    """What a client saw of one request; times are seconds on one clock."""

    scheduled_s: float
    chunks: tuple[Chunk, ...]
    outcome: Outcome

    @property
    def output_tokens(self) -> int:
        """Tokens received."""
        return sum(chunk.tokens for chunk in self.chunks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """Exact quantiles of a sample; all 0 where it is empty."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SloSummary:
    """Many requests against one SLO.

    `itl_ms` is over all gaps of all requests, also of those that failed later;
    `attainment_ratio` is 1 where there were no requests.
    """

    requests: int
    completed: int
    failed: int
    shed: int
    timed_out: int
    attained: int
    ttft_ms: Quantiles
    itl_ms: Quantiles
    tpot_ms: Quantiles
    output_tokens: int

    @property
    def attainment_ratio(self) -> float:
        """Share of requests that met the SLO."""
        return self.attained / self.requests if self.requests else 1.0


def ttft_ms(trace: RequestTrace) -> float | None:
    """Time to first token from the scheduled send; None where none came."""
    if not trace.chunks:
        return None
    return (trace.chunks[0].at_s - trace.scheduled_s) * 1e3


def gaps_ms(trace: RequestTrace) -> list[float]:
    """Gaps between tokens: `output_tokens - 1` of them, zeros within a chunk."""
    gaps: list[float] = []
    last_s: float | None = None
    for chunk in trace.chunks:
        if last_s is not None:
            gaps.append((chunk.at_s - last_s) * 1e3)
        gaps.extend([0.0] * (chunk.tokens - 1))
        last_s = chunk.at_s
    return gaps


def tpot_ms(trace: RequestTrace) -> float | None:
    """Mean gap of the request; None with fewer than two tokens."""
    gap_count = trace.output_tokens - 1
    if gap_count < 1:
        return None
    return (trace.chunks[-1].at_s - trace.chunks[0].at_s) * 1e3 / gap_count


def attains(trace: RequestTrace, slo: Slo) -> bool:
    """Whether the request met its SLO: it completed, with its TTFT and its gaps."""
    first_ms = ttft_ms(trace)
    if trace.outcome is not Outcome.COMPLETED or first_ms is None or first_ms > slo.ttft_ms:
        return False
    return keeps_gaps(trace, slo)


def keeps_gaps(trace: RequestTrace, slo: Slo) -> bool:
    """Whether the gaps between its tokens met the SLO, however it began and ended.

    Per gap (`itl_ms`): at least 99 % of its gaps meet the target. Per request
    (`tpot_ms`): its mean gap does, and no single gap exceeds `slo.gap_ms`.
    """
    gaps = gaps_ms(trace)
    if not gaps:
        return True
    if slo.itl_ms is not None:
        within = sum(gap <= slo.itl_ms for gap in gaps)
        return within >= GAPS_WITHIN_RATIO * len(gaps)
    assert slo.tpot_ms is not None  # Slo sets exactly one of the two
    mean_ms = tpot_ms(trace)
    assert mean_ms is not None  # there are gaps
    return mean_ms <= slo.tpot_ms and max(gaps) <= slo.gap_ms


def quantile(ordered: Sequence[float], share: float) -> float:
    """The least sample that at least `share` of the samples do not exceed.

    Args:
        ordered: samples, ascending.
        share: 0 < share <= 1.
    """
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def quantiles(samples: Iterable[float]) -> Quantiles:
    """Exact quantiles of the samples."""
    ordered = sorted(samples)
    if not ordered:
        return Quantiles(count=0, mean=0.0, p50=0.0, p90=0.0, p99=0.0, max=0.0)
    return Quantiles(
        count=len(ordered),
        mean=math.fsum(ordered) / len(ordered),
        p50=quantile(ordered, 0.5),
        p90=quantile(ordered, 0.9),
        p99=quantile(ordered, 0.99),
        max=ordered[-1],
    )


def summarize(traces: Sequence[RequestTrace], slo: Slo) -> SloSummary:
    """Counts, exact quantiles and attainment of many requests."""
    ends = [trace.outcome for trace in traces]
    return SloSummary(
        requests=len(traces),
        completed=ends.count(Outcome.COMPLETED),
        failed=ends.count(Outcome.FAILED),
        shed=ends.count(Outcome.SHED),
        timed_out=ends.count(Outcome.TIMED_OUT),
        attained=sum(attains(trace, slo) for trace in traces),
        ttft_ms=quantiles(ms for trace in traces if (ms := ttft_ms(trace)) is not None),
        itl_ms=quantiles(gap for trace in traces for gap in gaps_ms(trace)),
        tpot_ms=quantiles(ms for trace in traces if (ms := tpot_ms(trace)) is not None),
        output_tokens=sum(trace.output_tokens for trace in traces),
    )
