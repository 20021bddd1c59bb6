"""A history replayed: what the forecaster would have said, and how it turned out.

Owns the replay with a rolling origin, one at the end of each round, and the scores by
horizon beside the naive forecasts'. Refuses to judge: a score is a number.
Invariant: a forecast is made from rounds before its own, never from later ones.

All scores of a row are over the same rounds: those after the warm-up of which every naive
forecast had a bound (yesterday only where the history goes back so far). The pinball loss
at quantile q of a bound u and a value x is q (x - u) where x is above, (1 - q) (u - x)
where it is below: the true quantile has the least (Koenker and Bassett, Econometrica 46,
1978).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from planner.forecast.naive import Naive, NaiveForecast
from planner.forecast.series import Series
from planner.forecast.settings import ForecastError, ForecastSettings, Prior


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """How well a mean and its bound did, NaN of no round.

    Args:
        mae_ratio: Mean absolute error of the mean, over the mean value.
        pinball_ratio: Mean pinball loss of the bound, over the mean value.
        coverage_ratio: Share of rounds within the bound.
        upper_ratio: Mean bound over the mean value.
    """

    mae_ratio: float
    pinball_ratio: float
    coverage_ratio: float
    upper_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How a history was forecast at one horizon.

    Args:
        horizon: Rounds ahead, from 1.
        rounds: Scored.
        forecast: The forecaster's.
        naive: The naive forecasts', of those that had enough history.
    """

    horizon: int
    rounds: int
    forecast: Loss
    naive: dict[Naive, Loss]


def backtest(
    history: Sequence[tuple[int, float]],
    *,
    settings: ForecastSettings,
    prior: Prior | None = None,
    warm_up_rounds: int = 0,
    horizons: Iterable[int] | None = None,
) -> tuple[Score, ...]:
    """Replays a history through a series.

    Args:
        history: Rounds' indices and values in order; missing ones are missing.
        settings: Lengths and the quantile.
        prior: As the forecaster gets it.
        warm_up_rounds: From the first round on, forecast but not scored, >= 0.
        horizons: To score, within 1..`settings.rounds`; None: the tracked ones.

    Returns:
        A score for each horizon.

    Raises:
        ForecastError: No rounds.
        RoundError: Rounds out of order, or values out of range.
    """
    if not history:
        raise ForecastError("backtest: no rounds; give a history of at least one")
    ahead = sorted(set(settings.tracked if horizons is None else horizons))
    start = history[0][0] + warm_up_rounds
    seen = dict(history)
    rows = [_Row(seen, settings=settings, horizon=horizon, start=start) for horizon in ahead]
    series = Series("backtest", settings=settings, prior=prior)
    for index, value in history:
        series.observe(index, value)
        for row, band in zip(rows, series.bands(index + 1, horizons=ahead), strict=True):
            row.add(index, (band.mean, band.upper))
    return tuple(row.score() for row in rows)


Said = tuple[float, float]
"""A mean and its bound."""


class _Row:
    """Forecasts at one horizon."""

    def __init__(
        self, seen: dict[int, float], *, settings: ForecastSettings, horizon: int, start: int
    ) -> None:
        self._seen, self._settings, self._horizon, self._start = seen, settings, horizon, start
        self._naive = {
            naive: NaiveForecast(naive, settings=settings, horizon=horizon) for naive in Naive
        }
        self._said: list[tuple[float, Said, dict[Naive, Said]]] = []

    def add(self, origin: int, said: Said) -> None:
        """Takes in what was said as a round ended."""
        naive = {
            one: ahead
            for one, forecast in self._naive.items()
            if (ahead := forecast.ahead(self._seen, origin=origin)) is not None
        }
        came = self._seen.get(origin + self._horizon)
        if came is not None and origin + self._horizon >= self._start:
            self._said.append((came, said, naive))

    def score(self) -> Score:
        """The means over the rounds that all forecasts know."""
        known = set(self._said[-1][2]) if self._said else set()
        said = [one for one in self._said if known and known <= set(one[2])]
        return Score(
            horizon=self._horizon,
            rounds=len(said),
            forecast=self._loss([(came, one) for came, one, _ in said]),
            naive={
                naive: self._loss([(came, ones[naive]) for came, _, ones in said])
                for naive in Naive
                if naive in known
            },
        )

    def _loss(self, said: Sequence[tuple[float, Said]]) -> Loss:
        count, total = len(said), math.fsum(came for came, _ in said)
        if not count or total <= 0.0:
            return Loss(
                mae_ratio=math.nan,
                pinball_ratio=math.nan,
                coverage_ratio=math.nan,
                upper_ratio=math.nan,
            )
        return Loss(
            mae_ratio=math.fsum(abs(mean - came) for came, (mean, _) in said) / total,
            pinball_ratio=math.fsum(self._pinball(upper, came) for came, (_, upper) in said)
            / total,
            coverage_ratio=sum(came <= upper for came, (_, upper) in said) / count,
            upper_ratio=math.fsum(upper for _, (_, upper) in said) / total,
        )

    def _pinball(self, upper: float, came: float) -> float:
        quantile = self._settings.quantile
        return max(quantile * (came - upper), (1.0 - quantile) * (upper - came))
