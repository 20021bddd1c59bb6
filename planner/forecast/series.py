"""One series of demand forecast: its mean from all terms, its bounds from its own record.

Owns the state that rounds stream into, and the forecasts it holds itself to: as each round
ends it forecasts later ones, and when those have come, its terms' weights and its bounds
learn from how they turned out. Refuses clocks, storage and the meaning of what it counts.

The bound of the very next round is never below what was last seen: whether a burst goes on
is known a round later only. Over the histories it was tried on that added 0.1 % of pinball
loss.

Invariants: rounds come in order of their index; the same rounds give the same forecasts,
also across `to_values` and `restore`; memory is bounded.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from planner.forecast import seasons
from planner.forecast.awaited import Awaited, Awaiting
from planner.forecast.bounds import Bounds
from planner.forecast.levels import DAY, Levels
from planner.forecast.mixing import Mixing
from planner.forecast.seasons import Seasons
from planner.forecast.settings import MOST, ForecastSettings, Prior, RoundError
from planner.forecast.stored import floats, part, refuse, whole

VERSION = 1
"""Of the stored values."""
STALE_S = 4 * 3600.0
"""After a gap of so long 1/e of the weight of the latest levels is left."""
_NOTHING_RATIO = 1e-9  # of the usual demand: a level that decays never quite ends
_BUSY_KEPT = 0.95  # of the mean of rounds with demand: about 20 count
_BEGUN = 4  # rounds seen before a forecast is held against what came: the first are chance


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A rate over a round: its mean, and what it stays within at the quantile asked for."""

    mean: float
    upper: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One summand of a mean: weight times value."""

    name: str
    weight: float
    value: float


class Series:
    """Demand of one deployment.

    Args:
        name: For errors, such as `deployment chat`.
        settings: Lengths and the quantile.
        prior: What to expect before anything is seen; None: nothing is known.
    """

    def __init__(self, name: str, *, settings: ForecastSettings, prior: Prior | None) -> None:
        self.name = name
        self.settings = settings
        self.prior = prior
        self.last_index: int | None = None
        self._levels = Levels(settings)
        self._seasons = Seasons(settings)
        self._names = (*self._levels.names, *seasons.NAMES)
        self._mixing = Mixing(settings, experts=len(self._names))
        # After a gap the day and the seasons still tell, the other levels less and less.
        self._ages = [name != DAY and name not in seasons.NAMES for name in self._names]
        self._bounds = Bounds(settings)
        self._awaiting = Awaiting(settings)
        self._seen = 0
        self._quiet = 0  # rounds without demand, in a row
        self._busy = [0.0, 0.0]  # of rounds with demand: decaying sum, weight

    def observe(self, index: int, value: float) -> None:
        """Takes a round in; rounds left out are missing, which is not the same as 0.

        Args:
            index: Of the round, >= 0, later than the last one.
            value: >= 0.

        Raises:
            RoundError: It is not later than the last one, or the value is out of range.
        """
        self.check_observed(index, value)
        if value > 0.0:
            self._busy = [_BUSY_KEPT * self._busy[0] + value, _BUSY_KEPT * self._busy[1] + 1.0]
        self._judge(index, value)
        self._seasons.add(index, value)
        self._levels.add(value)
        self.last_index = index
        self._seen += 1
        self._quiet = self._quiet + 1 if value == 0.0 else 0
        if self._seen >= _BEGUN:
            self._await(index)

    def check_observed(self, index: int, value: float) -> None:
        """Refuses what `observe` does, without a change.

        Raises:
            RoundError: As there.
        """
        if index < 0 or (self.last_index is not None and index <= self.last_index):
            raise RoundError(
                f"{self.name}: round {index} after round {self.last_index}; rounds must come in"
                " rising order, each once, counted from a midnight: leave out what comes late"
            )
        if not 0.0 <= value <= MOST:
            raise RoundError(
                f"{self.name}: round {index} counts {value!r}, must lie in 0..{MOST:g};"
                " leave out a round that was not counted"
            )

    def bands(self, first: int, *, horizons: Sequence[int]) -> list[Band]:
        """Rounds to come.

        Args:
            first: Index of the round at horizon 1, after the last one seen.
            horizons: From 1.

        Returns:
            A band for each horizon.

        Raises:
            RoundError: The first round was seen already.
        """
        self._check(first)
        bands = []
        for index in (first - 1 + horizon for horizon in horizons):
            mean, _, _ = self._mean(index, first)
            bands.append(Band(mean=mean, upper=self._upper(mean, index, first)))
        return bands

    def terms(self, first: int, *, horizon: int = 1) -> tuple[Term, ...]:
        """What a mean is made of, the heaviest first; they sum to it.

        Raises:
            RoundError: The first round was seen already.
        """
        self._check(first)
        _, said, weights = self._mean(first - 1 + horizon, first)
        doubt = self._doubt()
        terms = [
            Term(name=name, weight=(1.0 - doubt) * weight, value=value)
            for name, weight, value in zip(self._names, weights, said, strict=True)
            if weight > 0.0
        ]
        if self.prior and doubt > 0.0:
            terms.append(Term(name="prior", weight=doubt, value=self.prior.rate))
        return tuple(sorted(terms, key=lambda term: (-term.weight, term.name)))

    def _check(self, first: int) -> None:
        if first < 0 or (self.last_index is not None and first <= self.last_index):
            raise RoundError(
                f"{self.name}: forecast from round {first}, but rounds up to {self.last_index}"
                " were seen; forecast from a later one"
            )

    def _doubt(self) -> float:
        """The prior's share of a mean."""
        return self.prior.weight(self._seen) if self.prior else 0.0

    def _mean(self, index: int, first: int) -> tuple[float, list[float], list[float]]:
        """Of a round: its mean, what the experts say, and their weights."""
        if self.last_index is None:
            nothing = [0.0] * len(self._names)
            return (self.prior.rate if self.prior else 0.0), nothing, nothing
        gap_s = (first - 1 - self.last_index) * self.settings.round_s
        fresh_ratio = math.exp(-gap_s / STALE_S)
        said = self._levels.ahead(index - self.last_index) + self._seasons.ahead(
            index, day_mean=self._levels.day, fresh_ratio=fresh_ratio
        )
        weights = self._mixing.weights(
            self.settings.track_of(index - self.last_index),
            said,
            fresh=[fresh_ratio if ages else 1.0 for ages in self._ages],
        )
        mixed = math.fsum(w * one for w, one in zip(weights, said, strict=True) if w > 0.0)
        if mixed <= _NOTHING_RATIO * self._usual_busy():
            mixed = 0.0
        doubt = self._doubt()
        prior = self.prior.rate if self.prior else 0.0
        return doubt * prior + (1.0 - doubt) * mixed, said, weights

    def _upper(self, mean: float, index: int, first: int) -> float:
        last = first - 1 if self.last_index is None else self.last_index
        bound = self._bounds.upper(mean, usual=self._usual_busy(), distance=index - last)
        burst = self._levels.last if index - last == 1 else 0.0
        return max(bound, self._quiet_rate(), burst)

    def _usual_busy(self) -> float:
        """The mean of rounds that have any; 0 of none."""
        return self._busy[0] / self._busy[1] if self._busy[1] > 0.0 else 0.0

    def _quiet_rate(self) -> float:
        """The mean that no demand for so many rounds still leaves possible.

        At 0.95 the rule of three: nothing in n rounds leaves a chance of 3 / n that a round
        has demand, of the size that rounds with demand had.
        """
        if self._quiet == 0:
            return 0.0
        chance = min(1.0, -math.log(1.0 - self.settings.quantile) / self._quiet)
        return chance * self._usual_busy()

    def _await(self, index: int) -> None:
        """Forecasts later rounds from the one that has just ended."""
        for track, target in self._awaiting.due(index):
            mean, said, _ = self._mean(target, index + 1)
            upper = self._upper(mean, target, index + 1)
            self._awaiting.add(track, target, Awaited(said=said, mean=mean, upper=upper))

    def _judge(self, index: int, value: float) -> None:
        """Holds the forecasts of a round against it."""
        for track, one in self._awaiting.arrived(index):
            self._mixing.record(track, one.said, mixed=one.mean, seen=value)
            self._bounds.record(
                track, mean=one.mean, usual=self._usual_busy(), upper=one.upper, seen=value
            )

    def to_values(self) -> dict[str, object]:
        """The state as plain values (numbers, None, lists and dicts of them)."""
        settings = self.settings
        return {
            "version": VERSION,
            "settings": [settings.round_s, settings.rounds, settings.quantile],
            "last_index": self.last_index,
            "counts": [self._seen, self._quiet, *self._busy],
            "levels": self._levels.to_values(),
            "seasons": self._seasons.to_values(),
            "mixing": self._mixing.to_values(),
            "bounds": self._bounds.to_values(),
            "awaited": self._awaiting.to_values(),
        }

    def restore(self, values: object) -> None:
        """Takes on stored values; after an error the series is of no use.

        Raises:
            StateError: Another version or other settings, or values that are none of a
                series.
        """
        settings = self.settings
        if (version := part(values, "version")) != VERSION:
            refuse("version", f"{version!r}, this one reads {VERSION}")
        wanted = [settings.round_s, settings.rounds, settings.quantile]
        if (stored := floats(part(values, "settings"), "settings", count=3)) != wanted:
            refuse("settings", f"{stored}, this one has {wanted}")
        last = part(values, "last_index")
        self.last_index = None if last is None else whole(last, "last_index")
        counts = floats(part(values, "counts"), "counts", count=4, least=0.0)
        self._seen, self._quiet, self._busy = int(counts[0]), int(counts[1]), counts[2:]
        self._levels.restore(part(values, "levels"))
        self._seasons.restore(part(values, "seasons"))
        self._mixing.restore(part(values, "mixing"))
        self._bounds.restore(part(values, "bounds"))
        self._awaiting.restore(part(values, "awaited"), experts=len(self._names))
