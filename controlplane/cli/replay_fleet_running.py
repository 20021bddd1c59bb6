"""Replicas of a fleet file that run when the replay begins.

Owns them. Refuses what does not fit its node. Invariants: a device has one replica at the
most; what stands here has loaded.
"""

from collections.abc import Sequence

from controlplane.cli.replay_fleet_part import Part
from controlplane.cli.wording import size_words
from planner.model import Allocation, Deployment, Device, Node


def read_running(
    fleet: Part, *, nodes: Sequence[Node], deployments: Sequence[Deployment]
) -> tuple[Allocation, ...]:
    """The replicas the file says run; none where it says nothing.

    Raises:
        CommandError: A value that does not fit, by its key.
    """
    devices = {node.id: {device.index: device for device in node.devices} for node in nodes}
    known = {one.id: one for one in deployments}
    taken: set[tuple[str, int]] = set()
    found: list[Allocation] = []
    for number, part in enumerate(fleet.parts("running")):
        name, node = part.text("deployment"), part.text("node")
        if name not in known:
            part.refuse("deployment", f"no deployment {name!r}; there are {', '.join(known)}")
        if node not in devices:
            part.refuse("node", f"no node {node!r} among nodes; take the replica out with its node")
        indices = _indices(part)
        sizes = known[name].tensor_parallel_sizes
        if not set(indices).issubset(devices[node]) or len(indices) not in sizes:
            wanted = " or ".join(str(size) for size in sizes)
            part.refuse("devices", f"{list(indices)}: {wanted} of node {node}'s are needed")
        if both := [index for index in indices if (node, index) in taken]:
            part.refuse("devices", f"device {both[0]} of node {node} has a replica already")
        for index in indices:
            _check_room(
                part, known[name], size=len(indices), node=node, device=devices[node][index]
            )
        taken.update((node, index) for index in indices)
        part.close()
        found.append(
            Allocation(
                replica=f"{name}-live-{number:04d}",
                deployment=name,
                node=node,
                devices=indices,
                generation=known[name].generation,
            )
        )
    return tuple(found)


def _check_room(
    part: Part, deployment: Deployment, *, size: int, node: str, device: Device
) -> None:
    """Refuses what no round would have placed there."""
    kinds, needed_bytes = deployment.device_types, deployment.bytes_per_device_of(size)
    if kinds and device.device_type not in kinds:
        part.refuse(
            "devices",
            f"device {device.index} of node {node} is of type {device.device_type}; deployment"
            f" {deployment.id} runs on {', '.join(kinds)}; name a node of those",
        )
    if needed_bytes > device.memory_bytes:
        part.refuse(
            "devices",
            f"deployment {deployment.id} needs {size_words(needed_bytes)} on each"
            f" device, device {device.index} of node {node} has"
            f" {size_words(device.memory_bytes)}; correct the deployment's or the node's memory, or"
            " take the replica out",
        )


def _indices(part: Part) -> tuple[int, ...]:
    given = part.raw("devices")
    if not isinstance(given, list) or not all(type(one) is int for one in given):
        part.refuse("devices", f"{given!r:.60}: a list of indices, such as [0]")
    return tuple(sorted(set(given)))
