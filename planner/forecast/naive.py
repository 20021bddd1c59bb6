"""The forecasts that cost nothing: last round, same time yesterday, moving quantile.

Owns their values and upper bounds. Refuses any other cleverness. The last round and
yesterday get their bounds from their own residuals at the same horizon, as the forecaster
does, so that comparing is fair; a moving quantile is its own bound. Invariant: a value uses
only rounds that had ended when it was made.
"""

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Mapping, Sequence
from enum import Enum

from planner.forecast.settings import DAY_S, ForecastSettings

_KEPT_RESIDUALS = 256  # as many as the forecaster keeps
_LEAST = 20  # residuals, or rounds of a window


class Naive(Enum):
    """A forecast to be beaten; the moving ones over so many rounds."""

    LAST = "last round"
    YESTERDAY = "same time yesterday"
    MOVING_20 = "moving quantile of 20"
    MOVING_60 = "moving quantile of 60"
    MOVING_240 = "moving quantile of 240"


_WINDOWS = {Naive.MOVING_20: 20, Naive.MOVING_60: 60, Naive.MOVING_240: 240}


class NaiveForecast:
    """One naive forecast of one measure at one horizon.

    Args:
        naive: Which.
        settings: Lengths and the quantile.
        horizon: Rounds ahead, from 1.
    """

    def __init__(self, naive: Naive, *, settings: ForecastSettings, horizon: int) -> None:
        self._naive = naive
        self._horizon = horizon
        self._quantile = settings.quantile
        self._day = max(1, round(DAY_S / settings.round_s))
        self._residuals: deque[float] = deque()
        self._window: deque[tuple[int, float]] = deque()  # rounds and their values
        self._ranked: list[float] = []  # of residuals, or of the window
        self._awaited: dict[int, float] = {}

    def ahead(self, seen: Mapping[int, float], *, origin: int) -> tuple[float, float] | None:
        """Value and bound of round `origin + horizon`; None while it knows too little.

        Args:
            seen: By round; later rounds than `origin` are not looked at.
            origin: The round that has just ended; called for each in order.
        """
        if (window := _WINDOWS.get(self._naive)) is not None:
            return self._moving(seen, window=window, origin=origin)
        said = self._awaited.pop(origin, None)
        if said is not None and origin in seen:
            residual = seen[origin] - said
            self._residuals.append(residual)
            insort(self._ranked, residual)
            if len(self._residuals) > _KEPT_RESIDUALS:
                del self._ranked[bisect_left(self._ranked, self._residuals.popleft())]
        at = origin if self._naive is Naive.LAST else self._yesterday(origin)
        value = seen.get(at)
        if value is None:
            return None
        self._awaited[origin + self._horizon] = value
        if len(self._residuals) < _LEAST:
            return None
        return value, max(0.0, value + _quantile(self._ranked, self._quantile))

    def _moving(
        self, seen: Mapping[int, float], *, window: int, origin: int
    ) -> tuple[float, float] | None:
        if origin in seen:
            self._window.append((origin, seen[origin]))
            insort(self._ranked, seen[origin])
        while self._window and self._window[0][0] <= origin - window:
            del self._ranked[bisect_left(self._ranked, self._window.popleft()[1])]
        if len(self._ranked) < _LEAST:
            return None
        mean = math.fsum(self._ranked) / len(self._ranked)
        return mean, _quantile(self._ranked, self._quantile)

    def _yesterday(self, origin: int) -> int:
        """The last whole day's round that had been seen."""
        at = origin + self._horizon
        while at > origin:
            at -= self._day
        return at


def _quantile(ranked: Sequence[float], quantile: float) -> float:
    """The conformal quantile: of n + 1 values, the next one among them."""
    return ranked[min(len(ranked), math.ceil((len(ranked) + 1) * quantile)) - 1]
