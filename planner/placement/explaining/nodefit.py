"""Why one more replica fits no node: a misfit a node, the nearest first.

Owns the tests a node has to pass and the remedy of each. Refuses to guess: a misfit names
what was needed, what was available at the best, and one thing that would help. Invariant:
a node without a misfit has a seat that the verifier lets through.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

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
way to a seat is nearer. Nearest of all is a node with a seat that one command opens: uncordon
or thaw."""


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
    beside = Beside(alone.allocations.values(), others)
    return NodeFit(alone, placements=placements or (), beside=beside).misfits(deployment, only=only)


class NodeFit:
    """What nodes of a surveyed fleet have room for, for one deployment after another.

    Args:
        fleet: The survey.
        placements: A plan whose new placements hold devices too.
        beside: What holds devices; None: as the survey has it.
    """

    def __init__(
        self, fleet: Fleet, *, placements: Sequence[Placement] = (), beside: Beside | None = None
    ) -> None:
        taken: dict[str, set[int]] = defaultdict(set)
        for placement in placements:
            if placement.replica is None:
                taken[placement.node].update(placement.devices)
        leaving: dict[str, list[Allocation]] = defaultdict(list)
        for one in fleet.allocations.values():
            taken[one.node].update(one.devices)
            if one.desired is Desired.STOPPED:
                leaving[one.node].append(one)
        self._fleet = fleet
        self._leaving = leaving
        self._beside = beside or Beside(fleet.allocations.values(), fleet.deployments)
        self._free = {
            node.id: frozenset(device.index for device in node.devices) - taken.get(node.id, set())
            for node in fleet.nodes.values()
        }
        layouts: dict[tuple[tuple[int, str, int], ...], int] = {}
        self._layouts = {
            node.id: layouts.setdefault(
                tuple((d.index, d.device_type, d.memory_bytes) for d in node.devices), len(layouts)
            )
            for node in fleet.nodes.values()
        }

    def misfits(self, deployment: Deployment, *, only: str | None = None) -> tuple[Misfit, ...]:
        """As the function `misfits`.

        Args:
            deployment: Whose replica.
            only: The one node that is asked about; None: all.
        """
        asked = [
            _Asked(
                deployment=replace(deployment, tensor_parallel_size=size),
                fleet=self._fleet,
                leaving=self._leaving,
                beside=self._beside,
            )
            for size in deployment.tensor_parallel_sizes
        ]
        found = []
        for node in self._fleet.nodes.values():
            if only not in (None, node.id):
                continue
            nearest: _Miss | None = None
            for one in asked:
                miss = one.miss(node, self._layouts[node.id], self._free[node.id])
                if miss is None:
                    return ()
                if nearest is None or miss.nearness < nearest.nearness:
                    nearest = miss
            if nearest is not None:
                found.append(nearest)
        if not found:
            size = float(deployment.tensor_parallel_size)
            nothing = "the fleet has no node; start an agent"
            return (misfit_of(deployment, None, "devices", size, 0.0, nothing),)
        found.sort(key=lambda miss: miss.nearness)
        return tuple(miss.misfit for miss in found)


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
class _Miss:
    """A misfit, and whether one command of an operator's makes a seat of it."""

    misfit: Misfit
    is_one_step: bool = False

    @property
    def nearness(self) -> tuple[bool, int, float, str]:
        """Of several, the least is the nearest."""
        one = self.misfit
        far = -DIMENSIONS.index(one.dimension)
        return (not self.is_one_step, far, one.needed - one.available, one.node or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Suited:
    """What an empty node of one layout offers one shape of a deployment."""

    is_enough: bool
    kinds: tuple[frozenset[int], ...]  # indices of devices that suit it, by device type


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One more replica of one shape of a deployment, and the fleet it is to fit into."""

    fleet: Fleet
    deployment: Deployment
    beside: Beside
    leaving: Mapping[str, Sequence[Allocation]]  # by node, those whose removal is decided
    suited: dict[int, _Suited] = field(default_factory=dict)  # by layout

    def miss(self, node: Node, layout: int, free: frozenset[int]) -> _Miss | None:
        """Why it does not fit the node; None where it does.

        Args:
            node: The node.
            layout: Of its devices.
            free: Devices nobody holds, though the node be closed.
        """
        suited = self.suited.get(layout)
        if suited is None:
            suited = self.suited[layout] = self._suited(node)
        if not suited.is_enough:
            misfit = self._shape(self.deployment, node)
            return _Miss(misfit=misfit) if misfit else None
        misfit = self._group(self.deployment, node)
        if misfit is None:
            misfit = self._neighbours(self.deployment, node) or self._room(
                self.deployment, node, suited.kinds, free
            )
            if not node.takes_new:
                return self._closed(self.deployment, node, beyond=misfit)
        return _Miss(misfit=misfit) if misfit else None

    def _suited(self, node: Node) -> _Suited:
        kinds: dict[str, set[int]] = defaultdict(set)
        for device in node.devices:
            if suits(device, self.deployment):
                kinds[device.device_type].add(device.index)
        return _Suited(
            is_enough=self._shape(self.deployment, node) is None,
            kinds=tuple(frozenset(own) for own in kinds.values()),
        )

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
            types = " or ".join(deployment.device_types)
            wanted = f"wants device type {types}" if types else f"needs {size} device(s)"
            remedy = "add the type to device_types or add such a node"
            return misfit_of(
                deployment,
                node.id,
                "device_type",
                float(size),
                0.0,
                f"{wanted}, node {node.id} has {', '.join(has) or 'no device'}; "
                f"{remedy if has else 'add a node with devices'}",
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
            # KV takes none of what the weights alone exceed.
            is_kv_enough = -(-deployment.weights_bytes // size) < available
            less = "lower kv_cache_tokens, " if is_kv_enough else ""
            return misfit_of(
                deployment,
                node.id,
                "memory",
                float(needed),
                float(available),
                f"needs {_gib(needed)} on each of {size} devices, node {node.id} has "
                f"{_gib(available)} a device; {less}raise tensor_parallel_size "
                "or add larger devices",
            )
        return None

    def _group(self, deployment: Deployment, node: Node) -> Misfit | None:
        """Whether it may go to nodes of that group."""
        groups = deployment.node_groups
        if groups and node.group not in groups:
            of = f"of group {node.group}" if node.group else "of no group"
            message = (
                f"goes to node groups {', '.join(groups)}, node {node.id} is {of}; "
                "change node_groups, or label a node"
            )
            return misfit_of(deployment, node.id, "node_group", 1.0, 0.0, message)
        return None

    def _closed(self, deployment: Deployment, node: Node, *, beyond: Misfit | None) -> _Miss:
        """That the node takes nothing new; `beyond` is why it would not fit there either."""
        size = float(deployment.tensor_parallel_size)
        dimension = "frozen" if node.is_frozen and node.is_ready else "cordoned"
        message = _closed(node, fits=beyond is None)
        is_one_step = beyond is None and node.is_ready and not (node.is_frozen and node.is_cordoned)
        misfit = misfit_of(deployment, node.id, dimension, size, 0.0, message)
        return _Miss(misfit=misfit, is_one_step=is_one_step)

    def _neighbours(self, deployment: Deployment, node: Node) -> Misfit | None:
        """Whether it may join what is there, and has not failed there."""
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

    def _room(
        self,
        deployment: Deployment,
        node: Node,
        suitable: Sequence[frozenset[int]],
        free: frozenset[int],
    ) -> Misfit | None:
        """Whether devices are free that suit it."""
        size = deployment.tensor_parallel_size
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


def _most(kinds: Sequence[frozenset[int]], indices: frozenset[int]) -> int:
    """Devices of one type among some of a node's."""
    return max((len(kind & indices) for kind in kinds), default=0)


def _closed(node: Node, *, fits: bool) -> str:
    what = f"node {node.id} fits and is" if fits else f"node {node.id} has no seat for it and is"
    if not node.is_ready:
        return f"node {node.id} is not ready; start its agent"
    if node.is_frozen:
        return f"{what} frozen; thaw it first, or add a node"
    state = "draining" if node.is_draining else "cordoned"
    return f"{what} {state}; uncordon it or add a node"


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"
