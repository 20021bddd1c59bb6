"""Why one more replica fits no node: a misfit a node, the nearest first.

Owns the tests a node has to pass and the remedy of each. Refuses to guess: a misfit names
what was needed, what was available at the best, and one thing that would help. Invariant:
a node without a misfit has a seat that the verifier lets through.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from planner.model import Allocation, Deployment, Desired, Misfit, Node, Placement, Snapshot
from planner.placement.explaining.beside import Beside
from planner.placement.fleet import Fleet, suits, survey

DIMENSIONS = (
    "device_type",
    "tensor_parallel",
    "memory",
    "node_group",
    "cordoned",
    "frozen",
    "capacity",
    "anti_affinity",
    "host_memory",
    "devices",
)
"""Of misfits of one more replica, from the farthest to the nearest: what fails later on the
way to a seat is nearer."""


def misfits(
    snapshot: Snapshot,
    deployment: Deployment,
    *,
    placements: Sequence[Placement] | None = None,
    only: str | None = None,
) -> tuple[Misfit, ...]:
    """Why one more replica of the deployment fits no node.

    Args:
        snapshot: The fleet. The deployment need not be in it: a spec can be asked about
            before it is applied.
        deployment: Whose replica; whether it is frozen or has its max_replicas is not asked.
        placements: A plan whose new placements hold devices too.
        only: The one node that is asked about; None: all.

    Returns:
        One misfit a node, the nearest miss first; empty if some node fits. A fleet
        without nodes is one misfit without a node.
    """
    others = {one.id: one for one in snapshot.deployments}
    # Of a survey only what does not depend on other deployments is read here.
    alone = survey(replace(snapshot, deployments=(deployment,)))
    return misfits_of(
        alone,
        deployment,
        placements=placements or (),
        beside=Beside(alone.allocations.values(), others),
        only=only,
    )


def misfits_of(
    fleet: Fleet,
    deployment: Deployment,
    *,
    placements: Sequence[Placement] = (),
    beside: Beside | None = None,
    only: str | None = None,
) -> tuple[Misfit, ...]:
    """As `misfits`, on a fleet that was surveyed before.

    Args:
        fleet: The survey.
        deployment: Whose replica.
        placements: A plan whose new placements hold devices too.
        beside: What holds devices; None: as the survey has it.
        only: The one node that is asked about; None: all.
    """
    taken: dict[str, set[int]] = defaultdict(set)
    for placement in placements:
        if placement.replica is None:
            taken[placement.node].update(placement.devices)
    leaving: dict[str, list[Allocation]] = defaultdict(list)
    for one in fleet.allocations.values():
        if one.desired is Desired.STOPPED:
            leaving[one.node].append(one)
    asked = _Asked(
        fleet=fleet,
        deployment=deployment,
        leaving=leaving,
        beside=beside or Beside(fleet.allocations.values(), fleet.deployments),
    )
    found = []
    for node in fleet.nodes.values():
        if only not in (None, node.id):
            continue
        free = fleet.free.get(node.id, frozenset()) - taken[node.id]
        misfit = asked.misfit(node, free)
        if misfit is None:
            return ()
        found.append(misfit)
    if not found:
        size = float(deployment.tensor_parallel_size)
        nothing = "the fleet has no node; start an agent"
        return (misfit_of(deployment, None, "devices", size, 0.0, nothing),)
    found.sort(key=_nearness)
    return tuple(found)


def misfit_of(
    deployment: Deployment,
    node: str | None,
    dimension: str,
    needed: float,
    available: float,
    message: str,
) -> Misfit:
    """A misfit whose message begins with the deployment it is of."""
    return Misfit(
        deployment=deployment.id,
        node=node,
        dimension=dimension,
        needed=needed,
        available=available,
        message=f"deployment {deployment.id}: {message}",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One more replica of a deployment, and the fleet it is to fit into."""

    fleet: Fleet
    deployment: Deployment
    beside: Beside
    leaving: Mapping[str, Sequence[Allocation]]  # by node, those whose removal is decided

    def misfit(self, node: Node, free: frozenset[int]) -> Misfit | None:
        """The nearest miss over the device counts that the deployment allows."""
        found = []
        for size in self.deployment.tensor_parallel_sizes:
            one = replace(self.deployment, tensor_parallel_size=size)
            misfit = self._shape(one, node) or self._rules(one, node) or self._room(one, node, free)
            if misfit is None:
                return None
            found.append(misfit)
        return min(found, key=_nearness)

    def _shape(self, deployment: Deployment, node: Node) -> Misfit | None:
        """Whether the empty node would take it."""
        size = deployment.tensor_parallel_size
        allowed = [
            device
            for device in node.devices
            if not deployment.device_types or device.device_type in deployment.device_types
        ]
        if not allowed:
            has = sorted({device.device_type for device in node.devices})
            return misfit_of(
                deployment,
                node.id,
                "device_type",
                float(size),
                0.0,
                f"wants device type {' or '.join(deployment.device_types)}, node {node.id} has "
                f"{', '.join(has) or 'no device'}; add the type to device_types or add such a node",
            )
        most = max(Counter(device.device_type for device in allowed).values())
        if most < size:
            return misfit_of(
                deployment,
                node.id,
                "tensor_parallel",
                float(size),
                float(most),
                f"needs {size} devices of one type on one node, node {node.id} has {most}; "
                "lower tensor_parallel_size or add a larger node",
            )
        fitting = Counter(d.device_type for d in allowed if suits(d, deployment))
        if max(fitting.values(), default=0) < size:
            needed = deployment.bytes_per_device
            available = max(device.memory_bytes for device in allowed)
            return misfit_of(
                deployment,
                node.id,
                "memory",
                float(needed),
                float(available),
                f"needs {_gib(needed)} on each of {size} devices, node {node.id} has "
                f"{_gib(available)} a device; lower kv_cache_tokens, raise tensor_parallel_size "
                "or add larger devices",
            )
        return None

    def _rules(self, deployment: Deployment, node: Node) -> Misfit | None:
        """Whether it may go there."""
        size, groups = float(deployment.tensor_parallel_size), deployment.node_groups
        if groups and node.group not in groups:
            of = f"of group {node.group}" if node.group else "of no group"
            message = (
                f"goes to node groups {', '.join(groups)}, node {node.id} is {of}; "
                "change node_groups, or label a node"
            )
            return misfit_of(deployment, node.id, "node_group", 1.0, 0.0, message)
        if not node.takes_new:
            is_frozen = node.is_frozen and node.is_ready
            dimension = "frozen" if is_frozen else "cordoned"
            return misfit_of(deployment, node.id, dimension, size, 0.0, _closed(node))
        if (deployment.id, node.id) in self.fleet.avoided:
            message = (
                f"a replica of it failed on node {node.id}; read its message, then change the spec"
            )
            return misfit_of(deployment, node.id, "capacity", 1.0, 0.0, message)
        other = self.beside.apart(deployment, node.id)
        if other is not None:
            message = (
                f"shares no node with deployment {other}, which is on node {node.id}; "
                "change anti_affinity, or add a node"
            )
            return misfit_of(deployment, node.id, "anti_affinity", 1.0, 0.0, message)
        if not self.beside.has_host_memory(deployment, node):
            needed = deployment.host_memory_bytes
            left = node.host_memory_bytes - self.beside.host_bytes(node.id)
            message = (
                f"needs {_gib(needed)} of host memory, node {node.id} has {_gib(max(0, left))} of "
                f"{_gib(node.host_memory_bytes)} free; lower host_memory_bytes, or add a node"
            )
            return misfit_of(
                deployment, node.id, "host_memory", float(needed), float(max(0, left)), message
            )
        return None

    def _room(self, deployment: Deployment, node: Node, free: frozenset[int]) -> Misfit | None:
        """Whether devices are free that suit it."""
        size = deployment.tensor_parallel_size
        suitable = {d.index: d.device_type for d in node.devices if suits(d, deployment)}
        at_hand = _most(suitable, free)
        if at_hand >= size:
            return None
        has = f"needs {size} free device(s) on one node, node {node.id} has {at_hand}"
        leaving = self.leaving.get(node.id, ())
        coming = free.union(*(one.devices for one in leaving))
        if _most(suitable, coming) >= size:
            names = ", ".join(sorted(one.replica for one in leaving))
            remedy = f"wait until replica {names} has stopped, which is decided"
        else:
            groups = ", ".join(deployment.node_groups)
            of = f" of group {groups}" if groups else ""
            remedy = f"add a node{of}, or lower the replicas of another deployment"
        return misfit_of(
            deployment, node.id, "devices", float(size), float(at_hand), f"{has}; {remedy}"
        )


def _most(kinds: Mapping[int, str], indices: frozenset[int]) -> int:
    """Devices of one type among some of a node's."""
    counts = Counter(kind for index, kind in kinds.items() if index in indices)
    return max(counts.values(), default=0)


def _closed(node: Node) -> str:
    if not node.is_ready:
        return f"node {node.id} is not ready; start its agent"
    if node.is_frozen:
        return f"node {node.id} fits and is frozen; thaw it first, or add a node"
    state = "draining" if node.is_draining else "cordoned"
    return f"node {node.id} fits and is {state}; uncordon it or add a node"


def _nearness(misfit: Misfit) -> tuple[int, float, str]:
    return (
        -DIMENSIONS.index(misfit.dimension),
        misfit.needed - misfit.available,
        misfit.node or "",
    )


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"
