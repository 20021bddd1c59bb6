"""How much each way of forecasting counts, per horizon.

Owns how wrong every expert was, and the weights that follow. Refuses to forecast. Of each
expert at each tracked horizon it keeps the mean squared error over about `MEMORY` judged
rounds, and for all horizons one thing more:

    misfit   the lesser of its last two errors one round ahead, where both have one sign

A weight is error^-POWER (Bates and Granger, Operational Research Quarterly 20 (1969), weigh
independent errors by their inverse squares; these experts share most of theirs, so a
steeper choice loses less). A misfit of several usual errors takes the weight away at once:
after a jump of demand all that remembers the old level is off in two rounds, whereas a
single outlier is no misfit of those that ignored it. Multiplying all demand changes no
weight.

Invariants: weights are >= 0 and sum to 1; one error counts at most six usual ones, so that
one outlier does not decide; constant memory.
"""

import math
from collections.abc import Sequence

from planner.forecast.stored import floats, part, rows

POWER = 6.0
MEMORY = 60.0
_KEPT = math.exp(-1.0 / MEMORY)
_TRUSTED = 4.0  # errors an expert needs to be weighed by them
_CLIPPED = 6.0  # usual errors
_CLIPS_FROM = 12.0  # errors
_HOPELESS = 1e6  # times that; more would overflow
_MISFIT = 3.0  # usual errors that halve a weight, if off so far twice; chance does it rarely


class Mixing:
    """Errors and weights of one history.

    Args:
        tracks: How many horizons are tracked.
        experts: How many there are.
    """

    def __init__(self, *, tracks: int, experts: int) -> None:
        # The last column is the mix itself.
        self._sums = [[0.0] * (experts + 1) for _ in range(tracks)]
        self._counts = [[0.0] * (experts + 1) for _ in range(tracks)]
        self._last = [0.0] * experts  # signed errors one round ahead
        self._before = [0.0] * experts

    def record(self, track: int, said: Sequence[float], *, mixed: float, seen: float) -> None:
        """Takes in how a round turned out.

        Args:
            track: Position of the horizon it was forecast at.
            said: By expert; NaN: nothing.
            mixed: What they made together.
            seen: What came.
        """
        sums, counts = self._sums[track], self._counts[track]
        usual = self._usual(track)
        is_clipped = usual > 0.0 and counts[-1] >= _CLIPS_FROM
        most = _CLIPPED * _CLIPPED * usual if is_clipped else math.inf
        for at, one in enumerate((*said, mixed)):
            if one == one:  # not NaN
                sums[at] = _KEPT * sums[at] + min(most, (one - seen) ** 2)
                counts[at] = _KEPT * counts[at] + 1.0
        if track == 0:
            self._before = self._last
            self._last = [one - seen if one == one else 0.0 for one in said]

    def weights(self, track: int, said: Sequence[float], *, fresh: Sequence[float]) -> list[float]:
        """The weight of each expert, 0 of those that say nothing.

        Args:
            track: Position of the horizon.
            said: By expert; NaN: nothing. One at least says something.
            fresh: By expert, how much it still tells after a gap, 0..1.
        """
        sums, counts = self._sums[track], self._counts[track]
        errors = [
            total / count if count >= _TRUSTED and one == one else math.inf
            for total, count, one in zip(sums, counts, said, strict=False)
        ]
        least = min(errors)
        if least == math.inf:
            return _normal([1.0 if one == one else 0.0 for one in said])
        floor = 1e-12 * max(error for error in errors if error < math.inf)
        if least <= floor:  # some are never wrong: they share it
            raw = [1.0 if error <= floor else 0.0 for error in errors]
        else:
            raw = [(least / error) ** (POWER / 2.0) for error in errors]
        fitting = [one * fit for one, fit in zip(raw, self._fits(errors), strict=True)]
        freshly = [one * share for one, share in zip(fitting, fresh, strict=True)]
        for weights in (freshly, fitting):
            if sum(weights) > 1e-9:
                return _normal(weights)
        return _normal(raw)

    def _fits(self, errors: Sequence[float]) -> list[float]:
        """How well experts fit the last two rounds, the best of those with errors 1."""
        usual = _MISFIT * math.sqrt(self._usual(0))
        fits = []
        for last, before in zip(self._last, self._before, strict=True):
            misfit = min(abs(last), abs(before)) if last * before > 0.0 else 0.0
            if usual > 0.0:
                fits.append(1.0 / (1.0 + min(misfit / usual, _HOPELESS) ** 4))
            else:
                fits.append(1.0 if misfit == 0.0 else 0.0)
        best = max(fit for fit, error in zip(fits, errors, strict=True) if error < math.inf)
        return [fit / best for fit in fits] if best > 0.0 else fits

    def _usual(self, track: int) -> float:
        """The mix's mean squared error; 0 of none."""
        count = self._counts[track][-1]
        return self._sums[track][-1] / count if count > 0.0 else 0.0

    def to_values(self) -> dict[str, object]:
        """Plain values."""
        return {
            "sums": [list(row) for row in self._sums],
            "counts": [list(row) for row in self._counts],
            "last": list(self._last),
            "before": list(self._before),
        }

    def restore(self, values: object) -> None:
        """Takes on stored values.

        Raises:
            StateError: They are none of a mixing.
        """
        experts = len(self._last)
        self._sums, self._counts = (
            [
                floats(row, f"mixing {name}", count=experts + 1, least=0.0)
                for row in rows(part(values, name), f"mixing {name}", count=len(self._sums))
            ]
            for name in ("sums", "counts")
        )
        self._last = floats(part(values, "last"), "mixing last", count=experts)
        self._before = floats(part(values, "before"), "mixing before", count=experts)


def _normal(weights: Sequence[float]) -> list[float]:
    total = math.fsum(weights)
    return [weight / total for weight in weights]
