"""Demand by time of day and of week.

Owns what the same time of the last days, and of the last weeks, says of a round, as it was
and shifted to how today compares. Refuses a season that was not seen: where no day, or no
week, lies back, it says nothing.

Profiles are medians: of the same slot on the last seven days; with fewer than three of
them, and for the week always, of the slot and its neighbours. So one outlier among three is
not remembered, a spike of every day is, and a zone without a season is not made one.

`shifted` multiplies the profile by what was seen lately over what the profile said of the
same bins: a change of level keeps the shape of the day. Invariants: values are >= 0 and in
proportion to what was seen; constant memory beyond the history.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

from planner.forecast.bins import WEEK_DAYS, ForecastSettings
from planner.forecast.history import HISTORY_DAYS, SlotHistory
from planner.forecast.level import Level, from_list

_ROUNDS = 4.0  # over which today is compared with the profile
_CLEAR_DAYS = 3  # a median of three is free of one outlier
_FLOOR_RATIO = 0.02  # of the daily mean, added to both sides so that nights compare too
_MOST_SHIFT = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seasons:
    """What the profiles say of one round, in arrivals per bin; None: not seen."""

    daily: float | None
    daily_shifted: float | None
    weekly: float | None
    weekly_shifted: float | None


class Seasonal:
    """The profiles of one history.

    Args:
        settings: Lengths.
        history: Slots; the caller adds a bin to it before adding it here.
    """

    def __init__(self, settings: ForecastSettings, history: SlotHistory) -> None:
        self._settings = settings
        self._history = history
        tau = _ROUNDS * settings.round_bins
        names = ("daily seen", "daily said", "weekly seen", "weekly said")
        self._levels = {name: Level(tau) for name in names}
        self._said: tuple[int, float | None, float | None] = (-1, None, None)

    def add(self, index: int, arrivals: float) -> None:
        """Compares a bin with what the profiles say of it."""
        slot = index // self._settings.slot_bins
        if self._said[0] != slot:
            self._said = (slot, self._daily(slot), self._weekly(slot))
        _, daily, weekly = self._said
        for name, said in (("daily", daily), ("weekly", weekly)):
            if said is not None:
                self._levels[f"{name} seen"].add(arrivals)
                self._levels[f"{name} said"].add(said)

    def ahead(self, first_bin: int, *, day_mean: float, stale_ratio: float) -> Seasons:
        """The profiles as forecasts.

        Args:
            first_bin: Index of the round's first bin.
            day_mean: Arrivals per bin over about a day.
            stale_ratio: How much of today's shift still holds, 0..1.
        """
        daily = self._round(first_bin, self._daily)
        weekly = self._round(first_bin, self._weekly)
        return Seasons(
            daily=daily,
            daily_shifted=self._shifted("daily", daily, day_mean, stale_ratio),
            weekly=weekly,
            weekly_shifted=self._shifted("weekly", weekly, day_mean, stale_ratio),
        )

    def _shifted(
        self, name: str, said: float | None, day_mean: float, stale_ratio: float
    ) -> float | None:
        if said is None:
            return None
        floor = _FLOOR_RATIO * day_mean
        before = self._levels[f"{name} said"].mean + floor
        if before <= 0.0:
            return said
        shift = min(_MOST_SHIFT, (self._levels[f"{name} seen"].mean + floor) / before)
        return said * (1.0 + (shift - 1.0) * stale_ratio)

    def _round(self, first_bin: int, profile: Callable[[int], float | None]) -> float | None:
        """Mean of a profile over a round; None where less than half is known."""
        total, known = 0.0, 0
        for slot, bins in self._slots(first_bin):
            said = profile(slot)
            if said is not None:
                total += said * bins
                known += bins
        return total / known if 2 * known >= self._settings.round_bins else None

    def _slots(self, first_bin: int) -> Iterator[tuple[int, int]]:
        """Slots that a round touches, and how many of its bins lie in each."""
        at, end = first_bin, first_bin + self._settings.round_bins
        while at < end:
            slot = at // self._settings.slot_bins
            upto = min(end, (slot + 1) * self._settings.slot_bins)
            yield slot, upto - at
            at = upto

    def _daily(self, slot: int) -> float | None:
        day = self._settings.day_slots
        rates = {back: self._history.rate(slot - back * day) for back in range(1, WEEK_DAYS + 1)}
        seen = {back: rate for back, rate in rates.items() if rate is not None}
        if not seen:
            return None
        return self._around(slot, list(seen)) if len(seen) < _CLEAR_DAYS else median(seen.values())

    def _weekly(self, slot: int) -> float | None:
        weeks = [
            days
            for days in range(WEEK_DAYS, HISTORY_DAYS + 1, WEEK_DAYS)
            if self._history.rate(slot - days * self._settings.day_slots) is not None
        ]
        return self._around(slot, weeks) if weeks else None

    def _around(self, slot: int, days: list[int]) -> float:
        """Median of a slot and its neighbours so many days ago."""
        rates = (
            self._history.rate(slot - back * self._settings.day_slots + beside)
            for back in days
            for beside in (-1, 0, 1)
        )
        return median([rate for rate in rates if rate is not None])

    def to_values(self) -> list[list[float]]:
        """Plain values."""
        return [level.to_values() for level in self._levels.values()]

    def restore(self, value: object) -> None:
        """Takes on stored values; the history is restored beside.

        Raises:
            ValuesError: They are none of seasons.
        """
        from_list(self._levels, value)
        self._said = (-1, None, None)
