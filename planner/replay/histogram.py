"""Distributions of durations in memory that does not grow with their number.

Owns a histogram whose buckets grow by a constant factor, so that a quantile's error is a
constant share of it. Refuses raw samples: mean, least and most are exact, all else is read
from buckets. Invariants: bucket `i` holds (GROWTH^(i-1), GROWTH^i] ms; a quantile is within
`RESOLUTION_RATIO` of the exact one, as `planner.slo.quantile` defines it; at most
log(1e12)/log(GROWTH), 5,540, buckets over the twelve decades from a nanosecond to a quarter
of an hour.

Source: Masson, Rim, Lee, DDSketch, VLDB 2019 (relative-error buckets).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf, log, sqrt

from planner.slo import Quantiles

GROWTH = 1.005
"""Upper over lower edge of a bucket."""

RESOLUTION_RATIO = 0.0025
"""Largest relative error of a quantile: a bucket's middle is sqrt(GROWTH) from its edges."""

_LEAST_MS = 1e-6  # shorter durations count as 0: a nanosecond is below any clock of interest
_BUCKETS_PER_LOG = 1.0 / log(GROWTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Durations in milliseconds, counted.

    Attributes:
        count: Samples.
        mean: Exact; 0 without samples.
        least: Exact, likewise.
        most: Exact, likewise.
        zeros: Samples below a nanosecond.
        buckets: `(upper edge, samples)` of each bucket that has samples, ascending.
    """

    count: int = 0
    mean: float = 0.0
    least: float = 0.0
    most: float = 0.0
    zeros: int = 0
    buckets: tuple[tuple[float, int], ...] = ()

    def quantile(self, share: float) -> float:
        """The least duration that at least `share` of the samples do not exceed.

        Args:
            share: 0 < share <= 1.

        Returns:
            Milliseconds, within `RESOLUTION_RATIO` of the exact quantile; 0 without samples.
        """
        rank = max(1, ceil(share * self.count))
        if rank >= self.count:
            return self.most
        seen = self.zeros
        if rank <= seen:
            return 0.0
        for upper, samples in self.buckets:
            seen += samples
            if rank <= seen:
                return min(self.most, max(self.least, upper / sqrt(GROWTH)))
        raise AssertionError(f"{seen} samples in buckets, {self.count} counted")

    def quantiles(self) -> Quantiles:
        """The usual ones; mean and maximum are exact."""
        return Quantiles(
            count=self.count,
            mean=self.mean,
            p50=self.quantile(0.5),
            p90=self.quantile(0.9),
            p99=self.quantile(0.99),
            max=self.most,
        )


class LogHistogram:
    """Counts durations as they come."""

    __slots__ = ("_buckets", "_count", "_least", "_most", "_sum", "_zeros")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self._count = self._zeros = 0
        self._sum = 0.0
        self._least, self._most = inf, 0.0

    def add(self, duration_ms: float) -> None:
        """Counts one duration.

        Raises:
            ValueError: It is negative, infinite or no number.
        """
        self.add_all([duration_ms])

    def add_all(self, durations_ms: Sequence[float]) -> None:
        """Counts durations, each as `add` does; none of them where one is refused."""
        if not durations_ms:
            return
        low, high, total = min(durations_ms), max(durations_ms), sum(durations_ms)
        if not (low >= 0.0 and total < inf):  # false too where one is no number: so is the sum
            raise ValueError(f"durations from {low} to {high} ms: must be finite and >= 0")
        buckets = self._buckets
        for duration_ms in durations_ms:
            if duration_ms < _LEAST_MS:
                self._zeros += 1
                continue
            index = ceil(log(duration_ms) * _BUCKETS_PER_LOG)
            buckets[index] = buckets.get(index, 0) + 1
        self._least = min(self._least, low)
        self._most = max(self._most, high)
        self._count += len(durations_ms)
        self._sum += total

    def distribution(self) -> Distribution:
        """What has been counted so far."""
        return Distribution(
            count=self._count,
            mean=self._sum / self._count if self._count else 0.0,
            least=self._least if self._count else 0.0,
            most=self._most,
            zeros=self._zeros,
            buckets=tuple((GROWTH**index, self._buckets[index]) for index in sorted(self._buckets)),
        )
