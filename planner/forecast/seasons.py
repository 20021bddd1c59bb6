"""Demand by time of day and of week.

Owns two weeks of demand by slot, and what the same time of the last days and weeks says of
a round: as it was, and shifted to how today compares. Refuses a season that was not seen:
where no day, or no week, lies back, it says nothing.

The profile of the day is the median of a slot on the last seven days; with fewer than three
of them, and for the week always, the median of the slot and its neighbours. So one outlier
is not remembered. Between the middles of slots a profile is a straight line.

`shifted` multiplies a profile by what was seen lately over what the profile said of the
same rounds: a change of level keeps the shape of the day. Invariants: values are >= 0 and
in proportion to what was seen; constant memory; a slot of which less than half was seen is
missing, never zero.
"""

import math
from statistics import median

from planner.forecast.settings import DAY_S, ForecastSettings
from planner.forecast.stored import floats, part, rows, whole

NAMES = ("day", "day, shifted", "week", "week, shifted")
HISTORY_DAYS = 14
_WEEK = 7
_CLEAR_DAYS = 3  # a median of three is free of one outlier
_FLOOR_RATIO = 0.02  # of the daily mean, added to both sides so that nights compare too
_MOST_SHIFT = 100.0
_SHIFT_S = 1800.0  # how long "lately" is, at least four rounds

Said = tuple[float | None, float | None]
"""What the day and the week say; None: not seen."""


class Seasons:
    """The profiles of one history."""

    def __init__(self, settings: ForecastSettings) -> None:
        self._round_s = settings.round_s
        self._slot_s = settings.slot_s
        self._day_slots = round(DAY_S / settings.slot_s)
        self._ring: list[float | None] = [None] * (HISTORY_DAYS * self._day_slots)
        self._slot = -1  # being filled; -1: none yet
        self._filling = [0.0, 0.0]  # sum, rounds
        self._kept = math.exp(-1.0 / max(4.0, _SHIFT_S / settings.round_s))
        self._compared = [0.0] * 4  # seen and said of the day, seen and said of the week
        self._profiles: dict[int, Said] = {}

    def add(self, index: int, value: float) -> None:
        """Takes a round in; indices rise."""
        for at, said in enumerate(self._said(index)):
            if said is not None:
                for place, one in ((2 * at, value), (2 * at + 1, said)):
                    self._compared[place] *= self._kept
                    self._compared[place] += (1.0 - self._kept) * one
        slot = int(index * self._round_s // self._slot_s)
        if slot != self._slot:
            self._close(slot)
        self._filling[0] += value
        self._filling[1] += 1.0

    def ahead(self, index: int, *, day_mean: float, fresh_ratio: float) -> list[float]:
        """What each of `NAMES` says of a round; NaN: nothing.

        Args:
            index: Of the round.
            day_mean: Of the demand over about a day.
            fresh_ratio: How much of today's shift still holds, 0..1.
        """
        ahead: list[float] = []
        for at, said in enumerate(self._said(index)):
            if said is None:
                ahead += [math.nan, math.nan]
                continue
            floor = _FLOOR_RATIO * day_mean
            seen, before = self._compared[2 * at : 2 * at + 2]
            shift = min(_MOST_SHIFT, (seen + floor) / (before + floor)) if before + floor else 1.0
            ahead += [said, said * (1.0 + (shift - 1.0) * fresh_ratio)]
        return ahead

    def _said(self, index: int) -> Said:
        """The profiles at the middle of a round, on the line between two slots' middles."""
        place = (index + 0.5) * self._round_s / self._slot_s - 0.5
        slot = math.floor(place)
        share = place - slot
        first, second = self._profile(slot), self._profile(slot + 1)
        return (
            _between(first[0], second[0], share),
            _between(first[1], second[1], share),
        )

    def _profile(self, slot: int) -> Said:
        found = self._profiles.get(slot)
        if found is None:
            found = self._profiles[slot] = (self._day(slot), self._week(slot))
        return found

    def _day(self, slot: int) -> float | None:
        seen = [
            (back, rate)
            for back in range(1, _WEEK + 1)
            if (rate := self._rate(slot - back * self._day_slots)) is not None
        ]
        if len(seen) >= _CLEAR_DAYS:
            return median([rate for _, rate in seen])
        return self._around(slot, [back for back, _ in seen])

    def _week(self, slot: int) -> float | None:
        weeks = (_WEEK, 2 * _WEEK)
        seen = [d for d in weeks if self._rate(slot - d * self._day_slots) is not None]
        return self._around(slot, seen)

    def _around(self, slot: int, days: list[int]) -> float | None:
        """Median of a slot and its neighbours so many days ago; None of no days."""
        rates = [
            rate
            for back in days
            for beside in (-1, 0, 1)
            if (rate := self._rate(slot - back * self._day_slots + beside)) is not None
        ]
        return median(rates) if rates else None

    def _rate(self, slot: int) -> float | None:
        """Mean of a finished slot; None: missing, or no longer kept."""
        if slot < 0 or not self._slot - len(self._ring) <= slot < self._slot:
            return None
        return self._ring[slot % len(self._ring)]

    def _close(self, next_slot: int) -> None:
        size = len(self._ring)
        if self._slot >= 0:
            total, rounds = self._filling
            is_seen = 2.0 * rounds * self._round_s >= self._slot_s
            # Six digits are more than demand repeats to, and halve the stored state.
            self._ring[self._slot % size] = float(f"{total / rounds:.6g}") if is_seen else None
            for slot in range(self._slot + 1, min(next_slot, self._slot + 1 + size)):
                self._ring[slot % size] = None
        self._slot, self._filling = next_slot, [0.0, 0.0]
        self._profiles.clear()

    def to_values(self) -> dict[str, object]:
        """Plain values."""
        return {
            "ring": list(self._ring),
            "slot": self._slot,
            "filling": list(self._filling),
            "compared": list(self._compared),
        }

    def restore(self, values: object) -> None:
        """Takes on stored values.

        Raises:
            StateError: They are none of seasons.
        """
        ring = rows(part(values, "ring"), "season ring", count=len(self._ring))
        self._ring = [
            None if rate is None else floats([rate], "season ring", least=0.0)[0] for rate in ring
        ]
        self._slot = whole(part(values, "slot"), "season slot")
        self._filling = floats(part(values, "filling"), "season filling", count=2, least=0.0)
        self._compared = floats(part(values, "compared"), "season compared", count=4, least=0.0)
        self._profiles.clear()


def _between(first: float | None, second: float | None, share: float) -> float | None:
    if first is None or second is None:
        return second if first is None else first
    return first + share * (second - first)
