"""How much each way of forecasting counts, per horizon.

Owns how wrong every expert was, and the weights that follow. Refuses to forecast. Of each
expert at each horizon two running means are kept, and one thing for all horizons:

    lately   its absolute error, over about 33 rounds
    turns    its absolute error times the mix's, over about a week: it counts where the mix
             was wrong, so it tells who knows of the turns (mornings, weekends) that
             the other rounds, where all agree, drown
    misfit   the lesser of its last two errors one round ahead, where both have one sign

A weight is lately^-2 turns^-3, the best expert's being 1 (Bates and Granger, Operational
Research Quarterly 20 (1969), weigh independent errors by their inverse squares; these
experts share most of theirs, so a steeper choice loses less). A misfit of several usual
errors takes the weight away at once: after a jump of demand all that remembers the old
level is off in two rounds, whereas a single outlier is no misfit of those that ignored it.
So the mean is close to the best expert's without knowing beforehand which that is.
Multiplying all demand changes no weight.

Invariants: weights are >= 0 and sum to 1; one error counts lately at most six times the
usual, at turns 30 times, so that one outlier does not decide; constant memory.
"""

import math
from collections.abc import Mapping, Sequence

from planner.forecast.bins import DAY_S, WEEK_DAYS, ForecastSettings
from planner.forecast.level import LEVELS
from planner.forecast.values import floats, mapping, part, rows

SHORT_TERM = (*LEVELS, "trend")
SEASONAL = ("daily", "daily shifted", "weekly", "weekly shifted")
EXPERTS = SHORT_TERM + SEASONAL
_STALES = frozenset(SHORT_TERM) - {"day"}
_MIX = len(EXPERTS)  # where the mix's own errors are kept

_KEPT = 0.97  # of an error per round: about 33 rounds count
_POWER, _TURNS_POWER = 2.0, 3.0
_TRUSTED = 4  # errors an expert needs to be weighed by them
_CLIPPED, _TURNS_CLIPPED = 6.0, 30.0  # usual errors
_CLIPS_FROM = 12  # errors
_MISFIT = 3.0  # usual errors that halve a weight, if off so far twice; chance does it rarely

Said = Mapping[str, float]
"""What each expert says of a round; those that know nothing are left out."""


class _Errors:
    """Running errors at one horizon, by expert and of the mix."""

    __slots__ = ("counts", "lately", "lately_weights", "turns", "turns_weights")

    def __init__(self) -> None:
        self.counts = [0.0] * (_MIX + 1)
        self.lately = [0.0] * (_MIX + 1)
        self.lately_weights = [0.0] * (_MIX + 1)
        self.turns = [0.0] * (_MIX + 1)
        self.turns_weights = [0.0] * (_MIX + 1)

    def add(self, expert: int, error: float, *, mixed: float, most: float, kept: float) -> None:
        """Takes in an error beside the mix's; `most` of it counts lately."""
        self.counts[expert] = min(1e6, self.counts[expert] + 1.0)
        self.lately[expert] = _KEPT * self.lately[expert] + min(most, error)
        self.lately_weights[expert] = _KEPT * self.lately_weights[expert] + 1.0
        self.turns[expert] = kept * self.turns[expert] + error * mixed
        self.turns_weights[expert] = kept * self.turns_weights[expert] + mixed

    def usual(self, expert: int) -> float:
        """The mean error lately; 0 of none."""
        weight = self.lately_weights[expert]
        return self.lately[expert] / weight if weight > 0.0 else 0.0

    def at_turns(self, expert: int) -> float:
        """The mean error where the mix was wrong; 0 where it never was."""
        weight = self.turns_weights[expert]
        return self.turns[expert] / weight if weight > 0.0 else 0.0


class Mixing:
    """Errors and weights of one history."""

    def __init__(self, settings: ForecastSettings) -> None:
        self._kept = math.exp(-settings.round_s / (WEEK_DAYS * DAY_S))
        self._errors = [_Errors() for _ in range(settings.rounds)]
        self._last = [0.0] * _MIX  # signed errors one round ahead
        self._before = [0.0] * _MIX

    def record(self, horizon: int, said: Said, *, mixed: float, seen: float) -> None:
        """Takes in how a round turned out.

        Args:
            horizon: Rounds it was forecast ahead, from 1.
            said: By expert.
            mixed: What they made together.
            seen: What arrived, in the same unit.
        """
        errors = self._errors[horizon - 1]
        usual = math.inf
        if errors.counts[_MIX] >= _CLIPS_FROM and errors.usual(_MIX) > 0.0:
            usual = errors.usual(_MIX)
        most, most_at_turns = _CLIPPED * usual, _TURNS_CLIPPED * usual
        wrong = min(most_at_turns, abs(mixed - seen))
        for expert, name in enumerate(EXPERTS):
            if name in said:
                error = min(most_at_turns, abs(said[name] - seen))
                errors.add(expert, error, mixed=wrong, most=most, kept=self._kept)
        errors.add(_MIX, wrong, mixed=wrong, most=most, kept=self._kept)
        if horizon == 1:
            self._before = self._last
            self._last = [said[name] - seen if name in said else 0.0 for name in EXPERTS]

    def weights(self, horizon: int, said: Said, *, stale_ratio: float) -> dict[str, float]:
        """The weight of each expert that says something.

        Args:
            horizon: Rounds ahead, from 1; beyond what was tracked counts as the last.
            said: By expert; not empty.
            stale_ratio: How much the latest levels still tell, 0..1; falls in a gap.
        """
        errors = self._errors[min(horizon, len(self._errors)) - 1]
        known = [name for name in said if errors.counts[EXPERTS.index(name)] >= _TRUSTED]
        if known:
            places = [EXPERTS.index(name) for name in known]
            lately = _inverse([errors.usual(place) for place in places], _POWER)
            turns = _inverse([errors.at_turns(place) for place in places], _TURNS_POWER)
            fits = self._fits(places)
            raw = [a * b * c for a, b, c in zip(lately, turns, fits, strict=True)]
        else:
            known = [name for name in said if name in SHORT_TERM]
            raw = [1.0] * len(known)
        fresh = [
            weight * (stale_ratio if name in _STALES else 1.0)
            for name, weight in zip(known, raw, strict=True)
        ]
        for weights in (fresh, raw):
            total = math.fsum(weights)
            if total > 0.0:
                return {name: one / total for name, one in zip(known, weights, strict=True)}
        return {name: 1.0 / len(known) for name in known}  # none fits: all alike

    def _fits(self, places: Sequence[int]) -> list[float]:
        """How well experts fit the last two rounds, the best one 1."""
        misfits = [
            min(abs(self._last[place]), abs(self._before[place]))
            if self._last[place] * self._before[place] > 0.0
            else 0.0
            for place in places
        ]
        usual = _MISFIT * self._errors[0].usual(_MIX)
        if usual <= 0.0:
            return [1.0 if misfit == 0.0 else 0.0 for misfit in misfits]
        fits = [1.0 / (1.0 + (misfit / usual) ** 4) for misfit in misfits]
        return [fit / max(fits) for fit in fits]

    def to_values(self) -> dict[str, object]:
        """Plain values."""
        return {
            "errors": [
                {name: list(getattr(one, name)) for name in _Errors.__slots__}
                for one in self._errors
            ],
            "last": list(self._last),
            "before": list(self._before),
        }

    def restore(self, value: object) -> None:
        """Takes on stored values.

        Raises:
            ValuesError: They are none of a mixing.
        """
        values = mapping(value, "mixing")
        stored = rows(part(values, "errors"), "errors", count=len(self._errors))
        for errors, one in zip(self._errors, stored, strict=True):
            of_horizon = mapping(one, "errors")
            for name in _Errors.__slots__:
                kept = floats(part(of_horizon, name), f"errors {name}", count=_MIX + 1)
                setattr(errors, name, kept)
        self._last = floats(part(values, "last"), "errors last", count=_MIX)
        self._before = floats(part(values, "before"), "errors before", count=_MIX)


def _inverse(errors: Sequence[float], power: float) -> list[float]:
    """Errors to the power of -`power`, the best one's 1; where some are none, they share it."""
    least, most = min(errors), max(errors)
    if least <= 1e-12 * most:
        return [1.0 if error <= 1e-12 * most else 0.0 for error in errors]
    return [(least / error) ** power for error in errors]
