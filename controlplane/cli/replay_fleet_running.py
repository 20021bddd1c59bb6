"""Replicas of a fleet file that run when the replay begins.

Owns them. Refuses what does not fit its node. Invariants: a device has one replica at the
most; what stands here has loaded.
"""

from collections.abc import Sequence

from controlplane.cli.replay_fleet_part import Part
from planner.model import Allocation, Node
from planner.simulation.fleet.scenario import Service


def read_running(
    fleet: Part, *, nodes: Sequence[Node], services: Sequence[Service]
) -> tuple[Allocation, ...]:
    """The replicas the file says run; none where it says nothing.

    Raises:
        CommandError: A value that does not fit, by its key.
    """
    devices = {node.id: {device.index for device in node.devices} for node in nodes}
    deployments = {one.deployment.id: one.deployment for one in services}
    taken: set[tuple[str, int]] = set()
    found: list[Allocation] = []
    for number, part in enumerate(fleet.parts("running")):
        name, node = part.text("deployment"), part.text("node")
        if name not in deployments:
            part.refuse("deployment", f"no deployment {name!r}; there are {', '.join(deployments)}")
        if node not in devices:
            part.refuse("node", f"no node {node!r} among nodes; take the replica out with its node")
        indices = _indices(part)
        size = deployments[name].tensor_parallel_size
        if not devices[node].issuperset(indices) or len(indices) != size:
            part.refuse("devices", f"{list(indices)}: {size} of node {node}'s are needed")
        if both := [index for index in indices if (node, index) in taken]:
            part.refuse("devices", f"device {both[0]} of node {node} has a replica already")
        taken.update((node, index) for index in indices)
        part.close()
        found.append(
            Allocation(
                replica=f"{name}-live-{number:04d}",
                deployment=name,
                node=node,
                devices=indices,
                generation=deployments[name].generation,
            )
        )
    return tuple(found)


def _indices(part: Part) -> tuple[int, ...]:
    given = part.raw("devices")
    if not isinstance(given, list) or not all(type(one) is int for one in given):
        part.refuse("devices", f"{given!r:.60}: a list of indices, such as [0]")
    return tuple(sorted(set(given)))
