"""When requests arrive: open arrivals, and clients that answer an end with the next send.

Owns the calendar of arrivals. Refuses engine state. Invariants: arrivals come out in
order of time; a closed-loop client never has more than `in_flight` requests unfinished;
sources are read lazily, so memory is bounded by what is in flight.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from math import inf

from planner.simulation.request import SimulatedRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoop:
    """A client that keeps `in_flight` requests in the engine while its source lasts.

    With a static concurrency cap this is what SGLang's users do for batches; with the
    plugin it is the agent's bounded window.

    Args:
        source: Requests, in order; their `at_s` is ignored.
        in_flight: >= 0.
        start_s: When its first requests are sent.
        turnaround_s: From an end to the next send.
    """

    source: Iterable[SimulatedRequest]
    in_flight: int
    start_s: float = 0.0
    turnaround_s: float = 0.0

    def __post_init__(self) -> None:
        if self.in_flight < 0 or not self.start_s >= 0.0 or not self.turnaround_s >= 0.0:
            raise ValueError(
                f"closed loop: in_flight {self.in_flight}, start_s {self.start_s}, "
                f"turnaround_s {self.turnaround_s}; all must be >= 0"
            )


class Arrivals:
    """The calendar of one run."""

    def __init__(
        self, *, scheduled: Iterable[SimulatedRequest], clients: Iterable[ClosedLoop]
    ) -> None:
        self._scheduled = iter(scheduled)
        self._next = next(self._scheduled, None)
        self._due: list[tuple[float, int, SimulatedRequest]] = []
        self._sent = 0
        self._owners: dict[str, tuple[Iterator[SimulatedRequest], float]] = {}
        for client in clients:
            source = iter(client.source)
            for _ in range(client.in_flight):
                self._send(source, at_s=client.start_s, turnaround_s=client.turnaround_s)

    @property
    def next_s(self) -> float:
        """When the next request arrives; inf when none will without an end."""
        next_s = inf if self._next is None else self._next.at_s
        return min(next_s, self._due[0][0]) if self._due else next_s

    def take(self, *, until_s: float) -> list[SimulatedRequest]:
        """Removes what has arrived by `until_s`, eldest first."""
        taken: list[SimulatedRequest] = []
        while self.next_s <= until_s:
            request = self._next
            if request is not None and (not self._due or request.at_s <= self._due[0][0]):
                self._next = next(self._scheduled, None)
                if self._next is not None and self._next.at_s < request.at_s:
                    raise ValueError(
                        f"request {self._next.rid}: arrives at {self._next.at_s} s, before "
                        f"{request.rid} at {request.at_s} s; sort the workload by time"
                    )
            else:
                _, _, request = heappop(self._due)
            taken.append(request)
        return taken

    def ended(self, rid: str, *, at_s: float) -> None:
        """Tells the request's client, if a closed loop sent it, to send the next."""
        owner = self._owners.pop(rid, None)
        if owner is not None:
            source, turnaround_s = owner
            self._send(source, at_s=at_s + turnaround_s, turnaround_s=turnaround_s)

    def _send(
        self, source: Iterator[SimulatedRequest], *, at_s: float, turnaround_s: float
    ) -> None:
        request = next(source, None)
        if request is None:
            return
        self._owners[request.rid] = (source, turnaround_s)
        self._sent += 1
        heappush(self._due, (at_s, self._sent, replace(request, at_s=at_s)))
