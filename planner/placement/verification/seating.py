"""Each placement by itself.

Owns that a replica which exists stays as and where it is, and that a new one goes where it
may and where it fits. Refuses what depends on other placements.
"""

from collections.abc import Iterator

from planner.model import OFFLINE_ONLY, Deployment, Desired, Device, Node, Placement
from planner.placement.verification.facts import Facts
from planner.placement.verification.violation import Violation, broken


def kept(facts: Facts, placement: Placement, replica: str) -> Iterator[Violation]:
    """A replica that exists stays as and where it is; its class and loads may change."""
    allocation = facts.allocations.get(replica)
    if allocation is None:
        yield broken("exists", replica, "no such allocation")
        return
    if allocation.desired is Desired.STOPPED:
        yield broken("exists", replica, "its removal is committed and cannot be undone")
    for what, planned, held in (
        ("deployment", placement.deployment, allocation.deployment),
        ("node", placement.node, allocation.node),
        ("devices", placement.devices, allocation.devices),
    ):
        if planned != held:
            yield broken("stays", replica, f"{what} {planned}, allocated {held}")
    deployment = facts.deployments.get(placement.deployment)
    if deployment is None:
        yield broken("deployment", replica, f"{placement.deployment} is not wanted")
    else:
        yield from _class_known(placement, replica, deployment)
    if placement.node not in facts.nodes:
        yield broken("node", replica, f"{placement.node} is not in the fleet")


def new(facts: Facts, placement: Placement, key: str) -> Iterator[Violation]:
    """A new replica goes where it may and where it fits."""
    deployment = facts.deployments.get(placement.deployment)
    node = facts.nodes.get(placement.node)
    if deployment is None:
        yield broken("deployment", key, f"{placement.deployment} is not wanted")
        return
    if node is None:
        yield broken("node", key, f"{placement.node} is not in the fleet")
        return
    if not node.is_ready or node.is_cordoned or node.is_draining:
        yield broken("cordon", key, f"node {node.id} takes nothing new")
    if node.is_frozen:
        yield broken("frozen", key, f"node {node.id} is frozen and gains nothing")
    if deployment.is_frozen:
        yield broken("frozen", key, f"deployment {deployment.id} is frozen and gains nothing")
    if deployment.node_groups and node.group not in deployment.node_groups:
        yield broken(
            "node_group",
            key,
            f"node {node.id} is of group {node.group!r}, "
            f"{list(deployment.node_groups)} are allowed",
        )
    yield from _class_known(placement, key, deployment)
    yield from _shape(placement, key, deployment, node)


def _class_known(placement: Placement, key: str, deployment: Deployment) -> Iterator[Violation]:
    known = {"", OFFLINE_ONLY, *(one.id for one in deployment.slo_classes)}
    if placement.slo_class not in known:
        yield broken(
            "slo_class",
            key,
            f"deployment {deployment.id} has no SLO class {placement.slo_class!r}; "
            f"its classes are {sorted(known)}",
        )


def _shape(
    placement: Placement, key: str, deployment: Deployment, node: Node
) -> Iterator[Violation]:
    by_index = {device.index: device for device in node.devices}
    devices: list[Device] = []
    for index in placement.devices:
        if index in by_index:
            devices.append(by_index[index])
        else:
            yield broken("devices", key, f"node {node.id} has no device {index}")
    size = len(placement.devices)
    if len(set(placement.devices)) != size:
        yield broken("devices", key, f"{list(placement.devices)} names a device twice")
    if size not in deployment.tensor_parallel_sizes:
        yield broken(
            "tensor_parallel",
            key,
            f"{size} devices {list(placement.devices)}, "
            f"{list(deployment.tensor_parallel_sizes)} are allowed",
        )
        return
    kinds = {device.device_type for device in devices}
    if len(kinds) > 1:
        yield broken("device_type", key, f"mixes {sorted(kinds)}")
    if deployment.device_types and not kinds <= set(deployment.device_types):
        yield broken("device_type", key, f"{sorted(kinds)} not allowed")
    needed = -(-(deployment.weights_bytes + deployment.kv_cache_bytes) // size)
    for device in devices:
        if device.memory_bytes < needed:
            yield broken(
                "memory",
                key,
                f"needs {needed} bytes, device {device.index} of node {node.id} has "
                f"{device.memory_bytes}",
            )
