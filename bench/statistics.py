"""Intervals of paired ratios, and what they say of a target.

Owns the bootstrap all benches share. Refuses data it cannot pair: every arm of a round
has the same blocks.

Method: a two-level paired block bootstrap. A round is cut into blocks of arrivals; a
resample draws rounds with replacement, then as many blocks of each drawn round with
replacement, and *every* arm is read at the same rounds and blocks, so that what the
arrivals do to both arms cancels. Blocks, not single requests, because neighbours wait in
one queue (Künsch, Annals of Statistics 1989). The interval is the percentile interval;
with one round only its blocks are resampled.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]
Draw = Sequence[tuple[int, NDArray[np.int64]]]
"""A resample: round and the blocks drawn of it, once for each drawn round."""

REPLICATES = 1000
COVERAGE_RATIO = 0.95


class Verdict(Enum):
    """What an interval says of a target."""

    MET = "met"
    NOT_MET = "not met"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A statistic of all samples and its bootstrap interval."""

    value: float
    low: float
    high: float


def whole(blocks: Sequence[int]) -> Draw:
    """Every round and block once, in order.

    Args:
        blocks: number of blocks of each round.
    """
    return [(number, np.arange(count)) for number, count in enumerate(blocks)]


def draws(blocks: Sequence[int], *, replicates: int, seed: int) -> Iterator[Draw]:
    """Resamples, the same for the same arguments.

    Args:
        blocks: number of blocks of each round, each >= 1.
        replicates: how many.
        seed: of everything drawn.
    """
    source = np.random.default_rng(seed)
    for _ in range(replicates):
        rounds = source.integers(len(blocks), size=len(blocks))
        yield [(int(r), source.integers(blocks[r], size=blocks[r])) for r in rounds]


def bootstrap(
    statistic: Callable[[Draw], float],
    *,
    blocks: Sequence[int],
    seed: int,
    replicates: int = REPLICATES,
    coverage_ratio: float = COVERAGE_RATIO,
) -> Interval:
    """The statistic of all samples with its percentile interval.

    Args:
        statistic: of a resample; NaN where that resample cannot tell, which widens the
            interval to both sides.
        blocks: number of blocks of each round.
        seed: of the resamples.
        replicates: resamples, >= 40.
        coverage_ratio: of the interval, in (0, 1).

    Raises:
        ValueError: no round, or a round without a block.
    """
    if not blocks or min(blocks) < 1:
        raise ValueError(f"bootstrap: blocks {list(blocks)}, need >= 1 in each of >= 1 rounds")
    value = statistic(whole(blocks))
    seen = [statistic(draw) for draw in draws(blocks, replicates=replicates, seed=seed)]
    tail = (1.0 - coverage_ratio) / 2.0
    lows = sorted(-math.inf if math.isnan(s) else s for s in seen)
    highs = sorted(math.inf if math.isnan(s) else s for s in seen)
    return Interval(
        value=value,
        low=lows[math.floor(tail * (len(lows) - 1))],
        high=highs[math.ceil((1.0 - tail) * (len(highs) - 1))],
    )


def verdict(interval: Interval, target: str) -> Verdict:
    """Whether the whole interval, none of it, or part of it meets a target.

    Args:
        interval: of a statistic.
        target: "<= NUMBER" or ">= NUMBER".

    Raises:
        ValueError: the target is neither.
    """
    sign, _, bound = target.partition(" ")
    if sign not in ("<=", ">="):
        raise ValueError(f"target {target!r}: expected '<= NUMBER' or '>= NUMBER'")
    limit = float(bound)
    least, most = interval.low <= limit, interval.high <= limit
    if sign == ">=":
        least, most = interval.high >= limit, interval.low >= limit
    if most:
        return Verdict.MET
    return Verdict.CANNOT_TELL if least else Verdict.NOT_MET


def quantile_of(samples: Samples, share: float) -> float:
    """The least sample that at least `share` do not exceed, as `planner.slo.quantile`.

    NaN of no samples.
    """
    if not len(samples):
        return math.nan
    index = max(0, math.ceil(share * len(samples)) - 1)
    return float(np.partition(samples, index)[index])


def mean_of(samples: Samples) -> float:
    """The mean; NaN of no samples."""
    return float(samples.mean()) if len(samples) else math.nan


def ratio(numerator: float, denominator: float) -> float:
    """The ratio; NaN where the denominator is 0 or either is NaN."""
    return numerator / denominator if denominator else math.nan
