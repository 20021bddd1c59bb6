"""The cap a canary's offline work runs under.

Owns how much offline work a replica at stage canary may start: its offline share is a
ceiling there, not only an order. A token bucket of work: it fills at the share, and an
item is charged what it turned out to cost, since its output is not known before. Refuses
new items while the bucket is in debt, so the share holds over time, and more than a few
at once, so a burst stays small. Invariant: a share of 0 starts nothing.
"""

from dataclasses import dataclass, replace

MOST_ITEMS = 4
"""Items in a canary's engine at once: what can be charged before any has ended."""
BURST_S = 2.0
"""Seconds of the share an idle canary saves up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkCap:
    """The bucket of one replica. Times in seconds on one monotonic clock."""

    level_ms: float = 0.0  # engine-milliseconds; negative: in debt
    at_s: float | None = None  # when the level held; None: it never did

    def filled(self, *, share: float, now_s: float) -> "WorkCap":
        """The bucket now.

        Args:
            share: offline share of the replica, engine-milliseconds per second.
            now_s: the time.
        """
        if self.at_s is None:
            return WorkCap(level_ms=self.level_ms, at_s=now_s)
        level_ms = self.level_ms + share * (now_s - self.at_s)
        return WorkCap(level_ms=min(level_ms, share * BURST_S), at_s=now_s)

    def charged(self, work_ms: float) -> "WorkCap":
        """The bucket after an item of that work."""
        return replace(self, level_ms=self.level_ms - work_ms)

    def room(self, *, in_engine: int) -> int:
        """How many more items may start beside those in the engine."""
        return max(0, MOST_ITEMS - in_engine) if self.level_ms > 0.0 else 0
