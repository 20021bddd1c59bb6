"""What rounds expect of the next minutes.

Owns the seam to a forecast, the trivial one behind it, and the product's own. Refuses to
forecast: that is `planner.forecast`.
"""

import math
from dataclasses import dataclass, field
from typing import Protocol

from planner.forecast.settings import ForecastSettings
from planner.forecast.work import WorkForecaster


class Forecast(Protocol):
    """Online demand of the next rounds, from what was seen; one for a whole fleet."""

    def observe(self, deployment: str, *, at_s: float, for_s: float, work: float) -> None:
        """Takes in mean online work over the `for_s` seconds that end at `at_s`."""

    def upper(self, deployment: str, *, at_s: float, horizon_s: float) -> float:
        """Online work that the next `horizon_s` seconds are likely not to exceed."""


@dataclass(slots=True, kw_only=True)
class LastValue:
    """What was seen last goes on, with a margin.

    Args:
        margin_ratio: Added to it, >= 0.
    """

    margin_ratio: float = 0.0
    _last: dict[str, float] = field(default_factory=dict)

    def observe(self, deployment: str, *, at_s: float, for_s: float, work: float) -> None:
        """Takes in a mean; only the last counts."""
        self._last[deployment] = work

    def upper(self, deployment: str, *, at_s: float, horizon_s: float) -> float:
        """The last mean and the margin."""
        return self._last.get(deployment, 0.0) * (1.0 + self.margin_ratio)


class Seasonal:
    """The control plane's forecast, one a deployment.

    Args:
        round_s: Over which observations are averaged, 1..3600; as long as they, or longer.
        rounds: How many ahead it looks at most.
        quantile: Share of rounds that the bound is to cover.
        begin_s: The moment 0 on a clock with days and weeks (Unix, say), so that what was
            observed before the replay, at negative times, has a place on it.
    """

    def __init__(
        self,
        *,
        round_s: float = 60.0,
        rounds: int = 15,
        quantile: float = 0.95,
        begin_s: float = 4 * 604_800.0,
    ) -> None:
        self._settings = ForecastSettings(round_s=round_s, rounds=rounds, quantile=quantile)
        self._begin_s = begin_s
        self._of: dict[str, WorkForecaster] = {}
        self._filling: dict[str, tuple[int, float, float]] = {}  # round, work x time, time
        self._bounds: dict[tuple[str, int, int], float] = {}

    def observe(self, deployment: str, *, at_s: float, for_s: float, work: float) -> None:
        """Takes in a mean; a round is told of once it is over, nothing before it again."""
        known = self._of.get(deployment)
        if known is None:
            known = self._of[deployment] = WorkForecaster(deployment, settings=self._settings)
        index = self._index(at_s - for_s / 2.0)
        last, sum_ms, seen_s = self._filling.get(deployment, (index, 0.0, 0.0))
        if index > last:
            self._tell(known, last, sum_ms / seen_s)
            last, sum_ms, seen_s = index, 0.0, 0.0
        if index == last:
            self._filling[deployment] = (index, sum_ms + work * for_s, seen_s + for_s)
            if self._index(at_s) > index:  # it ended with this
                self._tell(known, index, (sum_ms + work * for_s) / (seen_s + for_s))
                del self._filling[deployment]

    @staticmethod
    def _tell(known: WorkForecaster, index: int, work: float) -> None:
        if known.last_index is None or index > known.last_index:
            known.observe(index, work)

    def upper(self, deployment: str, *, at_s: float, horizon_s: float) -> float:
        """The greatest bound over the horizon; 0 of what was never seen."""
        known = self._of.get(deployment)
        if known is None or known.last_index is None:
            return 0.0
        rounds = max(1, min(self._settings.rounds, math.ceil(horizon_s / self._settings.round_s)))
        key = (deployment, known.last_index, rounds)
        if key not in self._bounds:
            self._bounds = {k: v for k, v in self._bounds.items() if k[0] != deployment}
            self._bounds[key] = known.upper(known.last_index + 1, rounds=rounds)
        return self._bounds[key]

    def _index(self, at_s: float) -> int:
        return math.floor((self._begin_s + at_s) / self._settings.round_s + 1e-6)
