"""Which replica of an old generation goes before its successor comes.

Owns the upgrade in place, of one deployment at a time. Refuses to place the successor; a
later round does, once the room is free. Invariants: nothing is dropped where some node takes
a successor beside all that is there, nor where the old one's own room would not take it;
one at a time, and never the last that runs unless it is the only one.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from planner.model import Allocation, Deployment, Node, ReplicaState


def rolled_in_place(
    deployment: Deployment,
    *,
    old: Sequence[Allocation],
    own: Sequence[Allocation],
    nodes: Mapping[str, Node],
    deployments: Mapping[str, Deployment],
    present: Mapping[str, Sequence[Allocation]],
    free: Mapping[str, frozenset[int]],
    avoided: frozenset[tuple[str, str]],
) -> str | None:
    """The one replica to drop before its successor is added, if any.

    Args:
        deployment: Whose.
        old: Its replicas of an earlier generation that may be kept, on nodes open to new ones.
        own: All its replicas.
        nodes: By id.
        deployments: By id.
        present: All that holds devices, by node.
        free: Devices nobody holds, by node that takes new replicas.
        avoided: (deployment, node): it failed there.
    """

    def takes(name: str, devices: frozenset[int], beside: Iterable[Allocation]) -> bool:
        return (deployment.id, name) not in avoided and can_join(
            deployment, nodes[name], devices, beside=beside, deployments=deployments
        )

    if any(takes(name, devices, present.get(name, ())) for name, devices in free.items()):
        return None
    for one in sorted(old, key=lambda a: (a.state is ReplicaState.RUNNING, a.replica)):
        left = [a for a in present.get(one.node, ()) if a is not one]
        room = free.get(one.node, frozenset()) | frozenset(one.devices)
        if takes(one.node, room, left):
            is_only = len(own) == 1 or one.state is not ReplicaState.RUNNING
            runs_on = any(a.state is ReplicaState.RUNNING for a in own if a is not one)
            return one.replica if runs_on or is_only else None
    return None


def can_join(
    deployment: Deployment,
    node: Node,
    devices: frozenset[int],
    *,
    beside: Iterable[Allocation],
    deployments: Mapping[str, Deployment],
) -> bool:
    """Whether one more replica may stand on a node: group, devices, host memory, neighbours.

    Args:
        deployment: Whose replica.
        node: Where.
        devices: Indices it may have.
        beside: What else is there.
        deployments: By id.
    """
    if deployment.node_groups and node.group not in deployment.node_groups:
        return False
    host_bytes = deployment.host_memory_bytes
    for one in beside:
        other = deployments.get(one.deployment)
        if one.deployment in deployment.anti_affinity:
            return False
        if other is not None:
            if deployment.id in other.anti_affinity:
                return False
            host_bytes += other.host_memory_bytes
    if 0 < node.host_memory_bytes < host_bytes and deployment.host_memory_bytes:
        return False
    return _has_devices(deployment, node, devices)


def _has_devices(deployment: Deployment, node: Node, devices: frozenset[int]) -> bool:
    memory: dict[str, list[int]] = defaultdict(list)
    for device in node.devices:
        if device.index in devices and (
            not deployment.device_types or device.device_type in deployment.device_types
        ):
            memory[device.device_type].append(device.memory_bytes)
    return any(
        sum(deployment.bytes_per_device_of(size) <= each for each in own) >= size
        for own in memory.values()
        for size in deployment.tensor_parallel_sizes
    )
