"""A workload with the statistics of the Azure conversation trace.

Owns arrivals and lengths drawn to match the trace's published figures. Refuses files and
clocks; a seed says everything. Source: Azure LLM inference trace 2023, conversation
(Patel et al., Splitwise, ISCA 2024; CC-BY 4.0), 19,366 requests over 3,502 s.

Arrivals are a doubly stochastic Poisson process. Measured on the trace: requests per
window have variance / mean of 1.06 at 0.1 s, 1.4 at 1 s, 3.9 at 10 s and 16 at 60 s, so
gaps are Poisson at short range while the rate itself wanders; busiest over quietest
minute is 2.65. The log-rate is the sum of two Ornstein-Uhlenbeck processes: one slow
(deviation 0.21, 300 s), one quick (0.16, 3 s). Prompt and output lengths are drawn
independently (their rank correlation in the trace is 0.07) by inverting the trace's
quantiles, linear in between.
"""

import math
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from planner.workload.quantiles import Quantiles, invert_tokens
from planner.workload.request import WorkloadRequest

Lengths = Callable[[random.Random], tuple[int, int]]
"""Draws prompt and output tokens of a request."""

AZURE_REQUESTS_PER_S = 5.53  # 19,366 requests over 3,502 s

_STEP_S = 0.5
_SLOW_DEVIATION, _SLOW_TIME_S = 0.21, 300.0
_QUICK_DEVIATION, _QUICK_TIME_S = 0.16, 3.0

# (share of requests, tokens at most), measured on the trace.
_PROMPT_QUANTILES: Quantiles = (
    (0.0, 2), (0.01, 29), (0.025, 120), (0.05, 181), (0.10, 207), (0.125, 235), (0.15, 372),
    (0.20, 387), (0.30, 403), (0.375, 428), (0.40, 703), (0.425, 922), (0.45, 984),
    (0.50, 1020), (0.60, 1071), (0.70, 1130), (0.75, 1189), (0.80, 1315), (0.825, 1434),
    (0.85, 1877), (0.875, 2310), (0.90, 2735), (0.925, 4075), (0.95, 4083), (0.98, 4098),
    (0.99, 4142), (0.999, 6212), (1.0, 14050),
)  # fmt: skip
_OUTPUT_QUANTILES: Quantiles = (
    (0.0, 7), (0.01, 16), (0.025, 28), (0.05, 41), (0.10, 54), (0.20, 77), (0.30, 91),
    (0.40, 103), (0.50, 129), (0.60, 177), (0.65, 217), (0.675, 373), (0.70, 384),
    (0.75, 395), (0.80, 400), (0.90, 424), (0.95, 451), (0.975, 522), (0.98, 540),
    (0.99, 601), (0.999, 954), (1.0, 1000),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RateStep:
    """Arrival rate over one step of time."""

    start_s: float
    duration_s: float
    requests_per_s: float


def generate(
    *, seed: int, duration_s: float, requests_per_s: float = AZURE_REQUESTS_PER_S
) -> tuple[WorkloadRequest, ...]:
    """The whole of `generate_stream`; its arguments and errors are the same."""
    return tuple(generate_stream(seed=seed, duration_s=duration_s, requests_per_s=requests_per_s))


def generate_stream(
    *, seed: int, duration_s: float, requests_per_s: float = AZURE_REQUESTS_PER_S
) -> Iterator[WorkloadRequest]:
    """Draws a workload, a request at a time; only its rate is drawn ahead.

    Args:
        seed: equal seeds give equal workloads; scaling the rate keeps its shape.
        duration_s: > 0.
        requests_per_s: mean rate over the whole duration, > 0.

    Raises:
        ValueError: duration or rate out of range; at the call.
    """
    if not (duration_s > 0 and requests_per_s > 0):
        raise ValueError(
            f"duration {duration_s} s at {requests_per_s} requests/s: both must be > 0"
        )
    steps = rate_steps(seed=seed, duration_s=duration_s, requests_per_s=requests_per_s)
    return requests_at(
        arrivals(steps, random.Random(f"{seed}/arrivals")),
        lengths=azure_lengths,
        source=random.Random(f"{seed}/lengths"),
    )


def requests_at(
    times: Iterable[float], *, lengths: Lengths, source: random.Random
) -> Iterator[WorkloadRequest]:
    """Requests at those times, of lengths drawn from the source."""
    for at_s in times:
        prompt_tokens, output_tokens = lengths(source)
        yield WorkloadRequest(at_s=at_s, prompt_tokens=prompt_tokens, output_tokens=output_tokens)


def azure_lengths(source: random.Random) -> tuple[int, int]:
    """Draws prompt and output tokens of one request of the trace."""
    return (
        invert_tokens(_PROMPT_QUANTILES, source.random()),
        invert_tokens(_OUTPUT_QUANTILES, source.random()),
    )


def rate_steps(*, seed: int, duration_s: float, requests_per_s: float) -> tuple[RateStep, ...]:
    """The wandering rate; its mean over the duration is `requests_per_s`."""
    source = random.Random(f"{seed}/rate")
    count = math.ceil(duration_s / _STEP_S)
    slow = _wander(source, count, deviation=_SLOW_DEVIATION, time_s=_SLOW_TIME_S)
    quick = _wander(source, count, deviation=_QUICK_DEVIATION, time_s=_QUICK_TIME_S)
    factors = [math.exp(a + b) for a, b in zip(slow, quick, strict=True)]
    spans = [min(_STEP_S, duration_s - i * _STEP_S) for i in range(count)]
    mean = math.fsum(f * s for f, s in zip(factors, spans, strict=True)) / duration_s
    return tuple(
        RateStep(start_s=i * _STEP_S, duration_s=span, requests_per_s=requests_per_s * f / mean)
        for i, (f, span) in enumerate(zip(factors, spans, strict=True))
    )


def _wander(
    source: random.Random, count: int, *, deviation: float, time_s: float
) -> Iterator[float]:
    """A stationary Ornstein-Uhlenbeck process, sampled every step."""
    keep = math.exp(-_STEP_S / time_s)
    fresh = deviation * math.sqrt(1 - keep * keep)
    value = source.gauss(0, deviation)
    for _ in range(count):
        yield value
        value = keep * value + source.gauss(0, fresh)


def arrivals(steps: Iterable[RateStep], source: random.Random) -> Iterator[float]:
    """Draws the times of a Poisson process: exponential gaps in expected-request time.

    Args:
        steps: its rate, in order of time and without gaps; endless steps are read lazily.
        source: of the gaps.
    """
    due = source.expovariate(1.0)
    expected = 0.0
    for step in steps:
        gain = step.requests_per_s * step.duration_s
        while due < expected + gain:
            yield step.start_s + (due - expected) / step.requests_per_s
            due += source.expovariate(1.0)
        expected += gain
