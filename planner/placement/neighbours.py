"""Who may share a node with whom.

Owns host memory and anti-affinity among all that holds devices on a node now, whether it
stays or leaves. Refuses devices; those are `seating`'s.
"""

from collections import Counter, defaultdict

from planner.placement.fleet import Fleet, Seat


class Present:
    """Host memory and neighbours on each node, with all that holds devices there now."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._host: Counter[str] = Counter()
        self._beside: dict[str, Counter[str]] = defaultdict(Counter)
        for one in fleet.allocations.values():
            self._add(one.deployment, one.node)

    def takes(self, seat: Seat) -> bool:
        """Takes a seat in if it may join what is there; whether it did."""
        node = self._fleet.nodes[seat.node]
        deployment = self._fleet.deployments[seat.deployment]
        needed = self._host[seat.node] + deployment.host_memory_bytes
        if node.host_memory_bytes and needed > node.host_memory_bytes:
            return False
        if any(
            count and are_apart(self._fleet, seat.deployment, other)
            for other, count in self._beside[seat.node].items()
        ):
            return False
        self._add(seat.deployment, seat.node)
        return True

    def _add(self, name: str, node: str) -> None:
        owner = self._fleet.deployments.get(name)
        self._host[node] += owner.host_memory_bytes if owner is not None else 0
        self._beside[node][name] += 1


def are_apart(fleet: Fleet, one: str, other: str) -> bool:
    """Whether either of two deployments is to share no node with the other."""
    return any(
        deployment is not None and name in deployment.anti_affinity
        for deployment, name in (
            (fleet.deployments.get(one), other),
            (fleet.deployments.get(other), one),
        )
    )
