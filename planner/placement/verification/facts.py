"""A snapshot indexed, as the rules look things up.

Owns look-ups in constant time, so that a plan is checked in the time of one pass over it.
Refuses judgement.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from planner.interference.frontier import DEFAULT_FRONTIER
from planner.model import (
    OFFLINE_ONLY,
    Allocation,
    Deployment,
    Desired,
    Device,
    Frontier,
    Node,
    Placement,
    ReplicaState,
    Snapshot,
)

_Mode = tuple[str, str, int, str]  # deployment, device type, devices, SLO class


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One snapshot.

    Attributes:
        snapshot: Itself.
        nodes: By id.
        deployments: By id, in order of it.
        allocations: By replica.
        devices: By node and index.
        holding: Allocations by node that hold their devices: not those whose removal ended.
    """

    snapshot: Snapshot
    nodes: Mapping[str, Node]
    deployments: Mapping[str, Deployment]
    allocations: Mapping[str, Allocation]
    devices: Mapping[tuple[str, int], Device]
    holding: Mapping[str, Sequence[Allocation]]
    _frontiers: Mapping[_Mode, Frontier] = field(repr=False)

    def device_type(self, placement: Placement) -> str:
        """Of its first device; "" where its node has none such."""
        if not placement.devices:
            return ""
        device = self.devices.get((placement.node, placement.devices[0]))
        return "" if device is None else device.device_type

    def frontier(self, placement: Placement) -> Frontier:
        """Of a placement's device type, its number of devices and its SLO class."""
        mode = (
            placement.deployment,
            self.device_type(placement),
            len(placement.devices),
            placement.slo_class,
        )
        return self._frontiers.get(mode, DEFAULT_FRONTIER)

    def tier(self, placement: Placement) -> int | None:
        """Index of the tightest class it serves; None: it serves none."""
        if placement.slo_class == OFFLINE_ONLY:
            return None
        classes = self.deployments[placement.deployment].classes
        ids = [one.id for one in classes]
        return ids.index(placement.slo_class) if placement.slo_class else 0

    def bears_online(self, placement: Placement) -> float:
        """Online work it carries with no offline work beside it, in engine-ms per second."""
        if placement.slo_class == OFFLINE_ONLY:
            return 0.0
        frontier = self.frontier(placement)
        limit = frontier.max_online_work
        for segment in frontier.segments:
            if segment.alpha > 0.0:
                limit = min(limit, segment.gamma / segment.alpha)
        return max(0.0, limit)

    def domain(self, placement: Placement) -> str:
        """Failure domain of its node."""
        return self.nodes[placement.node].failure_domain

    def must_stay(self, allocation: Allocation) -> bool:
        """Whether a freeze keeps it: nothing frozen is taken away.

        Not where nothing could stay: its node or deployment is gone, or it is broken on a
        node that drains.
        """
        node = self.nodes.get(allocation.node)
        deployment = self.deployments.get(allocation.deployment)
        if allocation.desired is Desired.STOPPED or node is None or deployment is None:
            return False
        is_broken = allocation.state is ReplicaState.FAILED or not node.is_ready
        if is_broken and node.is_draining:
            return False
        return node.is_frozen or deployment.is_frozen


def facts_of(snapshot: Snapshot) -> Facts:
    """Indexes a snapshot."""
    deployments = {d.id: d for d in sorted(snapshot.deployments, key=lambda d: d.id)}
    holding: dict[str, list[Allocation]] = defaultdict(list)
    for allocation in snapshot.allocations:
        if allocation.desired is Desired.RUNNING or allocation.holds_devices:
            holding[allocation.node].append(allocation)
    return Facts(
        snapshot=snapshot,
        nodes={node.id: node for node in snapshot.nodes},
        deployments=deployments,
        allocations={allocation.replica: allocation for allocation in snapshot.allocations},
        devices={
            (node.id, device.index): device for node in snapshot.nodes for device in node.devices
        },
        holding=holding,
        _frontiers=_frontiers(snapshot, deployments),
    )


def _frontiers(snapshot: Snapshot, deployments: Mapping[str, Deployment]) -> dict[_Mode, Frontier]:
    """By mode; of several for one, the first counts, as in `frontier_for`."""
    found: dict[_Mode, Frontier] = {}
    for known in snapshot.frontiers:
        deployment = deployments.get(known.deployment)
        size = known.tensor_parallel_size
        if size is None and deployment is not None:
            size = deployment.tensor_parallel_size
        if size is not None:
            mode = (known.deployment, known.device_type, size, known.slo_class)
            found.setdefault(mode, known.frontier)
    return found
