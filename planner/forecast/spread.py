"""How far above the mean a round may come: bounds learned from past misses.

Owns, for one measure at one horizon, the last forecasts' residuals, and the upper bound
that follows. Refuses to forecast the mean.

The bound is conformal: residuals, each divided by the deviation expected at its size and by
the volatility of late (the burst term), and of these the empirical quantile. Its level
adapts (Gibbs and Candes, Adaptive Conformal Inference, NeurIPS 2021): each round above the
bound raises it, each round below lowers it a little, so that coverage returns after a
change. The level is kept within limits, so the paper's guarantee does not hold in full.

With fewer residuals than the quantile needs, a normal's stands in, in part, widened for
their number. One residual counts in the volatility as a few usual ones at most.

Invariants: the bound is never below the mean; at most `KEPT` residuals.
"""

import math
from bisect import bisect_left, insort
from collections import deque
from functools import lru_cache
from statistics import NormalDist

from planner.forecast.stored import floats, number, part

KEPT = 256
"""Residuals; a quantile of 0.95 is then good to 1.4 points."""

_STEP = 0.002  # of the adapted level, in misses; the paper takes 0.005, at 2 % more loss
_MOST_ALLOWED = 2.0  # times the misses asked for, so that a calm week is not unlearned safety
_LEAST_ALLOWED = -4.0  # steps below none allowed: how far misses in a row count up
_GROWTH = 0.25  # of the largest residual, for each step below none allowed
SIZE_POWER = 0.5  # of the mean: chance deviates by its root; in proportion (1) lost 4 % more
BURST = 16.0  # judged rounds that volatility looks back
BURST_SHARE = 0.25  # of it in the volatility, the rest being of long
_CLIPPED = 3.0  # usual residuals
_CLIPS_FROM = 12  # residuals
_FEW = 2.0  # a normal's bound from n residuals is widened by 1 + 2 / n, about as Student's t
_LEAST_SHARE = 0.1  # of the usual demand: what deviation is expected about none


class Spread:
    """Bounds of one measure at one horizon.

    Args:
        quantile: Share of rounds to cover.
    """

    __slots__ = ("_allowed", "_quantile", "_ranked", "_scores", "_squares", "_weights")

    def __init__(self, quantile: float) -> None:
        self._quantile = quantile
        self._allowed = 1.0 - quantile  # share of residuals that may lie above
        self._scores: deque[float] = deque()
        self._ranked: list[float] = []
        # Decaying sums of squared residuals, of late and of long, and of their weights.
        self._squares = [0.0, 0.0]
        self._weights = [0.0, 0.0]

    def record(self, *, mean: float, usual: float, upper: float, seen: float) -> None:
        """Takes in how a round turned out.

        Args:
            mean: That was forecast.
            usual: Mean of the rounds with demand.
            upper: That was forecast; a miss is judged against it.
            seen: What came.
        """
        asked = 1.0 - self._quantile
        allowed = self._allowed + _STEP * (asked - (seen > upper))
        self._allowed = min(_MOST_ALLOWED * asked, max(_LEAST_ALLOWED * _STEP, allowed))
        expected = deviation(mean, usual)
        if expected <= 0.0:
            return
        residual = (seen - mean) / expected
        self._note(residual)
        volatility = self._volatility()  # with this one: no residual is many times all others
        score = float(f"{residual / volatility:.5g}") if volatility > 0.0 else 0.0
        self._scores.append(score)
        insort(self._ranked, score)
        if len(self._scores) > KEPT:
            del self._ranked[bisect_left(self._ranked, self._scores.popleft())]

    def _note(self, residual: float) -> None:
        """Takes a residual into the volatilities, clipped: one outlier is no burst."""
        if len(self._scores) >= _CLIPS_FROM and (usual := self._volatility()) > 0.0:
            residual = math.copysign(min(abs(residual), _CLIPPED * usual), residual)
        for at, memory in enumerate((BURST, float(KEPT))):
            kept = 1.0 - 1.0 / memory
            self._weights[at] = kept * self._weights[at] + 1.0 - kept
            self._squares[at] = kept * self._squares[at] + (1.0 - kept) * residual * residual

    @property
    def count(self) -> int:
        """Residuals kept."""
        return len(self._scores)

    def upper(self, mean: float, *, usual: float, widened: float, cold: float) -> float:
        """The bound of a round.

        Args:
            mean: Forecast, >= 0.
            usual: Mean of the rounds with demand, >= 0.
            widened: How much wider than tracked, after a gap or beyond the horizons, >= 1.
            cold: The bound of no residuals.
        """
        count = len(self._scores)
        if not count:
            return max(mean, cold)
        size = self._volatility() * deviation(mean, usual) * widened
        learned = max(0.0, self._score() * size)
        trust = count * (1.0 - self._quantile)
        if trust < 1.0:
            normal = normal_z(self._quantile) * (1.0 + _FEW / count) * size
            learned = trust * learned + (1.0 - trust) * max(learned, normal)
        return mean + learned

    def _volatility(self) -> float:
        """Root mean square of residuals, of late and of long in parts."""
        if not all(self._weights):
            return 0.0
        late, long = (
            square / weight for square, weight in zip(self._squares, self._weights, strict=True)
        )
        return math.sqrt(BURST_SHARE * late + (1.0 - BURST_SHARE) * long)

    def _score(self) -> float:
        """The quantile of the residuals at the adapted level; 0 of none."""
        count = len(self._ranked)
        if not count:
            return 0.0
        rank = math.ceil((count + 1) * (1.0 - self._allowed))
        score = self._ranked[min(count, rank) - 1]
        if self._allowed < 0.0 and score > 0.0:
            score *= 1.0 + _GROWTH * -self._allowed / _STEP
        return score

    def to_values(self) -> dict[str, object]:
        """Plain values."""
        return {
            "allowed": self._allowed,
            "scores": list(self._scores),
            "volatility": [*self._squares, *self._weights],
        }

    def restore(self, values: object) -> None:
        """Takes on stored values.

        Raises:
            StateError: They are none of a spread.
        """
        self._allowed = number(part(values, "allowed"), "spread allowed")
        self._scores = deque(floats(part(values, "scores"), "spread scores")[-KEPT:])
        self._ranked = sorted(self._scores)
        volatility = floats(part(values, "volatility"), "spread volatility", count=4, least=0.0)
        self._squares, self._weights = volatility[:2], volatility[2:]


@lru_cache(maxsize=64)
def normal_z(quantile: float) -> float:
    """Deviations from the mean below which that share of a normal lies."""
    return NormalDist().inv_cdf(quantile)


def deviation(mean: float, usual: float) -> float:
    """The size of a residual at a mean, up to a factor."""
    return math.pow(max(mean, _LEAST_SHARE * usual), SIZE_POWER)
