"""What one gateway knows of each replica's load.

Owns three counts a replica: requests of its own in flight, requests others brought (from
the agents' reports, less its own), and requests sent of late. Refuses clocks: `now_s` is
an argument. Invariant: counts never go below zero, whatever order events come in.
"""

from collections.abc import Iterable
from dataclasses import dataclass

REPORT_LIFETIME_S = 10.0
"""A report older than this says nothing about now; agents report every second."""

_SENT_WINDOW = 256
"""Requests of a deployment's replicas that the fairness of shares looks back on."""


@dataclass(slots=True, kw_only=True)
class ReplicaTraffic:
    """Counts of one replica; owned and changed by `Traffic` only."""

    in_flight: int = 0
    sent: float = 0.0
    foreign: int = 0
    reported_s: float = float("-inf")


class Traffic:
    """Live load of every replica this gateway has sent to or heard of."""

    __slots__ = ("_replicas",)

    def __init__(self) -> None:
        self._replicas: dict[str, ReplicaTraffic] = {}

    def in_flight(self, replica: str) -> int:
        """Requests of this gateway the replica holds now."""
        known = self._replicas.get(replica)
        return known.in_flight if known else 0

    def pressure(self, replica: str, *, now_s: float) -> int:
        """Online requests the replica holds now, as far as this gateway can know."""
        known = self._replicas.get(replica)
        if known is None:
            return 0
        is_fresh = now_s - known.reported_s <= REPORT_LIFETIME_S
        return known.in_flight + (known.foreign if is_fresh else 0)

    def sent(self, replica: str) -> float:
        """Requests sent to it of late; older ones count less."""
        known = self._replicas.get(replica)
        return known.sent if known else 0.0

    def start(self, replica: str, *, peers: Iterable[str]) -> None:
        """Counts a request sent to `replica`, one of a deployment's `peers`."""
        entry = self._entry(replica)
        entry.in_flight += 1
        entry.sent += 1
        group = [self._entry(peer) for peer in peers]
        if sum(peer.sent for peer in group) > _SENT_WINDOW:
            for peer in group:
                peer.sent /= 2

    def finish(self, replica: str) -> None:
        """Counts the end of a request sent before."""
        entry = self._entry(replica)
        entry.in_flight = max(0, entry.in_flight - 1)

    def report(self, replica: str, *, online_requests: int, now_s: float) -> None:
        """Takes an agent's word: `online_requests` it runs and queues, of all gateways."""
        entry = self._entry(replica)
        entry.foreign = max(0, online_requests - entry.in_flight)
        entry.reported_s = now_s

    def age_s(self, replica: str, *, now_s: float) -> float:
        """Seconds since the last report; infinite where there was none."""
        known = self._replicas.get(replica)
        return now_s - known.reported_s if known else float("inf")

    def forget_except(self, replicas: Iterable[str]) -> None:
        """Drops replicas that left the table and hold nothing of this gateway."""
        kept = set(replicas)
        self._replicas = {
            name: entry
            for name, entry in self._replicas.items()
            if name in kept or entry.in_flight > 0
        }

    def _entry(self, replica: str) -> ReplicaTraffic:
        entry = self._replicas.get(replica)
        if entry is None:
            entry = self._replicas[replica] = ReplicaTraffic()
        return entry
