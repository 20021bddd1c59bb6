"""What a run leaves unended: how many half done, and how far behind.

Owns the two counts by which `offline_bound` speaks of schedules no less orderly than a run.
Without them a scheduler may starve the dearest requests of a batch, and compute prompts
whose outputs it leaves; both raise what is done in a window and are no use to anyone.
"""

from collections.abc import Sequence

from planner.simulation.live import LiveRequest
from planner.simulation.passes import Settled
from planner.simulation.request import SimulatedRequest
from planner.simulation.watch import EndedRequest, PassRecord


class Unended:
    """A watch that counts until the window's end.

    Attributes:
        given_up: Requests begun, not ended and without KV when the window's last results
            are in.
        spread: No request was unended when the one sent so many after it was sent.
    """

    def __init__(self, *, offline: Sequence[SimulatedRequest], in_flight: int, to_s: float) -> None:
        """Watches a closed loop that sends `offline`, so many of them in flight."""
        self.given_up = 0
        self.spread = in_flight
        self._places = {request.rid: place for place, request in enumerate(offline)}
        self._in_flight, self._to_s = in_flight, to_s
        self._ended: set[int] = set()
        self._first_unended = 0
        self._ended_count = 0
        self._begun: dict[str, LiveRequest] = {}

    def passed(self, record: PassRecord) -> None:
        """Notes who has begun."""
        for live, _ in record.run.prompts:
            if live.is_offline:
                self._begun[live.rid] = live

    def settled(self, settled: Settled, *, at_s: float) -> None:
        """Counts anew."""
        for live in settled.ended:
            if live.is_offline:
                self._begun.pop(live.rid, None)
        if at_s >= self._to_s:
            return
        self.given_up = sum(not live.kv_tokens for live in self._begun.values())
        for live in settled.ended:
            if live.is_offline:
                self._ended.add(self._places[live.rid])
                self._ended_count += 1
        while self._first_unended in self._ended:
            self._ended.remove(self._first_unended)
            self._first_unended += 1
        sent = self._ended_count + self._in_flight
        self.spread = max(self.spread, sent - self._first_unended)

    def ended(self, ended: EndedRequest) -> None:
        """Nothing: results say who ended."""
