"""Short-term demand: exponential levels of several lengths, and a damped trend.

Owns the means of what was seen lately. Refuses seasons. A missing bin changes nothing: it
was not seen. Invariants: constant memory; values are >= 0 and in proportion to what was
seen.

A level with time constant tau is the weighted mean of the bins seen, the weight falling by
1/e each tau bins; the weights are divided by their sum, so that it is unbiased from the
first bin on. The trend is Brown's double exponential smoothing from two levels, damped as
in Gardner and McKenzie, Management Science 31 (1985): the shorter level lags by its time
constant, the two differ by the slope times the difference of theirs.
"""

import math
from dataclasses import dataclass

from planner.forecast.bins import DAY_S, ForecastSettings
from planner.forecast.values import floats, rows

LEVELS = ("latest", "recent", "hours", "day")
"""Means over about half a round, 2 and 8 rounds, and a day."""
_ROUNDS = (0.5, 2.0, 8.0)
_DAMPING = 0.8  # of the slope per round; a ramp goes on for about four more
_MOST_GROWTH = 2.0  # a trend never forecasts more than twice the higher of its levels


class Level:
    """An exponential mean of bins.

    Args:
        tau_bins: Time constant, > 0.
    """

    __slots__ = ("_kept", "_sum", "_weight")

    def __init__(self, tau_bins: float) -> None:
        self._kept = math.exp(-1.0 / tau_bins)
        self._sum = 0.0
        self._weight = 0.0

    def add(self, value: float) -> None:
        """Takes a bin in."""
        self._sum = self._kept * self._sum + (1.0 - self._kept) * value
        self._weight = self._kept * self._weight + (1.0 - self._kept)

    @property
    def mean(self) -> float:
        """The mean; 0 before the first bin."""
        return self._sum / self._weight if self._weight > 0.0 else 0.0

    def to_values(self) -> list[float]:
        """Plain values."""
        return [self._sum, self._weight]

    def restore(self, value: object, name: str) -> None:
        """Takes on stored values.

        Raises:
            ValuesError: They are none of a level.
        """
        self._sum, self._weight = floats(value, name, count=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortTerm:
    """What the levels say of one round, in arrivals per bin."""

    latest: float
    recent: float
    hours: float
    day: float
    trend: float


class Levels:
    """The levels of one history."""

    def __init__(self, settings: ForecastSettings) -> None:
        taus = [settings.round_bins * rounds for rounds in _ROUNDS]
        taus.append(max(2.0 * taus[-1], DAY_S / settings.bin_s))
        self._levels = {name: Level(tau) for name, tau in zip(LEVELS, taus, strict=True)}

    def add(self, arrivals: float) -> None:
        """Takes a bin in."""
        for level in self._levels.values():
            level.add(arrivals)

    @property
    def day(self) -> float:
        """Mean over about a day, arrivals per bin."""
        return self._levels["day"].mean

    def ahead(self, rounds: float) -> ShortTerm:
        """The levels as forecasts.

        Args:
            rounds: From the last bin seen to the middle of the round, in rounds, > 0.
        """
        latest, recent, hours, day = (level.mean for level in self._levels.values())
        slope = (recent - hours) / (_ROUNDS[2] - _ROUNDS[1])
        damped = _DAMPING * (1.0 - _DAMPING**rounds) / (1.0 - _DAMPING)
        trend = recent + slope * (_ROUNDS[1] + damped)
        most = _MOST_GROWTH * max(recent, hours)
        return ShortTerm(
            latest=latest,
            recent=recent,
            hours=hours,
            day=day,
            trend=min(most, max(0.0, trend)),
        )

    def to_values(self) -> list[list[float]]:
        """Plain values."""
        return [level.to_values() for level in self._levels.values()]

    def restore(self, value: object) -> None:
        """Takes on stored values.

        Raises:
            ValuesError: They are none of levels.
        """
        from_list(self._levels, value)


def from_list(levels: dict[str, Level], value: object) -> None:
    """Restores named levels from a list in their order.

    Raises:
        ValuesError: A list of another length or content.
    """
    stored = rows(value, "levels", count=len(levels))
    for (name, level), one in zip(levels.items(), stored, strict=True):
        level.restore(one, name)
