"""The forecaster of one deployment's SLO class.

Owns the state that bins stream into, and the forecasts it holds itself to: at the end of
each round it forecasts the next ones, and when those have come, its terms' weights and its
bounds learn from how they turned out. Refuses clocks and storage: the caller hands in bins
and the moment, and keeps `to_values`.

Invariants: bins come in order of their index; the same bins give the same forecasts, also
across `to_values` and `from_values`; memory is bounded by two weeks of slots and
`KEPT_ROUNDS` residuals per horizon and measure.
"""

import math
from dataclasses import dataclass

from planner.forecast.ahead import PRIOR, MeanAhead, Terms
from planner.forecast.bins import DAY_S, BinError, DemandBin, ForecastSettings, Measure, Prior
from planner.forecast.demand import Band, ForecastTerm, RoundDemand
from planner.forecast.history import SlotHistory
from planner.forecast.level import Levels
from planner.forecast.mixing import Mixing
from planner.forecast.rounds import RoundSeen, RoundTally
from planner.forecast.seasonal import Seasonal
from planner.forecast.spread import Spread, UpperSource
from planner.forecast.tokens import TokenMix

MEASURES = tuple(Measure)


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """A forecast whose round has not come yet: what is needed to judge it.

    Args:
        horizon: Rounds it was made ahead, from 1.
        mean: Arrivals.
        mixed: What the experts made of it.
        said: Arrivals, by expert.
        per_request: Requests, prompt and output tokens of a request: 1 and the mix.
        uppers: Of the measures, in requests' worth.
    """

    horizon: int
    mean: float
    mixed: float
    said: dict[str, float]
    per_request: tuple[float, ...]
    uppers: tuple[float, ...]


class DemandForecaster:
    """Demand of one deployment's SLO class over the next rounds.

    Args:
        deployment: Its id, for errors.
        slo_class: The same.
        settings: Lengths and the quantile.
        prior: What to expect before anything is seen.
    """

    def __init__(
        self, *, deployment: str, slo_class: str, settings: ForecastSettings, prior: Prior
    ) -> None:
        self.deployment = deployment
        self.slo_class = slo_class
        self.settings = settings
        self.prior = prior
        self.history = SlotHistory(settings)
        self.terms = Terms(
            settings=settings,
            prior=prior,
            levels=Levels(settings),
            seasonal=Seasonal(settings, self.history),
            mixing=Mixing(settings),
        )
        self.tokens = TokenMix(settings, prior)
        self.tally = RoundTally(settings)
        self.spreads = {
            measure: [Spread(settings.quantile) for _ in range(settings.rounds)]
            for measure in MEASURES
        }
        self.awaited: dict[int, list[Awaited]] = {}  # by round
        self.last_bin: int | None = None
        self.seen_bins = 0
        self.quiet_bins = 0  # without an arrival, in a row

    def observe(self, seen: DemandBin) -> None:
        """Takes a bin in; bins left out are missing.

        Args:
            seen: Later than the last one.

        Raises:
            BinError: It is not later than the last one.
        """
        last = self.last_bin
        round_bins = self.settings.round_bins
        if last is not None and seen.index <= last:
            raise BinError(
                f"{self._name}: bin {seen.index} after bin {last}; bins must come in rising"
                " order, each once: leave out what comes late"
            )
        if last is not None and last // round_bins < seen.index // round_bins:
            self._end_round(last // round_bins)  # its last bins are missing
        self.history.add(seen.index, seen.arrivals)
        self.terms.seasonal.add(seen.index, seen.arrivals)
        self.terms.levels.add(seen.arrivals)
        self.tokens.add(seen)
        self.tally.add(seen)
        self.last_bin = seen.index
        self.seen_bins += 1
        self.quiet_bins = self.quiet_bins + 1 if seen.arrivals == 0 else 0
        if (seen.index + 1) % round_bins == 0:
            self._end_round(seen.index // round_bins)

    def forecast(self, first_bin: int) -> tuple[RoundDemand, ...]:
        """The demand of the next rounds.

        Args:
            first_bin: Where the first of them begins, after the last bin seen; not
                necessarily where a round of the history does.

        Returns:
            `settings.rounds` rounds, in order.

        Raises:
            BinError: The first bin was seen already.
        """
        if first_bin < 0 or (self.last_bin is not None and first_bin <= self.last_bin):
            raise BinError(
                f"{self._name}: forecast from bin {first_bin}, but bins up to {self.last_bin}"
                " were seen; forecast from a later one"
            )
        return tuple(
            self._demand(self._mean(horizon, first_bin), horizon, first_bin)
            for horizon in range(1, self.settings.rounds + 1)
        )

    @property
    def _name(self) -> str:
        return f"deployment {self.deployment}, SLO class {self.slo_class}"

    def _gap_rounds(self, first_bin: int) -> float:
        if self.last_bin is None:
            return 0.0
        return (first_bin - self.last_bin - 1) / self.settings.round_bins

    def _mean(self, horizon: int, first_bin: int) -> MeanAhead:
        return self.terms.mean(
            horizon,
            first_bin=first_bin + (horizon - 1) * self.settings.round_bins,
            gap_rounds=self._gap_rounds(first_bin),
            seen_s=float(self.seen_bins * self.settings.bin_s),
        )

    def _upper(
        self, measure: Measure, mean: float, horizon: int, first_bin: int
    ) -> tuple[float, UpperSource]:
        """The bound of a measure in requests' worth."""
        gap_rounds = self._gap_rounds(first_bin)
        distance = horizon + gap_rounds
        tracked = min(self.settings.rounds, max(horizon, round(distance)))
        return self.spreads[measure][tracked - 1].upper(
            mean,
            widened=max(1.0, distance / tracked),
            unseen_ratio=1.0 - math.exp(-gap_rounds * self.settings.round_s / DAY_S),
            quiet_rounds=self._quiet_rounds,
        )

    @property
    def _quiet_rounds(self) -> float:
        if self.seen_bins == 0:
            return 1.0
        return self.quiet_bins / self.settings.round_bins

    def _demand(self, mean: MeanAhead, horizon: int, first_bin: int) -> RoundDemand:
        round_s = self.settings.round_s
        bands = []
        per_request = (1.0, *self.tokens.per_request())
        for measure, worth in zip(MEASURES, per_request, strict=True):
            upper, source = self._upper(measure, mean.arrivals, horizon, first_bin)
            bands.append(
                Band(
                    mean_per_s=mean.arrivals * worth / round_s,
                    upper_per_s=upper * worth / round_s,
                    upper_source=source,
                )
            )
        terms = sorted(mean.weights.items(), key=lambda term: (-term[1], term[0]))
        return RoundDemand(
            first_bin=first_bin + (horizon - 1) * self.settings.round_bins,
            arrivals=bands[0],
            prompt_tokens=bands[1],
            output_tokens=bands[2],
            prompt_tokens_per_request=per_request[1],
            output_tokens_per_request=per_request[2],
            gap_rounds=self._gap_rounds(first_bin),
            reason=mean.reason,
            terms=tuple(
                ForecastTerm(name=name, weight=weight, arrivals_per_s=mean.said[name] / round_s)
                for name, weight in terms
                if weight > 0.0
            ),
        )

    def _end_round(self, index: int) -> None:
        """Judges the forecasts of a round that has ended, and forecasts from there."""
        for late in [target for target in self.awaited if target < index]:
            del self.awaited[late]
        forecasts = self.awaited.pop(index, [])
        seen = self.tally.close(index)
        if seen is None:
            return
        for awaited in forecasts:
            self._judge(awaited, seen)
        first_bin = (index + 1) * self.settings.round_bins
        per_request = (1.0, *self.tokens.per_request())
        for horizon in range(1, self.settings.rounds + 1):
            mean = self._mean(horizon, first_bin)
            self.awaited.setdefault(index + horizon, []).append(
                Awaited(
                    horizon=horizon,
                    mean=mean.arrivals,
                    mixed=mean.mixed,
                    said={name: said for name, said in mean.said.items() if name != PRIOR},
                    per_request=per_request,
                    uppers=tuple(
                        self._upper(measure, mean.arrivals, horizon, first_bin)[0]
                        for measure in MEASURES
                    ),
                )
            )

    def _judge(self, awaited: Awaited, seen: RoundSeen) -> None:
        horizon = awaited.horizon
        self.terms.mixing.record(horizon, awaited.said, mixed=awaited.mixed, seen=seen.arrivals)
        judged = zip(MEASURES, awaited.per_request, awaited.uppers, strict=True)
        for measure, worth, upper in judged:
            if worth > 0.0:
                self.spreads[measure][horizon - 1].record(
                    mean=awaited.mean, upper=upper, seen=seen.of(measure) / worth
                )
