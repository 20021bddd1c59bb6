"""A surveyed fleet put into counts, and drafts counted.

Owns the problem of a fleet: its cells (`cells`), its shapes (`shapes`), what is wanted and
what tenants are entitled to (`counts.claims`). Refuses to decide. Invariants: the counts of
a draft that keeps the rules are feasible for the problem; a fleet is counted once, however
many steps of a round ask.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from planner.model import BatchDemand, Deployment
from planner.placement.cells import cells_of, limits_of
from planner.placement.counts.claims import device_work, with_fair_shares
from planner.placement.counts.problem import (
    Entitlement,
    OfflineDemand,
    OnlineDemand,
    Problem,
    Wanted,
    Weights,
)
from planner.placement.counts.reserve import with_reserves
from planner.placement.counts.solver import SolverError
from planner.placement.fleet import Draft, Fleet, Standing
from planner.placement.pinning import pinned
from planner.placement.shapes import shapes_of
from planner.placement.weights import REPLICA_WORK, weights_of

_log = logging.getLogger(__name__)

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
        """Good, new and waiting replicas of a draft, as they are once what waits has come.

        So what is kept beyond max_replicas only until then does not count.
        """
        counts: Counter[tuple[int, int]] = Counter()
        held = [
            (a.deployment, a.node, a.devices)
            for a in fleet.allocations.values()
            if a.replica in draft.kept and fleet.standing[a.replica] is Standing.GOOD
        ]
        placed = [(s.deployment, s.node, s.devices) for s in (*draft.new, *draft.waiting)]
        left = {name: one.max_replicas for name, one in fleet.deployments.items()}
        if draft.waiting:
            for seat in (*draft.new, *draft.waiting):
                left[seat.deployment] -= 1
            for one in held:
                left[one[0]] -= 1
            # The crowded go first, as they would for what waits.
            domains = Counter((name, fleet.nodes[at].failure_domain) for name, at, _ in held)
            for one in sorted(
                held, key=lambda one: -domains[one[0], fleet.nodes[one[1]].failure_domain]
            ):
                key = self.key(fleet, *one)
                if left[one[0]] < 0 and key is not None and key not in self.problem.least:
                    held.remove(one)
                    left[one[0]] += 1
        for deployment, node, devices in (*held, *placed):
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


@dataclass(frozen=True, slots=True, eq=False)
class _Same:
    """A fleet that equals itself alone: comparing two costs as much as counting one."""

    fleet: Fleet

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.fleet is self.fleet

    def __hash__(self) -> int:
        return id(self.fleet)


def counting_of(fleet: Fleet, *, has_shares: bool = True) -> Counting:
    """Counts a surveyed fleet.

    Args:
        fleet: The survey; asked again for the same one, it costs nothing.
        has_shares: Whether tenants' fair shares are found too, some linear programmes.
    """
    return _counted(_Same(fleet), has_shares)


@lru_cache(maxsize=2)
def _counted(same: _Same, has_shares: bool) -> Counting:
    fleet = same.fleet
    deployments = tuple(fleet.deployments)
    kinds = tuple(sorted({d.device_type for node in fleet.nodes.values() for d in node.devices}))
    shapes, shape_keys, classes = shapes_of(fleet, deployments, kinds)
    shape_of = {key: index for index, key in enumerate(shape_keys)}
    cells, cell_nodes, cell_of = cells_of(fleet, kinds, shapes)
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
    weights = weights_of(fleet.snapshot)
    least, most = limits_of(fleet, cells, cell_nodes, kinds, shape_keys, held, frozen)
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
        tenants=tuple(Entitlement(most=_quota(fleet, name), fair=0.0) for name in tenants),
        domains=max(1, len({node.failure_domain for node in fleet.nodes.values()})),
        held=dict(held),
        least=least,
        most=most,
        max_moves=fleet.snapshot.max_moves,
        weights=Weights(
            replica=weights["replica_shortfall"],
            online=weights["online_shortfall"],
            failover=weights["failover_shortfall"],
            deadline=weights["deadline_shortfall"],
            fair=weights["fair_shortfall"],
            spread=weights["concentration"],
            offline=-weights["offline_work"],
            drop=weights["drops"],
            device=weights.get("devices", 0.0),
            reserve=weights.get("reserve_shortfall", 0.0),
            spare=weights.get("spare_shortfall", 0.0),
        ),
    )
    problem = pinned(fleet, problem, cells=cell_nodes, deployments=deployments)
    if has_shares:
        problem = _entitled(fleet, problem, tenants)
    return Counting(
        problem=with_reserves(problem) if fleet.snapshot.device_cost > 0.0 else problem,
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


def _quota(fleet: Fleet, name: str) -> float | None:
    for tenant in fleet.snapshot.tenants:
        if tenant.id == name and tenant.max_offline_work is not None:
            return tenant.max_offline_work / REPLICA_WORK
    return None


def _entitled(fleet: Fleet, problem: Problem, tenants: Sequence[str]) -> Problem:
    """With fair shares; work of no tenant counts as one more tenant, of weight 1.

    Shares are of what would be held devices for: of work that is worth none, only what its
    deadlines rest on.
    """
    weights = {tenant.id: tenant.weight for tenant in fleet.snapshot.tenants}
    asked = replace(
        problem,
        offline=tuple(
            one if _is_worth_devices(problem, one) else replace(one, most=one.least)
            for one in problem.offline
        ),
    )
    try:
        found = with_fair_shares(asked, [weights.get(name, 1.0) for name in tenants])
    except SolverError:  # a round without shares is better than none
        _log.exception("placement_fair_shares_failed revision=%d", fleet.snapshot.revision)
        return problem
    return replace(
        found,
        offline=tuple(
            replace(one, most=before.most)
            for one, before in zip(found.offline, problem.offline, strict=True)
        ),
    )


def _is_worth_devices(problem: Problem, demand: OfflineDemand) -> bool:
    """Whether a device of some type does more of it than the device costs."""
    costs = {cell.kind: cell.device_cost for cell in problem.cells}
    own = [problem.shapes[q] for q in problem.shapes_of(demand.deployment)]
    return not any(costs.values()) or any(
        problem.weights.offline * demand.weight * device_work([shape]) > costs.get(shape.kind, 0.0)
        for shape in own
    )


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
