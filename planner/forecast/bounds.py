"""The upper bounds of one measure, at any distance.

Owns a spread for each tracked horizon, and what stands in where none has learned yet.
Refuses the mean. Invariants: a bound is finite and never below its mean.

Without a residual at a horizon, the bound is that of the longest shorter horizon with some,
its distance from the mean grown by the root of the distance ahead, as a random walk's is,
or that of a longer one as it is (where every other round is lost, none comes to horizon 1);
without any residual at all it is a stated share above the mean. Beyond the tracked
horizons, and after a gap, the last one's is grown likewise.
"""

import math

from planner.forecast.settings import ForecastSettings
from planner.forecast.spread import Spread, normal_z
from planner.forecast.stored import rows

COLD_RATIO = 1.0
"""Relative deviation before anything is learned: a 0.95 bound of 2.6 times the mean."""


class Bounds:
    """Bounds of one measure.

    Args:
        settings: Horizons and the quantile.
    """

    def __init__(self, settings: ForecastSettings) -> None:
        self._settings = settings
        self._spreads = [Spread(settings.quantile) for _ in settings.tracked]

    def record(self, track: int, *, mean: float, usual: float, upper: float, seen: float) -> None:
        """Takes in how a round turned out; `track` is the position of the horizon."""
        self._spreads[track].record(mean=mean, usual=usual, upper=upper, seen=seen)

    def upper(self, mean: float, *, usual: float, distance: int) -> float:
        """The bound of a round.

        Args:
            mean: Forecast, >= 0.
            usual: Mean of the rounds with demand, >= 0.
            distance: From the last round seen, in rounds, >= 1.
        """
        tracked = self._settings.tracked
        track = self._settings.track_of(distance)
        widened = math.sqrt(max(1.0, distance / tracked[track]))
        known = self._nearest(track)
        upper = mean * (1.0 + COLD_RATIO * normal_z(self._settings.quantile))
        upper = self._spreads[known].upper(mean, usual=usual, widened=widened, cold=upper)
        return mean + (upper - mean) * math.sqrt(max(1.0, tracked[track] / tracked[known]))

    def _nearest(self, track: int) -> int:
        """The longest horizon up to that position with a residual, else the shortest beyond."""
        order: list[int] = [*range(track, -1, -1), *range(track + 1, len(self._spreads))]
        for at in order:
            if self._spreads[at].count:
                return at
        return 0

    def to_values(self) -> list[object]:
        """Plain values."""
        return [spread.to_values() for spread in self._spreads]

    def restore(self, values: object) -> None:
        """Takes on stored values.

        Raises:
            StateError: They are none of such bounds.
        """
        stored = rows(values, "spreads", count=len(self._spreads))
        for spread, one in zip(self._spreads, stored, strict=True):
            spread.restore(one)
