"""Nodes of a fleet file.

Owns them: so many alike, or one by its own id. A device that the simulator does not know
needs its memory. Refuses what runs on them.
"""

from controlplane.cli.replay_fleet_part import Part
from planner.hardware.device import DEVICES, device_named
from planner.model import Device, Node

_DEVICES_MOST = 100_000


def is_known(device_type: str) -> bool:
    """Whether the simulator knows the device."""
    try:
        device_named(device_type)
    except ValueError:
        return False
    return True


def read_nodes(fleet: Part) -> tuple[Node, ...]:
    """All nodes of the file, in its order.

    Raises:
        CommandError: A value that does not fit, by its key.
    """
    nodes: dict[str, Node] = {}
    for part in fleet.parts("nodes", required=True):
        for node in _read(part, first=len(nodes)):
            if node.id in nodes:
                part.refuse("id", f"{node.id!r} appears more than once")
            nodes[node.id] = node
    return tuple(nodes.values())


def _read(part: Part, *, first: int) -> list[Node]:
    name = part.text("type")
    if not is_known(name) and "memory" not in part:
        known = ", ".join(device.name for device in DEVICES)
        part.refuse("type", f"{name!r} is not known; known are {known}; or give memory")
    memory_bytes = part.size(
        "memory", int(device_named(name).memory_bytes) if is_known(name) else 0
    )
    domains = part.words("domains")
    devices = part.whole("devices", 8, least=1, most=64)
    group, host_bytes = part.text("group", "-"), part.size("host_memory", 1 << 40)
    is_cordoned = part.flag("cordoned", default=False)
    is_frozen = part.flag("frozen", default=False)
    own = part.text("id", "-")
    count = part.whole("count", 1, least=1, most=_DEVICES_MOST // devices)
    if own != "-" and count != 1:
        part.refuse("count", f"{count} nodes of one id; leave id out")
    part.close()
    ids = [own] if own != "-" else [f"n{first + index:04d}" for index in range(count)]
    return [
        Node(
            id=one,
            devices=tuple(
                Device(index=i, device_type=name, memory_bytes=memory_bytes) for i in range(devices)
            ),
            failure_domain=domains[(first + index) % len(domains)] if domains else one,
            host_memory_bytes=host_bytes,
            group="" if group == "-" else group,
            is_cordoned=is_cordoned,
            is_frozen=is_frozen,
        )
        for index, one in enumerate(ids)
    ]
