"""How much each way of forecasting counts, per horizon.

Owns how wrong every expert was, and the weights that follow. Refuses to forecast. Of each
expert at each tracked horizon it keeps two mean absolute errors, and one thing for all:

    lately   over about 60 judged rounds
    week     over about a week: it tells who knows of mornings and weekends
    misfit   the lesser of its last two errors one round ahead, where both have one sign

A weight is (lately * week)^-POWER (Bates and Granger, Operational Research Quarterly 20
(1969), weigh independent errors by their inverse squares; these experts share most of
theirs, so a steeper choice loses less). Errors are absolute: rare spikes make up most of
their squares, and those told nothing of the rounds between. A misfit of several usual errors
takes the weight away at once: after a jump of demand all that remembers the old level is off
in two rounds, whereas a single outlier is no misfit of those that ignored it. Multiplying
all demand changes no weight.

Invariants: weights are >= 0 and sum to 1; one error counts at most a few usual ones, so
that one outlier does not decide; constant memory.
"""

import math
from collections.abc import Sequence

from planner.forecast.settings import ForecastSettings
from planner.forecast.stored import floats, part, rows

POWER = 3.0  # of each mean error
_LATELY = 60.0  # judged rounds
_WEEK_DAYS = 7.0
_TRUSTED = 4.0  # errors an expert needs to be weighed by them
_CLIPPED, _WEEK_CLIPPED = 6.0, 30.0  # usual errors
_CLIPS_FROM = 12.0  # errors
_MISFIT = 3.0  # usual errors that halve a weight, if off so far twice; chance does it rarely
_HOPELESS = 1e6  # times that; more would overflow


class Mixing:
    """Errors and weights of one history.

    Args:
        settings: Lengths and horizons.
        experts: How many there are.
    """

    def __init__(self, settings: ForecastSettings, *, experts: int) -> None:
        tracks = len(settings.tracked)
        # The last column of each is the mix itself.
        self._lately = _Errors(tracks, experts + 1, kept=math.exp(-1.0 / _LATELY))
        week = _WEEK_DAYS * settings.day_rounds
        self._week = _Errors(tracks, experts + 1, kept=math.exp(-1.0 / week))
        self._last = [0.0] * experts  # signed errors one round ahead
        self._before = [0.0] * experts
        self._fit: list[float] | None = None  # how well each fits; None: not computed yet

    def record(self, track: int, said: Sequence[float], *, mixed: float, seen: float) -> None:
        """Takes in how a round turned out.

        Args:
            track: Position of the horizon it was forecast at.
            said: By expert; NaN: nothing.
            mixed: What they made together.
            seen: What came.
        """
        usual = math.inf
        if self._lately.counts[track][-1] >= _CLIPS_FROM:
            usual = self._lately.mean(track, -1) or math.inf
        errors = [one - seen for one in (*said, mixed)]
        self._lately.add(track, errors, most=_CLIPPED * usual)
        self._week.add(track, errors, most=_WEEK_CLIPPED * usual)
        if track == 0:
            self._fit = None
            self._before = self._last
            self._last = [0.0 if math.isnan(error) else error for error in errors[:-1]]

    def weights(self, track: int, said: Sequence[float], *, fresh: Sequence[float]) -> list[float]:
        """The weight of each expert, 0 of those that say nothing.

        Args:
            track: Position of the horizon.
            said: By expert; NaN: nothing. One at least says something.
            fresh: By expert, how much it still tells after a gap, 0..1.
        """
        track = self._nearest(track)
        counts = self._lately.counts[track]
        trusted = [
            at for at, one in enumerate(said) if counts[at] >= _TRUSTED and not math.isnan(one)
        ]
        if not trusted:
            return _normal([0.0 if math.isnan(one) else 1.0 for one in said])
        raw = [0.0] * len(said)
        lately = _inverse([self._lately.mean(track, at) for at in trusted])
        week = _inverse([self._week.mean(track, at) for at in trusted])
        for at, one, other in zip(trusted, lately, week, strict=True):
            raw[at] = one * other
        if not any(raw):  # never wrong lately, or in a week, but none is both
            for at, one in zip(trusted, lately, strict=True):
                raw[at] = one
        fits = self._fits(trusted)
        fitting = [one * fit for one, fit in zip(raw, fits, strict=True)]
        freshly = [one * share for one, share in zip(fitting, fresh, strict=True)]
        return _normal(next((one for one in (freshly, fitting) if sum(one) > 1e-9), raw))

    def _fits(self, trusted: Sequence[int]) -> list[float]:
        """How well experts fit the last two rounds, the best of the trusted 1."""
        if self._fit is None:
            self._fit = self._fit_of_all()
        best = max(self._fit[at] for at in trusted)
        return [fit / best for fit in self._fit] if best > 0.0 else self._fit

    def _fit_of_all(self) -> list[float]:
        usual = _MISFIT * self._lately.mean(0, -1)
        fits = []
        for last, before in zip(self._last, self._before, strict=True):
            misfit = min(abs(last), abs(before)) if last * before > 0.0 else 0.0
            if usual > 0.0:
                fits.append(1.0 / (1.0 + min(misfit / usual, _HOPELESS) ** 4))
            else:
                fits.append(1.0 if misfit == 0.0 else 0.0)
        return fits

    def _nearest(self, track: int) -> int:
        """The horizon next to that position at which errors are known; itself where none is."""
        counts = self._lately.counts
        if counts[track][-1] >= _TRUSTED:
            return track
        for at in sorted(range(len(counts)), key=lambda one: (abs(one - track), one)):
            if counts[at][-1] >= _TRUSTED:
                return at
        return track

    def to_values(self) -> dict[str, object]:
        """Plain values."""
        return {
            "lately": self._lately.to_values(),
            "week": self._week.to_values(),
            "last": list(self._last),
            "before": list(self._before),
        }

    def restore(self, values: object) -> None:
        """Takes on stored values.

        Raises:
            StateError: They are none of a mixing.
        """
        experts = len(self._last)
        self._lately.restore(part(values, "lately"))
        self._week.restore(part(values, "week"))
        self._last = floats(part(values, "last"), "mixing last", count=experts)
        self._before = floats(part(values, "before"), "mixing before", count=experts)
        self._fit = None


class _Errors:
    """Decaying sums of absolute errors, by horizon and expert."""

    __slots__ = ("_kept", "counts", "sums")

    def __init__(self, tracks: int, columns: int, *, kept: float) -> None:
        self._kept = kept
        self.sums = [[0.0] * columns for _ in range(tracks)]
        self.counts = [[0.0] * columns for _ in range(tracks)]

    def add(self, track: int, errors: Sequence[float], *, most: float) -> None:
        """Takes errors in, each up to `most`; NaN: none."""
        sums, counts, kept = self.sums[track], self.counts[track], self._kept
        for at, error in enumerate(errors):
            if not math.isnan(error):
                sums[at] = kept * sums[at] + min(most, abs(error))
                counts[at] = kept * counts[at] + 1.0

    def mean(self, track: int, at: int) -> float:
        """The mean; 0 of none."""
        count = self.counts[track][at]
        return self.sums[track][at] / count if count > 0.0 else 0.0

    def to_values(self) -> list[object]:
        """Plain values."""
        return [[list(row) for row in table] for table in (self.sums, self.counts)]

    def restore(self, values: object) -> None:
        """Takes on stored values.

        Raises:
            StateError: They are none of so many errors.
        """
        tracks, columns = len(self.sums), len(self.sums[0])
        self.sums, self.counts = (
            [
                floats(row, "mixing errors", count=columns, least=0.0)
                for row in rows(table, "mixing errors", count=tracks)
            ]
            for table in rows(values, "mixing errors", count=2)
        )


def _inverse(errors: Sequence[float]) -> list[float]:
    """Errors to the power of -POWER, the best one's 1; where some are none, they share it."""
    least, most = min(errors), max(errors)
    if least <= 1e-9 * most:
        return [1.0 if error <= 1e-9 * most else 0.0 for error in errors]
    return [math.pow(least / error, POWER) for error in errors]


def _normal(weights: Sequence[float]) -> list[float]:
    total = math.fsum(weights)
    return [weight / total for weight in weights]
