"""Online requests over time, as a rate in steps.

Owns where the rate comes from: constant, a day's shape, or a trace laid out over the replay.
Refuses replicas. Invariants: rates are >= 0; a step series repeats after its end; equal seeds
draw equal requests.
"""

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from planner.workload.generate import (
    Lengths,
    RateStep,
    arrivals,
    azure_lengths,
    rate_steps,
    requests_at,
)
from planner.workload.request import WorkloadRequest

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """A rate in steps, and the lengths of what comes.

    Args:
        rates: Requests per second, a step each, >= 0; begins anew after the last.
        step_s: How long a step lasts, > 0.
        lengths: Draws a request's tokens.
    """

    rates: tuple[float, ...]
    step_s: float
    lengths: Lengths = azure_lengths
    _sums: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.rates or not self.step_s > 0.0:
            raise ValueError(
                f"demand: {len(self.rates)} steps of {self.step_s} s; one step at least is needed"
            )
        for rate in self.rates:
            if not 0.0 <= rate < math.inf:
                raise ValueError(f"demand: rate {rate} requests/s, must be finite and >= 0")
        object.__setattr__(self, "_sums", (0.0, *accumulate(self.rates)))

    def rate(self, from_s: float, to_s: float) -> float:
        """Mean requests per second over [from_s, to_s)."""
        if to_s <= from_s:
            return self.rates[int(from_s / self.step_s) % len(self.rates)]
        return (self._until(to_s) - self._until(from_s)) / (to_s - from_s)

    @property
    def is_none(self) -> bool:
        """Whether nothing ever comes."""
        return self._sums[-1] <= 0.0

    def steps(self, until_s: float) -> Iterator[RateStep]:
        """The steps up to a time."""
        start_s = 0.0
        while start_s < until_s:
            index = round(start_s / self.step_s)
            end_s = min(until_s, (index + 1) * self.step_s)
            yield RateStep(
                start_s=start_s,
                duration_s=end_s - start_s,
                requests_per_s=self.rates[index % len(self.rates)],
            )
            start_s = end_s

    def requests(self, *, seed: str, until_s: float) -> Iterator[WorkloadRequest]:
        """Draws requests at Poisson times of this rate, in order of time."""
        return requests_at(
            arrivals(self.steps(until_s), random.Random(f"{seed}/arrivals")),
            lengths=self.lengths,
            source=random.Random(f"{seed}/lengths"),
        )

    def scaled(self, factor: float) -> "Demand":
        """So many times as much."""
        return replace(self, rates=tuple(rate * factor for rate in self.rates))

    def _until(self, at_s: float) -> float:
        """Requests expected up to a moment."""
        step = math.floor(at_s / self.step_s)
        cycles, index = divmod(step, len(self.rates))
        before = cycles * self._sums[-1] + self._sums[index]
        return (before + self.rates[index] * (at_s / self.step_s - step)) * self.step_s


def constant(requests_per_s: float, *, lengths: Lengths = azure_lengths) -> Demand:
    """The same rate all the time."""
    return Demand(rates=(requests_per_s,), step_s=60.0, lengths=lengths)


def diurnal(
    requests_per_s: float,
    *,
    swing_ratio: float = 0.6,
    peak_s: float = 14 * 3600.0,
    wander_seed: int | None = None,
    duration_s: float = DAY_S,
    step_s: float = 60.0,
    lengths: Lengths = azure_lengths,
) -> Demand:
    """A day's shape: a cosine with its peak at `peak_s`, and a wandering rate on top.

    Args:
        requests_per_s: Mean over the day, >= 0.
        swing_ratio: Of the mean: what the peak is above it and the night below, 0..1.
        peak_s: When the peak is, seconds of the day.
        wander_seed: Of the log-rate's slow wander, as measured on Azure's conversations
            (`workload.generate`); None: none.
        duration_s: Of the series, before it repeats.
        step_s: Of the series.
        lengths: Draws a request's tokens.

    Raises:
        ValueError: swing_ratio out of range.
    """
    if not 0.0 <= swing_ratio <= 1.0:
        raise ValueError(f"swing_ratio {swing_ratio}: must lie in 0..1")
    count = math.ceil(duration_s / step_s)
    wander = [1.0] * count
    if wander_seed is not None:
        wander = _means(
            rate_steps(seed=wander_seed, duration_s=count * step_s, requests_per_s=1.0),
            step_s=step_s,
            count=count,
        )
    rates = []
    for index in range(count):
        angle = 2.0 * math.pi * ((index + 0.5) * step_s - peak_s) / DAY_S
        rates.append(requests_per_s * (1.0 + swing_ratio * math.cos(angle)) * wander[index])
    return Demand(rates=tuple(rates), step_s=step_s, lengths=lengths)


def traced(
    requests: Sequence[WorkloadRequest],
    *,
    scale: float = 1.0,
    phase_s: float = 0.0,
    step_s: float = 10.0,
) -> Demand:
    """The rate and the lengths of a trace, repeated after its end.

    Args:
        requests: In order of time, one at least.
        scale: Factor on the rate, >= 0.
        phase_s: Where in the trace the replay begins.
        step_s: Over which the rate is averaged.

    Raises:
        ValueError: No request, or a negative scale.
    """
    if not requests or not scale >= 0.0:
        raise ValueError(f"trace of {len(requests)} requests at scale {scale}: needs one, and >= 0")
    count = max(1, math.ceil((requests[-1].at_s + 1e-9) / step_s))
    counts = [0.0] * count
    for request in requests:
        counts[min(count - 1, int(request.at_s / step_s))] += 1.0
    first = int(phase_s / step_s) % count
    rates = [scale * n / step_s for n in (*counts[first:], *counts[:first])]
    pairs = [(request.prompt_tokens, request.output_tokens) for request in requests]
    return Demand(rates=tuple(rates), step_s=step_s, lengths=lambda source: source.choice(pairs))


def shaped(base: Demand, by: Demand) -> Demand:
    """One series with the relative ups and downs of another on top; the mean stays about.

    Args:
        base: Whose steps, level and lengths are kept.
        by: Whose rate over its own mean multiplies it.
    """
    mean = sum(by.rates) / len(by.rates)
    if mean <= 0.0:
        return base
    rates = []
    for index, rate in enumerate(base.rates):
        from_s = index * base.step_s
        rates.append(rate * by.rate(from_s, from_s + base.step_s) / mean)
    return replace(base, rates=tuple(rates))


def _means(steps: Iterable[RateStep], *, step_s: float, count: int) -> list[float]:
    sums = [0.0] * count
    for step in steps:
        index = min(count - 1, int(step.start_s / step_s))
        sums[index] += step.requests_per_s * step.duration_s
    return [total / step_s for total in sums]
