"""A surveyed fleet put into counts, and drafts counted.

Owns which nodes are alike and what a replica of each shape bears. Refuses to decide.
Invariants: the counts of a draft that keeps the rules are feasible for the problem; nodes
that an operator's word singles out (a pin, a freeze) are alike to none; small fleets, and
fleets whose replicas do not divide a node, are counted node by node, since there counts of
nodes alike would promise replicas that no node has room for.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from planner.model import OFFLINE_ONLY, BatchDemand, Deployment, Device, Frontier, Node
from planner.placement.counts.problem import (
    Cell,
    Counts,
    Entitlement,
    Mode,
    OfflineDemand,
    OnlineDemand,
    Problem,
    Shape,
    Wanted,
    Weights,
)
from planner.placement.fleet import Draft, Fleet, Standing
from planner.placement.pinning import pinned
from planner.placement.weights import LOAD_HORIZON_S, NODE, REPLICA_WORK, WEIGHTS

NODE_BY_NODE_UP_TO = 16
"""Nodes; above, nodes alike share a cell."""
ODD_NODE_BY_NODE_UP_TO = 120
"""The same where replicas do not divide a node."""
TIGHT_WEIGHT = 5.0
"""Of the tightest of several SLO classes, beside the loosest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counting:
    """A fleet in counts, with what the indices stand for."""

    problem: Problem
    cells: tuple[tuple[str, ...], ...]  # nodes of each cell
    kinds: tuple[str, ...]  # device types
    deployments: tuple[str, ...]
    shapes: tuple[tuple[str, str, int], ...]  # (deployment, device type, devices)
    tenants: tuple[str, ...]
    demands: tuple[BatchDemand, ...]
    classes: tuple[tuple[str, ...], ...]  # of each shape: the SLO class of each of its modes
    cell_of: Mapping[tuple[str, str], int]  # (node, device type) -> cell
    shape_of: Mapping[tuple[str, str, int], int]

    def count(self, fleet: Fleet, draft: Draft) -> dict[tuple[int, int], int]:
        """Good, new and waiting replicas of a draft."""
        counts: Counter[tuple[int, int]] = Counter()
        placed = [
            (a.deployment, a.node, a.devices)
            for a in fleet.allocations.values()
            if a.replica in draft.kept and fleet.standing[a.replica] is Standing.GOOD
        ]
        placed += [(s.deployment, s.node, s.devices) for s in (*draft.new, *draft.waiting)]
        for deployment, node, devices in placed:
            key = self.key(fleet, deployment, node, devices)
            if key is not None:
                counts[key] += 1
        return dict(counts)

    def key(
        self, fleet: Fleet, deployment: str, node: str, devices: tuple[int, ...]
    ) -> tuple[int, int] | None:
        """(cell, shape) of a replica; None of one that the problem does not know."""
        kind = fleet.device_type(node, devices)
        cell = self.cell_of.get((node, kind))
        shape = self.shape_of.get((deployment, kind, len(devices)))
        return None if cell is None or shape is None else (cell, shape)


def counting_of(fleet: Fleet) -> Counting:
    """Counts a surveyed fleet."""
    deployments = tuple(fleet.deployments)
    kinds = tuple(sorted({d.device_type for node in fleet.nodes.values() for d in node.devices}))
    shapes, shape_keys, classes = _shapes(fleet, deployments, kinds)
    shape_of = {key: index for index, key in enumerate(shape_keys)}
    cells, cell_nodes, cell_of = _cells(fleet, kinds, shapes)
    tenants, demands = _demands(fleet)
    index_of = {name: d for d, name in enumerate(deployments)}
    held: Counter[tuple[int, int]] = Counter()
    frozen: Counter[tuple[int, int]] = Counter()
    for replica, allocation in fleet.allocations.items():
        if fleet.standing[replica] is not Standing.GOOD:
            continue
        kind = fleet.device_type(allocation.node, allocation.devices)
        cell = cell_of.get((allocation.node, kind))
        shape = shape_of.get((allocation.deployment, kind, len(allocation.devices)))
        if cell is None or shape is None:
            continue  # on devices that its node no longer reports
        key = cell, shape
        held[key] += 1
        owner = fleet.deployments[allocation.deployment]
        if owner.is_frozen or fleet.nodes[allocation.node].is_frozen:
            frozen[key] += 1
    least, most = _limits(fleet, cells, cell_nodes, kinds, shape_keys, held, frozen)
    problem = Problem(
        cells=cells,
        shapes=shapes,
        wanted=tuple(_wanted(fleet.deployments[name]) for name in deployments),
        offline=tuple(
            OfflineDemand(
                deployment=index_of[one.deployment],
                tenant=tenants.index(one.tenant),
                weight=one.weight,
                least=min(one.min_offline_work, one.offline_work) / REPLICA_WORK,
                most=one.offline_work / REPLICA_WORK,
            )
            for one in demands
        ),
        tenants=tuple(_entitled(fleet, name) for name in tenants),
        domains=max(1, len({node.failure_domain for node in fleet.nodes.values()})),
        held=dict(held),
        least=least,
        most=most,
        max_moves=fleet.snapshot.max_moves,
        weights=Weights(
            replica=WEIGHTS["replica_shortfall"],
            online=WEIGHTS["online_shortfall"],
            failover=WEIGHTS["failover_shortfall"],
            deadline=WEIGHTS["deadline_shortfall"],
            fair=WEIGHTS["fair_shortfall"],
            spread=WEIGHTS["concentration"],
            offline=-WEIGHTS["offline_work"],
            drop=WEIGHTS["drops"],
        ),
    )
    return Counting(
        problem=pinned(fleet, problem, cells=cell_nodes, deployments=deployments),
        cells=cell_nodes,
        kinds=kinds,
        deployments=deployments,
        shapes=shape_keys,
        tenants=tenants,
        demands=demands,
        classes=classes,
        cell_of=cell_of,
        shape_of=shape_of,
    )


def _shapes(
    fleet: Fleet, deployments: Sequence[str], kinds: Sequence[str]
) -> tuple[tuple[Shape, ...], tuple[tuple[str, str, int], ...], tuple[tuple[str, ...], ...]]:
    memory = {
        (device.device_type, device.memory_bytes)
        for node in fleet.nodes.values()
        for device in node.devices
    }
    held = {
        (a.deployment, fleet.device_type(a.node, a.devices), len(a.devices))
        for replica, a in fleet.allocations.items()
        if fleet.standing[replica].is_keepable and a.node in fleet.nodes
    }
    shapes: list[Shape] = []
    keys: list[tuple[str, str, int]] = []
    classes: list[tuple[str, ...]] = []
    for index, name in enumerate(deployments):
        deployment = fleet.deployments[name]
        sizes = set(deployment.tensor_parallel_sizes)
        for k, kind in enumerate(kinds):
            for slots in sorted(sizes | {size for d, t, size in held if (d, t) == (name, kind)}):
                fits = (
                    slots in sizes
                    and (not deployment.device_types or kind in deployment.device_types)
                    and any(
                        kind == of and deployment.bytes_per_device_of(slots) <= size
                        for of, size in memory
                    )
                )
                if not fits and (name, kind, slots) not in held:
                    continue
                names, modes = _modes(fleet, deployment, kind, slots)
                shapes.append(
                    Shape(
                        deployment=index,
                        kind=k,
                        slots=slots,
                        host_bytes=float(deployment.host_memory_bytes),
                        load_cost=load_cost(deployment.load_s, slots),
                        modes=modes,
                    )
                )
                keys.append((name, kind, slots))
                classes.append(names)
    return tuple(shapes), tuple(keys), tuple(classes)


def load_cost(load_s: float, devices: int) -> float:
    """What loading a replica costs: the offline work its devices do not do meanwhile."""
    return -WEIGHTS["offline_work"] * devices * load_s / LOAD_HORIZON_S


def _modes(
    fleet: Fleet, deployment: Deployment, kind: str, slots: int
) -> tuple[tuple[str, ...], tuple[Mode, ...]]:
    """The modes a replica can be held to, those that another beats in everything left out."""
    found: list[tuple[str, Mode]] = []
    for served, cls in enumerate(deployment.classes):
        frontier = fleet.frontier(deployment.id, kind, slots=slots, slo_class=cls.id)
        mode = _mode(frontier, served)
        if mode.max_online > 0.0 or not found:
            found.append((cls.id, mode))
    alone = fleet.known_frontier(deployment.id, kind, slots=slots, slo_class=OFFLINE_ONLY)
    if alone is not None:
        mode = _mode(alone, len(deployment.classes))
        if _at_rest(mode) > max(_at_rest(other) for _, other in found) + 1e-9:
            found.append((OFFLINE_ONLY, mode))
    return tuple(name for name, _ in found), tuple(mode for _, mode in found)


def _mode(frontier: Frontier, served: int) -> Mode:
    segments = tuple(
        (s.alpha, s.beta, s.gamma / REPLICA_WORK) for s in frontier.segments if s.beta > 0.0
    )
    limits = [s.gamma / s.alpha for s in frontier.segments if s.alpha > 0.0]
    most = max(0.0, min([frontier.max_online_work, *limits])) / REPLICA_WORK
    return Mode(served=served, max_online=most, segments=segments)


def _at_rest(mode: Mode) -> float:
    return min((gamma / beta for _, beta, gamma in mode.segments), default=0.0)


def _cells(
    fleet: Fleet, kinds: Sequence[str], shapes: Sequence[Shape]
) -> tuple[tuple[Cell, ...], tuple[tuple[str, ...], ...], dict[tuple[str, str], int]]:
    prices = dict(fleet.snapshot.prices)
    mean = sum(prices.values()) / len(prices) if prices else 1.0
    singled = {pin.node for pin in fleet.snapshot.pins}
    is_odd = any(8 % shape.slots for shape in shapes)
    few = ODD_NODE_BY_NODE_UP_TO if is_odd else NODE_BY_NODE_UP_TO
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
            )
        )
        nodes.append(tuple(grouped[alike]))
    return tuple(cells), tuple(nodes), cell_of


def _limits(
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


def _demands(fleet: Fleet) -> tuple[tuple[str, ...], tuple[BatchDemand, ...]]:
    """Offline work wanted, and whose; none of deployments whose stage runs none."""
    named = {one.deployment for one in fleet.snapshot.batches}
    found = [
        one
        for one in fleet.snapshot.batches
        if one.deployment in fleet.deployments
        and fleet.deployments[one.deployment].stage.runs_offline
    ]
    for name, deployment in fleet.deployments.items():
        work = max(deployment.offline_work, deployment.min_offline_work)
        if name not in named and work > 0.0 and deployment.stage.runs_offline:
            found.append(
                BatchDemand(
                    deployment=name,
                    tenant="",
                    offline_work=work,
                    min_offline_work=deployment.min_offline_work,
                    weight=deployment.offline_weight,
                )
            )
    return tuple(sorted({one.tenant for one in found})), tuple(found)


def _entitled(fleet: Fleet, name: str) -> Entitlement:
    for tenant in fleet.snapshot.tenants:
        if tenant.id == name and tenant.max_offline_work is not None:
            return Entitlement(most=tenant.max_offline_work / REPLICA_WORK, fair=0.0)
    return Entitlement(most=None, fair=0.0)


def _wanted(deployment: Deployment) -> Wanted:
    classes = deployment.classes
    return Wanted(
        min_replicas=deployment.min_replicas,
        max_replicas=deployment.max_replicas,
        classes=tuple(
            OnlineDemand(
                work=cls.online_work / REPLICA_WORK,
                failover_ratio=cls.failover_ratio,
                weight=TIGHT_WEIGHT if rank == 0 and len(classes) > 1 else 1.0,
            )
            for rank, cls in enumerate(classes)
        ),
        is_spread=deployment.spread,
        is_alone=deployment.id in deployment.anti_affinity,
    )
