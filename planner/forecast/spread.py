"""How far above the mean a round may come: bounds learned from past misses.

Owns, for one measure at one horizon, the last forecasts with what came of them, and the
upper bound that follows. Refuses to forecast the mean.

The bound is conformal: residuals, each divided by the deviation expected at its size,
    deviation(m) = sqrt(m + kappa^2 m^2)        m: mean count of the round
(Poisson noise, and relative noise kappa learned from the same residuals), and of these the
empirical quantile. Its level adapts (Gibbs and Candes, Adaptive Conformal Inference,
NeurIPS 2021): each round above the bound raises it, each round below lowers it a little, so
that coverage holds in the long run whatever the demand does, and returns after a change.
The residuals also cover bursts: where one round in ten is five times the mean, so is the
bound.

With fewer rounds than the quantile needs, a stated wide spread stands in, in part. Beyond
what was tracked, and after a gap, relative noise grows with the square root of the
distance, and by what a gap has made worthless (1/e of it is left after a day), up to that
wide spread.

Invariants: the bound is never below the mean, nor below what Poisson noise alone asks for;
at most `KEPT_ROUNDS` residuals.
"""

import math
from collections import deque
from enum import Enum
from statistics import median

from planner.forecast.counts import normal_z, poisson_quantile, quiet_bound
from planner.forecast.values import Values, floats, number, part

KEPT_ROUNDS = 192
"""Two days of quarter hours; a quantile of 0.95 is then good to 1.6 points."""
COLD_KAPPA = 1.0
"""Relative deviation before anything is learned: a bound of about 2.6 times the mean."""

_STEP = 0.015  # of the adapted level, in misses; NeurIPS 2021 takes 0.005
_LEAST_KAPPA = 0.02
_CHI2_MEDIAN = 0.4549  # of one degree of freedom: a median of squares to their mean
_FLOOR_DEPTH = 4.0  # steps below none allowed: how far misses in a row count up
_MOST_ALLOWED = 2.0  # times the misses asked for, so that a calm week is not unlearned safety
_GROWTH = 0.25  # of the largest residual, for each step below none allowed


class UpperSource(Enum):
    """What an upper bound rests on."""

    RESIDUALS = "past residuals"
    COLD = "wide spread, too few rounds seen"
    POISSON = "chance of small counts"
    QUIET = "nothing seen for long"


class Spread:
    """Bounds of one measure at one horizon, in counts per round.

    Args:
        quantile: Share of rounds to cover.
    """

    __slots__ = ("_allowed", "_kappa", "_quantile", "_rounds", "_score")

    def __init__(self, quantile: float) -> None:
        self._quantile = quantile
        self._allowed = 1.0 - quantile  # share of residuals that may lie above
        self._rounds: deque[tuple[float, float]] = deque(maxlen=KEPT_ROUNDS)
        self._kappa = COLD_KAPPA
        self._score: float | None = None  # of the bound; None: to be computed anew

    def record(self, *, mean: float, upper: float, seen: float) -> None:
        """Takes in how a round turned out.

        Args:
            mean: That was forecast.
            upper: That was forecast; a miss is judged against it.
            seen: What came.
        """
        missed = 1.0 if seen > upper else 0.0
        asked = 1.0 - self._quantile
        allowed = self._allowed + _STEP * (asked - missed)
        self._allowed = min(_MOST_ALLOWED * asked, max(-_FLOOR_DEPTH * _STEP, allowed))
        if mean > 0.0 or seen > 0.0:
            self._rounds.append((mean, seen))
        self._score = None

    def upper(
        self, mean: float, *, widened: float, unseen_ratio: float, quiet_rounds: float
    ) -> tuple[float, UpperSource]:
        """The bound of a round, and what it rests on.

        Args:
            mean: Forecast, >= 0.
            widened: Distance over the distance that was tracked, >= 1.
            unseen_ratio: How much of what was known a gap has made worthless, 0..1.
            quiet_rounds: Rounds in a row without any arrival up to now, 0 with.
        """
        bound, source = self._learned(mean, widened=widened, unseen_ratio=unseen_ratio)
        chance = poisson_quantile(mean, self._quantile)
        if chance > bound:
            bound, source = chance, UpperSource.POISSON
        if quiet_rounds > 0.0:
            unseen = quiet_bound(quiet_rounds, self._quantile)
            if unseen > bound:
                bound, source = unseen, UpperSource.QUIET
        return max(mean, bound), source

    def _learned(
        self, mean: float, *, widened: float, unseen_ratio: float
    ) -> tuple[float, UpperSource]:
        if self._score is None:
            self._learn()
            assert self._score is not None
        most = max(COLD_KAPPA, self._kappa)
        kappa = min(most, math.hypot(self._kappa * math.sqrt(widened), COLD_KAPPA * unseen_ratio))
        learned = mean + self._score * deviation(mean, kappa)
        needed = 1.0 / (1.0 - self._quantile)  # rounds, for its quantile to be among them
        trust = min(1.0, len(self._rounds) / needed)
        if trust >= 1.0:
            return learned, UpperSource.RESIDUALS
        cold = mean + normal_z(self._quantile) * deviation(mean, COLD_KAPPA)
        bound = trust * learned + (1.0 - trust) * max(cold, learned)
        return bound, UpperSource.COLD

    def _learn(self) -> None:
        """Computes relative noise and the quantile of the residuals."""
        rounds = self._rounds
        if not rounds:
            self._kappa, self._score = COLD_KAPPA, normal_z(self._quantile)
            return
        relative = [
            ((seen - mean) ** 2 / _CHI2_MEDIAN - mean) / (mean * mean)
            for mean, seen in rounds
            if mean > 1e-3
        ]
        noise = math.sqrt(max(0.0, median(relative))) if relative else COLD_KAPPA
        self._kappa = kappa = max(_LEAST_KAPPA, noise)
        scores = sorted((seen - mean) / max(1e-6, deviation(mean, kappa)) for mean, seen in rounds)
        rank = math.ceil((len(scores) + 1) * (1.0 - self._allowed))
        self._score = scores[min(len(scores), rank) - 1]
        if self._allowed < 0.0 and self._score > 0.0:
            self._score *= 1.0 + _GROWTH * -self._allowed / _STEP

    def to_values(self) -> dict[str, object]:
        """Plain values."""
        return {
            "allowed": self._allowed,
            "means": [mean for mean, _ in self._rounds],
            "seen": [seen for _, seen in self._rounds],
        }

    def restore(self, values: Values) -> None:
        """Takes on stored values.

        Raises:
            ValuesError: They are none of a spread.
        """
        self._allowed = number(part(values, "allowed"), "spread allowed")
        means = floats(part(values, "means"), "spread means")[-KEPT_ROUNDS:]
        seen = floats(part(values, "seen"), "spread seen", count=len(means))
        self._rounds = deque(zip(means, seen, strict=True), maxlen=KEPT_ROUNDS)
        self._score = None


def deviation(mean: float, kappa: float) -> float:
    """The deviation expected of a count of that mean, with relative noise kappa."""
    return math.sqrt(mean + (kappa * mean) ** 2)
