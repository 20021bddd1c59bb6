"""Who is on each node already, for a deployment that wants to join.

Owns host memory and anti-affinity of one more replica beside all that holds devices now,
whether it stays or leaves. Refuses devices. Invariant: agrees with the verifier, which a
property test holds it to.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from planner.model import Allocation, Deployment, Node


class Beside:
    """What holds devices, by node.

    Args:
        allocations: Those that are not gone.
        deployments: All that are wanted, by id.
    """

    def __init__(
        self, allocations: Iterable[Allocation], deployments: Mapping[str, Deployment]
    ) -> None:
        self._deployments = deployments
        self._owners: dict[str, Counter[str]] = defaultdict(Counter)
        for one in allocations:
            self._owners[one.node][one.deployment] += 1

    def host_bytes(self, node: str) -> int:
        """Host memory taken on a node."""
        return sum(
            count * self._deployments[name].host_memory_bytes
            for name, count in self._owners.get(node, {}).items()
            if name in self._deployments
        )

    def apart(self, deployment: Deployment, node: str) -> str | None:
        """A deployment on the node that this one is to share none with, the first by id."""
        return next(
            (
                name
                for name in sorted(self._owners.get(node, {}))
                if name in deployment.anti_affinity
                or (
                    name in self._deployments
                    and deployment.id in self._deployments[name].anti_affinity
                )
            ),
            None,
        )

    def takes(self, deployment: Deployment, node: Node) -> bool:
        """Whether one more replica may join what is on the node."""
        return self.has_host_memory(deployment, node) and self.apart(deployment, node.id) is None

    def has_host_memory(self, deployment: Deployment, node: Node) -> bool:
        """Whether the node has the host memory one more replica takes, as far as is known."""
        limit, wanted = node.host_memory_bytes, deployment.host_memory_bytes
        return not limit or not wanted or self.host_bytes(node.id) + wanted <= limit
