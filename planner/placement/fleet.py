"""The snapshot surveyed: what of the fleet may be kept, must go, or is free.

Owns how each allocation stands for the round and which devices nobody holds. Refuses
preferences; those are the objective's. Invariants: a device is free only if no allocation
holds it, not even one that is being removed, so nothing new is planned onto devices in
use; all candidates of a round start from this one survey.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from planner.interference.frontier import DEFAULT_FRONTIER
from planner.model import (
    Allocation,
    Deployment,
    Desired,
    Device,
    Frontier,
    Node,
    ReplicaState,
    Snapshot,
)
from planner.placement.rolling import rolled_in_place
from planner.placement.weights import MOST_WEIGHED


class Standing(Enum):
    """How an allocation stands for this round."""

    GOOD = "good"  # as wanted; keeping it costs nothing
    DUE = "due"  # serves, and shall be replaced: its node drains or its generation is old
    BROKEN = "broken"  # serves nothing: it failed, or its node is lost
    LEAVING = "leaving"  # its removal is committed; it holds its devices until it stopped
    DROPPED = "dropped"  # removed by this round whatever else is decided

    @property
    def is_keepable(self) -> bool:
        """Whether a plan may keep it."""
        return self in (Standing.GOOD, Standing.DUE, Standing.BROKEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """Devices of one node that a replica of `deployment` is to have."""

    deployment: str
    node: str
    devices: tuple[int, ...]
    slo_class: str = ""  # it is to be held to if one is still wanted of it; "": whichever


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A candidate: what is kept, what is new, and what waits for devices to be freed."""

    kept: frozenset[str]
    new: tuple[Seat, ...] = ()
    waiting: tuple[Seat, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """One snapshot, indexed and judged."""

    snapshot: Snapshot
    nodes: Mapping[str, Node]
    deployments: Mapping[str, Deployment]  # in order of id
    allocations: Mapping[str, Allocation]  # in order of id, without those that are gone
    standing: Mapping[str, Standing]
    free: Mapping[str, frozenset[int]]  # node -> devices nobody holds, where new may go
    avoided: frozenset[tuple[str, str]]  # (deployment, node): it failed there
    spread_over: Mapping[str, int]  # deployment that spreads -> failure domains that can serve it
    frontiers: Mapping[tuple[str, str, int | None, str], Frontier]
    """By deployment, device type, devices (None: as the deployment says), SLO class."""

    def device_type(self, node: str, devices: tuple[int, ...]) -> str:
        """Type of the devices of a replica, or "" where the node does not have them."""
        for device in self.nodes[node].devices:
            if devices and device.index == devices[0]:
                return device.device_type
        return ""

    def frontier(
        self, deployment: str, device_type: str, *, slots: int | None = None, slo_class: str = ""
    ) -> Frontier:
        """Frontier of one replica of the deployment on that type.

        Args:
            deployment: Bare id.
            device_type: As agents report it.
            slots: Its devices; None: as many as the deployment says.
            slo_class: The tightest it serves.
        """
        known = self.known_frontier(deployment, device_type, slots=slots, slo_class=slo_class)
        return known or DEFAULT_FRONTIER

    def known_frontier(
        self, deployment: str, device_type: str, *, slots: int | None, slo_class: str
    ) -> Frontier | None:
        """The same, or None where none was measured or derived."""
        own = self.deployments[deployment].tensor_parallel_size
        for size in (slots, None) if slots in (None, own) else (slots,):
            known = self.frontiers.get((deployment, device_type, size, slo_class))
            if known is not None:
                return known
        return self.frontiers.get((deployment, device_type, own, slo_class)) if not slots else None

    @property
    def is_plain(self) -> bool:
        """Whether deployments can be looked at one by one.

        So without SLO classes, failover, several shapes, tenants' batches and host memory,
        where devices are free, and where weights alone keep offline work behind earlier tiers.
        """
        return (
            not self.snapshot.batches
            and self.snapshot.device_cost <= 0.0
            and not any(
                d.slo_classes
                or d.failover_ratio > 0.0
                or d.other_tensor_parallel_sizes
                or d.host_memory_bytes
                or d.offline_weight > MOST_WEIGHED
                or d.anti_affinity
                or d.node_groups
                or d.is_frozen
                for d in self.deployments.values()
            )
            and not (
                self.snapshot.pins
                or any(node.is_frozen for node in self.nodes.values())
                or any(known.slo_class for known in self.snapshot.frontiers)
            )
        )

    def of(self, deployment: str) -> tuple[Allocation, ...]:
        """Allocations of the deployment, by id."""
        return tuple(a for a in self.allocations.values() if a.deployment == deployment)


def suits(device: Device, deployment: Deployment) -> bool:
    """Whether a replica's share of the deployment fits this device's type and memory."""
    return (
        not deployment.device_types or device.device_type in deployment.device_types
    ) and deployment.bytes_per_device <= device.memory_bytes


def is_gone(allocation: Allocation, nodes: Mapping[str, Node]) -> bool:
    """Whether nothing of it is left: its removal ended, or was to be and its node is lost."""
    if allocation.desired is Desired.RUNNING:
        return False
    return not allocation.holds_devices or allocation.node not in nodes


def is_frozen(fleet: Fleet, allocation: Allocation) -> bool:
    """Whether a freeze of its node or its deployment keeps it as it is."""
    node = fleet.nodes.get(allocation.node)
    deployment = fleet.deployments.get(allocation.deployment)
    return (node is not None and node.is_frozen) or (
        deployment is not None and deployment.is_frozen
    )


def survey(snapshot: Snapshot) -> Fleet:
    """Judges every allocation and finds the free devices of a snapshot."""
    nodes = {node.id: node for node in sorted(snapshot.nodes, key=lambda node: node.id)}
    deployments = {d.id: d for d in sorted(snapshot.deployments, key=lambda d: d.id)}
    allocations = {
        allocation.replica: allocation
        for allocation in sorted(snapshot.allocations, key=lambda a: a.replica)
        if not is_gone(allocation, nodes)
    }
    standing = {
        replica: _standing(allocation, nodes, deployments)
        for replica, allocation in allocations.items()
    }
    free = _free_devices(nodes, allocations)
    avoided = frozenset(
        (allocation.deployment, allocation.node)
        for allocation in allocations.values()
        if allocation.state is ReplicaState.FAILED
        and allocation.deployment in deployments
        and allocation.generation >= deployments[allocation.deployment].generation
    )
    for replica in _rolled(nodes, deployments, allocations, standing, free, avoided):
        standing[replica] = Standing.DROPPED
    return Fleet(
        snapshot=snapshot,
        nodes=nodes,
        deployments=deployments,
        allocations=allocations,
        standing=standing,
        free=free,
        avoided=avoided,
        spread_over={
            deployment.id: _spread_over(deployment, nodes, allocations, standing)
            for deployment in deployments.values()
            if deployment.spread
        },
        frontiers={
            (
                known.deployment,
                known.device_type,
                known.tensor_parallel_size,
                known.slo_class,
            ): known.frontier
            for known in reversed(snapshot.frontiers)
        },
    )


def _standing(
    allocation: Allocation, nodes: Mapping[str, Node], deployments: Mapping[str, Deployment]
) -> Standing:
    if allocation.desired is Desired.STOPPED:
        return Standing.LEAVING
    node = nodes.get(allocation.node)
    deployment = deployments.get(allocation.deployment)
    if node is None or deployment is None:
        return Standing.DROPPED
    # LOST on a node that is back: its agent has the assignment and starts it.
    is_broken = allocation.state is ReplicaState.FAILED or not node.is_ready
    if is_broken:
        return Standing.DROPPED if node.is_draining else Standing.BROKEN
    is_old = allocation.generation < deployment.generation
    if (node.is_draining or is_old) and not (deployment.is_frozen or node.is_frozen):
        return Standing.DUE
    return Standing.GOOD


def _free_devices(
    nodes: Mapping[str, Node], allocations: Mapping[str, Allocation]
) -> dict[str, frozenset[int]]:
    held: dict[str, set[int]] = defaultdict(set)
    for allocation in allocations.values():
        held[allocation.node].update(allocation.devices)
    return {
        node.id: frozenset(device.index for device in node.devices) - held[node.id]
        for node in nodes.values()
        if node.takes_new
    }


def _rolled(
    nodes: Mapping[str, Node],
    deployments: Mapping[str, Deployment],
    allocations: Mapping[str, Allocation],
    standing: Mapping[str, Standing],
    free: Mapping[str, frozenset[int]],
    avoided: frozenset[tuple[str, str]],
) -> list[str]:
    """Replicas of an old generation to drop before their successors are added."""
    present: dict[str, list[Allocation]] = defaultdict(list)
    own: dict[str, list[Allocation]] = defaultdict(list)
    for allocation in allocations.values():
        present[allocation.node].append(allocation)
        own[allocation.deployment].append(allocation)
    found = []
    for name, deployment in deployments.items():
        old = [
            a
            for a in own[name]
            if standing[a.replica].is_keepable
            and a.generation < deployment.generation
            and nodes[a.node].takes_new
        ]
        in_transition = any(
            standing[a.replica] is Standing.LEAVING
            or (standing[a.replica] is Standing.GOOD and a.state is not ReplicaState.RUNNING)
            for a in own[name]
        )
        if deployment.is_frozen or in_transition or not old:
            continue
        rolled = rolled_in_place(
            deployment,
            old=old,
            own=own[name],
            nodes=nodes,
            deployments=deployments,
            present=present,
            free=free,
            avoided=avoided,
        )
        if rolled is not None:
            found.append(rolled)
    return found


def has_room(node: Node, indices: frozenset[int], deployment: Deployment) -> bool:
    """Whether `indices` of the node hold enough suitable devices of one type."""
    counts: dict[str, int] = defaultdict(int)
    for device in node.devices:
        if device.index in indices and suits(device, deployment):
            counts[device.device_type] += 1
    return max(counts.values(), default=0) >= deployment.tensor_parallel_size


def _spread_over(
    deployment: Deployment,
    nodes: Mapping[str, Node],
    allocations: Mapping[str, Allocation],
    standing: Mapping[str, Standing],
) -> int:
    domains = {
        node.failure_domain
        for node in nodes.values()
        if node.takes_new
        and has_room(node, frozenset(device.index for device in node.devices), deployment)
    }
    domains |= {
        nodes[a.node].failure_domain
        for a in allocations.values()
        if a.deployment == deployment.id and standing[a.replica] is Standing.GOOD
    }
    return max(1, len(domains))
