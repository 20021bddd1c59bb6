"""The forecasts that cost nothing: the last round, and the same round yesterday.

Owns their values and, so that comparing bounds is fair, upper bounds from their own past
residuals at the same quantile. Refuses any other cleverness. Invariant: a value uses only
rounds that had ended when it was made.
"""

import math
from collections import deque
from collections.abc import Mapping
from enum import Enum

from planner.forecast.bins import DAY_S, ForecastSettings

_KEPT_RESIDUALS = 192  # as many as the forecaster keeps
_LEAST_RESIDUALS = 20


class Naive(Enum):
    """A forecast to be beaten."""

    LAST = "last round"
    YESTERDAY = "same time yesterday"


def naive_value(
    naive: Naive, seen: Mapping[int, float], *, origin: int, target: int, settings: ForecastSettings
) -> float | None:
    """What a naive forecast says of a round.

    Args:
        naive: Which.
        seen: Counts by round.
        origin: The last round that has ended.
        target: The round to forecast, > origin.
        settings: Lengths.

    Returns:
        The count; None where the round it rests on was not seen.
    """
    match naive:
        case Naive.LAST:
            return seen.get(origin)
        case Naive.YESTERDAY:
            day = target
            while day > origin:  # of a horizon beyond a day, the last whole day seen
                day -= max(1, DAY_S // settings.round_s)
            return seen.get(day)


class NaiveBound:
    """An upper bound from the residuals of one naive forecast at one horizon."""

    def __init__(self, quantile: float) -> None:
        self._quantile = quantile
        self._residuals: deque[float] = deque(maxlen=_KEPT_RESIDUALS)

    def record(self, *, value: float, seen: float) -> None:
        """Takes in how a round turned out."""
        self._residuals.append(seen - value)

    def upper(self, value: float) -> float | None:
        """The bound; None while there are too few residuals."""
        count = len(self._residuals)
        if count < _LEAST_RESIDUALS:
            return None
        rank = min(count, math.ceil((count + 1) * self._quantile))
        return max(value, value + sorted(self._residuals)[rank - 1])
