"""Online latencies of one replica, as its agent sees them.

Owns two views of the same samples: since the last report, and over the last seconds.
Refuses requests whose caller left: nobody waited for their tokens. Invariants: memory is
bounded; a gap counts when it happens, not when its request ends, so that a stream that
suffers now is seen now.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile

from planner.model import Slo
from planner.slo import Chunk, Outcome, Quantiles, RequestTrace, attains, quantiles, ttft_ms

_LONGEST_GAPS = 50_000
_LONGEST_REQUESTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySummary:
    """Requests that ended and gaps that happened within a window."""

    requests: int
    attained: int
    ttft_ms: Quantiles
    itl_ms: Quantiles


class Stream:
    """One request under way; `Latencies.measure` makes it."""

    def __init__(self, latencies: "Latencies", *, arrived_s: float, slo: Slo) -> None:
        self.slo = slo
        self._latencies = latencies
        self._arrived_s = arrived_s
        self._chunks: list[Chunk] = []
        self.is_abandoned = False
        """Set when the caller left: the request then counts for nothing."""

    def add(self, tokens: int, *, now_s: float) -> None:
        """Counts tokens that came now."""
        if tokens < 1:
            return
        if self._chunks:
            gap_ms = (now_s - self._chunks[-1].at_s) * 1e3
            self._latencies.add_gaps(gap_ms, zeros=tokens - 1, now_s=now_s)
        self._chunks.append(Chunk(at_s=now_s, tokens=tokens))

    def trace(self, outcome: Outcome) -> RequestTrace:
        """What happened so far."""
        return RequestTrace(
            scheduled_s=self._arrived_s, chunks=tuple(self._chunks), outcome=outcome
        )


class Latencies:
    """Samples of one replica against its SLO, or a request's own. Times are of one clock."""

    def __init__(self, slo: Slo) -> None:
        self.slo = slo
        self.running = 0
        """Requests under way."""
        self._gaps: deque[tuple[float, float]] = deque(maxlen=_LONGEST_GAPS)
        self._ends: deque[tuple[float, bool, float | None]] = deque(maxlen=_LONGEST_REQUESTS)
        self._reported_s = float("-inf")

    @contextmanager
    def measure(self, *, arrived_s: float, slo: Slo | None = None) -> Iterator[Stream]:
        """Counts a request as running until the block ends; `finish` records it.

        Args:
            arrived_s: when it came.
            slo: what it is held to; None: what the replica is.
        """
        self.running += 1
        try:
            yield Stream(self, arrived_s=arrived_s, slo=slo or self.slo)
        finally:
            self.running -= 1

    def finish(self, stream: Stream, outcome: Outcome, *, now_s: float) -> None:
        """Records how a request ended, unless its caller left."""
        if stream.is_abandoned:
            return
        trace = stream.trace(outcome)
        self._ends.append((now_s, attains(trace, stream.slo), ttft_ms(trace)))

    def add_gaps(self, gap_ms: float, *, zeros: int, now_s: float) -> None:
        """Counts one gap, and zeros for the tokens that came with it."""
        self._gaps.append((now_s, gap_ms))
        self._gaps.extend([(now_s, 0.0)] * zeros)

    def summarize(self, *, after_s: float) -> LatencySummary:
        """What happened after that time."""
        ends = list(takewhile(lambda end: end[0] > after_s, reversed(self._ends)))
        gaps = takewhile(lambda gap: gap[0] > after_s, reversed(self._gaps))
        return LatencySummary(
            requests=len(ends),
            attained=sum(attained for _, attained, _ in ends),
            ttft_ms=quantiles(first for _, _, first in ends if first is not None),
            itl_ms=quantiles(gap_ms for _, gap_ms in gaps),
        )

    def take_report(self, *, now_s: float) -> LatencySummary:
        """What happened since the last call, for the control plane."""
        summary = self.summarize(after_s=self._reported_s)
        self._reported_s = now_s
        return summary
