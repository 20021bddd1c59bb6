"""Two weeks of demand at the resolution of the profile.

Owns the mean arrivals per bin of each slot of the last 14 days, and the slot that is being
filled. Refuses to judge them. Invariants: at most 14 days of slots and one more; a slot of
which less than half was seen is missing, never zero.
"""

from planner.forecast.bins import WEEK_DAYS, ForecastSettings
from planner.forecast.values import Values, floats, optional, part, rows, whole

HISTORY_DAYS = 2 * WEEK_DAYS


class SlotHistory:
    """A ring of slots, the newest last."""

    def __init__(self, settings: ForecastSettings) -> None:
        self._slot_bins = settings.slot_bins
        self._size = HISTORY_DAYS * settings.day_slots
        self._rates: list[float | None] = [None] * self._size
        self._slot: int | None = None  # being filled
        self._arrivals = 0.0
        self._bins = 0

    def add(self, index: int, arrivals: float) -> None:
        """Takes a bin in; indices rise."""
        slot = index // self._slot_bins
        if self._slot is None:
            self._slot = slot
        elif slot > self._slot:
            self._close(next_slot=slot)
        self._arrivals += arrivals
        self._bins += 1

    def rate(self, slot: int) -> float | None:
        """Mean arrivals per bin of a finished slot; None: missing, or not kept."""
        if self._slot is None or not self._slot - self._size <= slot < self._slot or slot < 0:
            return None
        return self._rates[slot % self._size]

    def _close(self, *, next_slot: int) -> None:
        assert self._slot is not None
        seen = 2 * self._bins >= self._slot_bins
        self._rates[self._slot % self._size] = self._arrivals / self._bins if seen else None
        for slot in range(self._slot + 1, min(next_slot, self._slot + 1 + self._size)):
            self._rates[slot % self._size] = None
        self._slot, self._arrivals, self._bins = next_slot, 0.0, 0

    def to_values(self) -> dict[str, object]:
        """Plain values."""
        return {
            "rates": list(self._rates),
            "slot": self._slot,
            "filling": [self._arrivals, float(self._bins)],
        }

    def restore(self, values: Values) -> None:
        """Takes on stored values.

        Raises:
            ValuesError: They are none of a history of this length.
        """
        stored = rows(part(values, "rates"), "history rates", count=self._size)
        self._rates = [optional(rate, "history rates") for rate in stored]
        slot = part(values, "slot")
        self._slot = None if slot is None else whole(slot, "history slot")
        filling = floats(part(values, "filling"), "history filling", count=2)
        self._arrivals, self._bins = filling[0], int(filling[1])
