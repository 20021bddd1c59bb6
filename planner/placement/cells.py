"""Which nodes are alike, and how many replicas of a shape they must or may hold.

Owns cells. Refuses to decide. Invariants: nodes that an operator's word singles out (a pin,
a freeze) are alike to none; small fleets, and fleets whose replicas do not divide a node,
have a cell a node, since there counts of nodes alike would promise replicas that no node
has room for.
"""

from collections import defaultdict
from collections.abc import Sequence

from planner.model import Device, Node
from planner.placement.counts.problem import Cell, Counts, Shape
from planner.placement.fleet import Fleet
from planner.placement.weights import NODE, OFFLINE

OWN_CELL_UP_TO = 16
"""Nodes of a fleet in which each has a cell of its own; above, nodes alike share one."""
ODD_OWN_CELL_UP_TO = 120
"""The same where replicas do not divide a node."""


def cells_of(
    fleet: Fleet, kinds: Sequence[str], shapes: Sequence[Shape]
) -> tuple[tuple[Cell, ...], tuple[tuple[str, ...], ...], dict[tuple[str, str], int]]:
    """Groups the fleet's nodes.

    Args:
        fleet: The survey.
        kinds: Device types by index.
        shapes: All there are.

    Returns:
        Cells; of each the names of its nodes; the cell of each (node, device type).
    """
    prices = dict(fleet.snapshot.prices)
    mean = sum(prices.values()) / len(prices) if prices else 1.0
    device_cost = OFFLINE * fleet.snapshot.device_cost
    singled = {pin.node for pin in fleet.snapshot.pins}
    is_odd = any(8 % shape.slots for shape in shapes)
    few = ODD_OWN_CELL_UP_TO if is_odd else OWN_CELL_UP_TO
    is_by_node = len(fleet.nodes) <= few
    domains: dict[str, int] = {}
    for node in fleet.nodes.values():
        domains.setdefault(node.failure_domain, len(domains))
    grouped: dict[tuple[object, ...], list[str]] = defaultdict(list)
    facts: dict[tuple[object, ...], tuple[Node, list[Device]]] = {}
    cell_of: dict[tuple[str, str], int] = {}
    for node in fleet.nodes.values():
        by_kind: dict[str, list[Device]] = defaultdict(list)
        for device in node.devices:
            by_kind[device.device_type].append(device)
        is_own = is_by_node or node.id in singled or node.is_frozen or not node.takes_new
        for kind, devices in sorted(by_kind.items()):
            key: tuple[object, ...] = (
                kinds.index(kind),
                domains[node.failure_domain],
                len(devices),
                min(device.memory_bytes for device in devices),
                node.host_memory_bytes,
                node.group,
                node.id if is_own else "",
            )
            grouped[key].append(node.id)
            facts.setdefault(key, (node, devices))
    cells: list[Cell] = []
    nodes: list[tuple[str, ...]] = []
    for alike in sorted(grouped, key=str):
        node, devices = facts[alike]
        kind = devices[0].device_type
        for name in grouped[alike]:
            cell_of[name, kind] = len(cells)
        cells.append(
            Cell(
                kind=kinds.index(kind),
                domain=domains[node.failure_domain],
                nodes=len(grouped[alike]),
                slots=len(devices),
                host_bytes=float(node.host_memory_bytes) or float("inf"),
                node_cost=NODE * prices.get(kind, mean) / mean if mean > 0.0 else NODE,
                device_cost=device_cost * (prices.get(kind, mean) / mean if mean > 0.0 else 1.0),
            )
        )
        nodes.append(tuple(grouped[alike]))
    return tuple(cells), tuple(nodes), cell_of


def limits_of(
    fleet: Fleet,
    cells: Sequence[Cell],
    nodes: Sequence[Sequence[str]],
    kinds: Sequence[str],
    shapes: Sequence[tuple[str, str, int]],
    held: Counts,
    frozen: Counts,
) -> tuple[dict[tuple[int, int], int], dict[tuple[int, int], int]]:
    """What must be, and what may be at the most, where that is less than what fits."""
    least = dict(frozen)
    most: dict[tuple[int, int], int] = {}
    smallest = {
        (node.id, kind): min(d.memory_bytes for d in node.devices if d.device_type == kind)
        for node in fleet.nodes.values()
        for kind in {d.device_type for d in node.devices}
    }
    for c, members in enumerate(nodes):
        node = fleet.nodes[members[0]]
        for q, (name, kind, slots) in enumerate(shapes):
            if kinds[cells[c].kind] != kind:
                continue
            deployment = fleet.deployments[name]
            is_wanted = slots in deployment.tensor_parallel_sizes and (
                not deployment.device_types or kind in deployment.device_types
            )
            may = not deployment.node_groups or node.group in deployment.node_groups
            fits = deployment.bytes_per_device_of(slots) <= smallest[node.id, kind]
            is_avoided = len(members) == 1 and (name, node.id) in fleet.avoided
            is_open = node.takes_new and not deployment.is_frozen
            if not (is_open and is_wanted and may and fits) or is_avoided:
                most[c, q] = held.get((c, q), 0)
    return least, most
