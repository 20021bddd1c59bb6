"""Short-term demand: exponential levels from the last round to a day, and a damped trend.

Owns the means of what was seen lately. Refuses seasons. A missing round changes nothing: it
was not seen. Invariants: constant memory; values are >= 0 and in proportion to what was
seen.

A level with time constant tau is the weighted mean of the rounds seen, the weight falling
by 1/e each tau rounds; the weights are divided by their sum, so that it is unbiased from
the first round on. The trend is Brown's double exponential smoothing from the two shortest,
damped as in Gardner and McKenzie, Management Science 31 (1985): a level lags by its time
constant, so two differ by the slope times the difference of theirs.
"""

import math

from planner.forecast.settings import ForecastSettings
from planner.forecast.stored import floats, part

DAY = "mean of a day"
_LADDER = 4.0  # each level looks back four times as far as the one before
_DAMPING = 0.8  # of the slope, per time constant of the shorter level
_MOST_GROWTH = 2.0  # a trend never forecasts more than twice the higher of its levels


class Levels:
    """The levels of one history; the last value first, the day last."""

    def __init__(self, settings: ForecastSettings) -> None:
        taus = [_LADDER]
        while taus[-1] * _LADDER < settings.day_rounds / 2.0:
            taus.append(taus[-1] * _LADDER)
        taus.append(max(2.0 * taus[-1], settings.day_rounds))
        self._taus = taus
        self._kept = [math.exp(-1.0 / tau) for tau in taus]
        self._sums = [0.0] * len(taus)
        self._weights = [0.0] * len(taus)
        self.last = 0.0
        self.names = (
            "last",
            *(f"mean of {tau:.0f}" for tau in taus[:-1]),
            DAY,
            "trend",
        )

    def add(self, value: float) -> None:
        """Takes a round in."""
        self.last = value
        for at, kept in enumerate(self._kept):
            self._sums[at] = kept * self._sums[at] + (1.0 - kept) * value
            self._weights[at] = kept * self._weights[at] + (1.0 - kept)

    @property
    def day(self) -> float:
        """Mean over about a day; 0 before the first round."""
        return self._sums[-1] / self._weights[-1] if self._weights[-1] else 0.0

    def ahead(self, distance: float) -> list[float]:
        """What each of `names` says of a round; 0 before the first.

        Args:
            distance: From the last round seen, in rounds, > 0.
        """
        if not self._weights[-1]:
            return [0.0] * len(self.names)
        means = [total / weight for total, weight in zip(self._sums, self._weights, strict=True)]
        taus = self._taus
        return [
            self.last,
            *means,
            _trend(means[0], means[1], taus[0], taus[1], distance),
        ]

    def to_values(self) -> dict[str, object]:
        """Plain values."""
        return {
            "last": self.last,
            "sums": list(self._sums),
            "weights": list(self._weights),
        }

    def restore(self, values: object) -> None:
        """Takes on stored values.

        Raises:
            StateError: They are none of levels.
        """
        count = len(self._taus)
        self.last = floats([part(values, "last")], "level last", least=0.0)[0]
        self._sums = floats(part(values, "sums"), "level sums", count=count, least=0.0)
        self._weights = floats(part(values, "weights"), "level weights", count=count, least=0.0)


def _trend(short: float, long: float, tau: float, long_tau: float, distance: float) -> float:
    """The shorter level, brought up to date and carried on along a slope that flattens."""
    slope = (short - long) / (long_tau - tau)
    kept = math.pow(_DAMPING, 1.0 / tau)
    ahead = kept * (1.0 - math.pow(kept, distance)) / (1.0 - kept)
    said = short + slope * (tau + ahead)
    return min(_MOST_GROWTH * max(short, long), max(0.0, said))
