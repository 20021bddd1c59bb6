"""When a crashed engine is started again, and when crashing has become a loop.

Owns the rule only; the supervisor counts and waits. Invariants: the delay never shrinks
while failures go on, and one long healthy run forgets them all.
"""

from dataclasses import dataclass

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 60.0
HEALTHY_S = 60.0
"""A run this long after readiness forgets the failures before it."""
CRASH_LOOP_FAILURES = 3
"""That many failures in a row make a crash loop: about 7 s of waiting and three starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarts:
    """Failures in a row of one engine."""

    failures: int = 0

    def after_failure(self, *, healthy_s: float) -> "Restarts":
        """Counts a failure after `healthy_s` seconds of readiness (0: never ready)."""
        return Restarts(failures=1 if healthy_s >= HEALTHY_S else self.failures + 1)

    @property
    def delay_s(self) -> float:
        """Seconds to wait before the next start."""
        if self.failures == 0:
            return 0.0
        return min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(self.failures - 1, 16))

    @property
    def is_crash_loop(self) -> bool:
        """Whether the replica is reported FAILED, so that it is placed elsewhere."""
        return self.failures >= CRASH_LOOP_FAILURES
