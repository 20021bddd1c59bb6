"""A history replayed: what the forecaster would have said, and how it turned out.

Owns the replay with a rolling origin, one at the end of each round, and the scores per
measure and horizon beside the naive forecasts. Refuses to judge: a score is a number.
Invariant: a forecast is made from bins before its first, never from later ones.

All scores of a row are over the same rounds: those after the warm-up that were seen, and of
which the forecaster and both naive forecasts had a mean and a bound. Rounds at horizon h
are forecast h rounds ahead. The pinball loss at quantile q of a bound u and a count x is
q (x - u) above the bound and (1 - q) (u - x) below it: the least is reached by the true
quantile (Koenker and Bassett, Econometrica 46, 1978).
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from planner.forecast.bins import DemandBin, ForecastError, ForecastSettings, Measure, Prior
from planner.forecast.demand import Band, RoundDemand
from planner.forecast.forecast import MEASURES, DemandForecaster
from planner.forecast.naive import Naive, NaiveBound, naive_value
from planner.forecast.rounds import RoundSeen, rounds_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How one measure was forecast at one horizon.

    Errors and losses are in counts per second, means over the rounds; NaN of no round.

    Args:
        measure: What was forecast.
        horizon: Rounds ahead, from 1.
        rounds: Scored.
        mae: Mean absolute error of the mean.
        naive_mae: The same of the naive forecasts.
        coverage_ratio: Share of rounds within the upper bound.
        pinball: Loss of the upper bound.
        naive_pinball: The same of the naive forecasts' bounds.
        overprovisioning_ratio: Mean upper bound over mean count.
        bias_ratio: Mean forecast over mean count.
    """

    measure: Measure
    horizon: int
    rounds: int
    mae: float
    naive_mae: dict[Naive, float]
    coverage_ratio: float
    pinball: float
    naive_pinball: dict[Naive, float]
    overprovisioning_ratio: float
    bias_ratio: float


def backtest(
    bins: Sequence[DemandBin], *, settings: ForecastSettings, prior: Prior, warm_up_rounds: int = 0
) -> tuple[Score, ...]:
    """Replays a history through a forecaster.

    Args:
        bins: In order of their index; missing ones are missing.
        settings: Lengths and the quantile.
        prior: As the forecaster gets it.
        warm_up_rounds: Rounds from the first bin on that are forecast but not scored, >= 0.

    Returns:
        A score for each measure and horizon, by measure, then horizon.

    Raises:
        ForecastError: No bins, or bins out of order.
    """
    if not bins:
        raise ForecastError("backtest: no bins; give a history of at least one")
    seen = {one.index: one for one in rounds_of(bins, settings)}
    start = bins[0].index // settings.round_bins + warm_up_rounds
    rows = [
        _Row(measure=measure, horizon=horizon, settings=settings, seen=seen, start=start)
        for measure in MEASURES
        for horizon in range(1, settings.rounds + 1)
    ]
    forecaster = DemandForecaster(
        deployment="backtest", slo_class="all", settings=settings, prior=prior
    )
    for position, one in enumerate(bins):
        forecaster.observe(one)
        origin = one.index // settings.round_bins
        after = bins[position + 1].index if position + 1 < len(bins) else None
        if after is not None and after // settings.round_bins == origin:
            continue
        demands = forecaster.forecast((origin + 1) * settings.round_bins)
        for row in rows:
            row.add(origin, demands[row.horizon - 1])
    return tuple(row.score() for row in rows)


@dataclass(slots=True, kw_only=True)
class _Row:
    """Sums of one measure at one horizon."""

    measure: Measure
    horizon: int
    settings: ForecastSettings
    seen: dict[int, RoundSeen]
    start: int
    counts: dict[int, float] = field(init=False)
    bounds: dict[Naive, NaiveBound] = field(init=False)
    pending: deque[tuple[int, dict[Naive, float]]] = field(default_factory=deque)
    scored: list[tuple[float, float, float]] = field(default_factory=list)  # mean, upper, seen
    naive: dict[Naive, list[tuple[float, float]]] = field(init=False)  # value, bound

    def __post_init__(self) -> None:
        self.counts = {index: one.of(self.measure) for index, one in self.seen.items()}
        self.bounds = {naive: NaiveBound(self.settings.quantile) for naive in Naive}
        self.naive = {naive: [] for naive in Naive}

    def add(self, origin: int, demand: RoundDemand) -> None:
        """Scores a forecast made at the end of a round."""
        self._learn(origin)
        target = origin + self.horizon
        values: dict[Naive, float] = {}
        uppers: dict[Naive, float] = {}
        for naive in Naive:
            value = naive_value(
                naive, self.counts, origin=origin, target=target, settings=self.settings
            )
            if value is not None:
                values[naive] = value
                if (upper := self.bounds[naive].upper(value)) is not None:
                    uppers[naive] = upper
        self.pending.append((target, values))
        came = self.counts.get(target)
        if came is None or target < self.start or len(uppers) < len(Naive):
            return
        band = _band(demand, self.measure)
        round_s = self.settings.round_s
        self.scored.append((band.mean_per_s * round_s, band.upper_per_s * round_s, came))
        for naive in Naive:
            self.naive[naive].append((values[naive], uppers[naive]))

    def _learn(self, origin: int) -> None:
        """Shows the naive bounds what has come by now."""
        while self.pending and self.pending[0][0] <= origin:
            target, values = self.pending.popleft()
            came = self.counts.get(target)
            if came is not None:
                for naive, value in values.items():
                    self.bounds[naive].record(value=value, seen=came)

    def score(self) -> Score:
        """The means."""
        scored, round_s = self.scored, self.settings.round_s
        came = [seen for _, _, seen in scored]
        total = math.fsum(came)
        return Score(
            measure=self.measure,
            horizon=self.horizon,
            rounds=len(scored),
            mae=_mean([abs(mean - seen) for mean, _, seen in scored]) / round_s,
            naive_mae={
                naive: _mean([abs(v - x) for (v, _), x in zip(said, came, strict=True)]) / round_s
                for naive, said in self.naive.items()
            },
            coverage_ratio=_mean([float(seen <= upper) for _, upper, seen in scored]),
            pinball=_mean([self._pinball(upper, seen) for _, upper, seen in scored]) / round_s,
            naive_pinball={
                naive: _mean([self._pinball(u, x) for (_, u), x in zip(said, came, strict=True)])
                / round_s
                for naive, said in self.naive.items()
            },
            overprovisioning_ratio=_share(math.fsum(upper for _, upper, _ in scored), total),
            bias_ratio=_share(math.fsum(mean for mean, _, _ in scored), total),
        )

    def _pinball(self, upper: float, seen: float) -> float:
        quantile = self.settings.quantile
        return max(quantile * (seen - upper), (1.0 - quantile) * (upper - seen))


def _band(demand: RoundDemand, measure: Measure) -> Band:
    match measure:
        case Measure.ARRIVALS:
            return demand.arrivals
        case Measure.PROMPT_TOKENS:
            return demand.prompt_tokens
        case Measure.OUTPUT_TOKENS:
            return demand.output_tokens


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0.0 else math.nan
