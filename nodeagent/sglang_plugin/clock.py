"""The stamp of a pass: the one time every rank decides from.

Rank 0 reads its clock once a pass, where SGLang polls for timeouts; the stamp rides the
broadcast of requests, so ranks that share a waiting queue share `now`. No other module
here reads a clock to decide.

A fully idle pass is not stamped, so that idleness stays visible in SGLang's metrics. A
request that ends it is planned at the last stamp and dated by the next one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic


@dataclass(frozen=True, slots=True, kw_only=True)
class PassStamp:
    """Rank 0's reading, as broadcast."""

    now_s: float
    last_pass_ms: float


class PassClock:
    """Holds the stamp of the current pass; on rank 0 also makes it."""

    def __init__(self, *, read: Callable[[], float] = monotonic) -> None:
        self._read = read
        self._polled_s = read()
        self._elapsed_ms = 0.0
        self.now_s = 0.0  # not this rank's reading: every rank holds it until the first stamp
        self.last_pass_ms = 0.0
        self.is_stamped = False

    def poll(self) -> float:
        """Rank 0, once a pass: milliseconds since the pass before began."""
        now_s = self._read()
        self._elapsed_ms = (now_s - self._polled_s) * 1e3
        self._polled_s = now_s
        return self._elapsed_ms

    def stamp(self) -> PassStamp:
        """Rank 0: what to broadcast for the pass that was just polled."""
        return PassStamp(now_s=self._polled_s, last_pass_ms=self._elapsed_ms)

    def receive(self, stamp: PassStamp | None) -> None:
        """Every rank: the stamp of this pass, or None where it has none."""
        self.is_stamped = stamp is not None
        if stamp is not None:
            self.now_s = stamp.now_s
            self.last_pass_ms = stamp.last_pass_ms
