"""The mean of a round to come, from all terms.

Owns how levels, seasons and the prior become one mean, for one round at one moment.
Refuses to learn: it reads what the parts have learned. Invariant: the weights of the terms,
the prior's included, sum to 1 wherever anything is known.

A gap between the last bin and the round makes the latest levels stale: their weight, and
today's shift of the seasons, fall by 1/e in `STALE_S`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from planner.forecast.bins import ForecastSettings, Prior
from planner.forecast.demand import Reason
from planner.forecast.level import Levels
from planner.forecast.mixing import SEASONAL, Mixing
from planner.forecast.seasonal import Seasonal

STALE_S = 4 * 3600.0
"""Hours after which the latest levels say little of a day that has moved on."""
PRIOR = "prior"
_NOTHING = 1e-6  # requests per round: a level that decays never quite ends


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanAhead:
    """The mean of a round, arrivals in it, and the terms it was made of.

    Args:
        arrivals: In the round.
        mixed: What the experts made of it, without the prior.
        said: Arrivals in the round, by expert.
        weights: By term, the prior among them.
        reason: What it rests on most.
    """

    arrivals: float
    mixed: float
    said: Mapping[str, float]
    weights: Mapping[str, float]
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The parts that a mean is made of."""

    settings: ForecastSettings
    prior: Prior
    levels: Levels
    seasonal: Seasonal
    mixing: Mixing

    def mean(self, horizon: int, *, first_bin: int, gap_rounds: float, seen_s: float) -> MeanAhead:
        """The mean of a round.

        Args:
            horizon: The round's position from the moment of forecast, from 1.
            first_bin: Its first bin.
            gap_rounds: Rounds between the last bin seen and the moment of forecast, >= 0.
            seen_s: Seconds of bins seen at all.
        """
        prior = self.prior.arrivals_per_s * self.settings.round_s
        if seen_s <= 0.0:
            return MeanAhead(
                arrivals=prior,
                mixed=prior,
                said={PRIOR: prior},
                weights={PRIOR: 1.0},
                reason=Reason.COLD_START,
            )
        stale_ratio = math.exp(-gap_rounds * self.settings.round_s / STALE_S)
        said = self._said(horizon, first_bin, gap_rounds=gap_rounds, stale_ratio=stale_ratio)
        weights = self.mixing.weights(horizon + round(gap_rounds), said, stale_ratio=stale_ratio)
        mixed = math.fsum(weight * said[name] for name, weight in weights.items())
        doubt = _prior_weight(self.prior.worth_s, seen_s)
        arrivals = doubt * prior + (1.0 - doubt) * mixed
        seasonal = math.fsum(weights.get(name, 0.0) for name in SEASONAL)
        if doubt >= 0.5:
            reason = Reason.COLD_START
        else:
            reason = Reason.SEASONAL if seasonal >= 0.5 else Reason.SHORT_TERM
        return MeanAhead(
            arrivals=arrivals if arrivals > _NOTHING else 0.0,
            mixed=mixed,
            said={**said, PRIOR: prior},
            weights={PRIOR: doubt}
            | {name: (1.0 - doubt) * weight for name, weight in weights.items()},
            reason=reason,
        )

    def _said(
        self, horizon: int, first_bin: int, *, gap_rounds: float, stale_ratio: float
    ) -> dict[str, float]:
        """Arrivals in the round, by expert; of seasons only those that were seen."""
        level = self.levels.ahead(gap_rounds + horizon - 0.5)
        season = self.seasonal.ahead(first_bin, day_mean=self.levels.day, stale_ratio=stale_ratio)
        bins = self.settings.round_bins
        said = {
            "latest": level.latest,
            "recent": level.recent,
            "hours": level.hours,
            "day": level.day,
            "trend": level.trend,
            "daily": season.daily,
            "daily shifted": season.daily_shifted,
            "weekly": season.weekly,
            "weekly shifted": season.weekly_shifted,
        }
        return {name: value * bins for name, value in said.items() if value is not None}


def _prior_weight(worth_s: float, seen_s: float) -> float:
    """Share of the prior: `worth_s` against what was seen, and forgotten beyond it.

    The share of a mean over both, worth / (worth + seen), times 2^-(seen / worth): after six
    times its worth it is 0.2 %, where the plain share would still be 14 %.
    """
    aged = worth_s * 2.0 ** -(seen_s / worth_s)
    return aged / (aged + seen_s)
