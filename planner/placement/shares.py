"""What each placement carries: online share, offline share, latency budget.

Owns the split of a deployment's work over its placements. Refuses to move replicas.
Invariants: online shares of a deployment sum to 1 over its placements; each placement's
point lies under its frontier; a share that would change less than the tolerance stays, so
that noise in demand commits nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from planner.interference.frontier import offline_limit, online_limit
from planner.model import OFFLINE_ONLY, Allocation, Deployment, Frontier, Placement, Slo
from planner.placement.fleet import Fleet
from planner.placement.flow import carry
from planner.placement.objective import offline_wanted
from planner.rollout.budgets import derived_budget_ms

if TYPE_CHECKING:
    from planner.placement.carrying import Shortage
    from planner.placement.counts.standing import Standing

OFFLINE_ONLY_BUDGET_RATIO = 10.0
"""Latency budget of a replica that serves no online requests, over the loosest class's."""
ONLINE_TOLERANCE = 0.02  # of the deployment's online work
OFFLINE_TOLERANCE_RATIO = 0.1
OFFLINE_TOLERANCE = 10.0  # engine-ms per second


def latency_budget_ms(deployment: Deployment, slo: Slo | None = None) -> float:
    """Milliseconds an iteration may last while online work exists.

    The deployment's own budget; else the one derived from its SLO, or that of one class.
    """
    if deployment.latency_budget_ms is not None:
        return deployment.latency_budget_ms
    return derived_budget_ms(slo or deployment.slo)


def with_shares(fleet: Fleet, placements: Sequence[Placement]) -> tuple[Placement, ...]:
    """The placements with what each carries, in the order given."""
    return with_shortages(fleet, placements)[0]


def with_shortages(
    fleet: Fleet,
    placements: Sequence[Placement],
    *,
    is_flow: bool = False,
    standing: "Standing | None" = None,
) -> tuple[tuple[Placement, ...], "dict[str, Shortage] | None"]:
    """The same, and what is short by deployment; None where deployments stand alone.

    Args:
        fleet: The survey.
        placements: In any order.
        is_flow: Whether replicas keep the SLO class they have.
        standing: Of counts near those of the placements, where it is known.
    """
    if not fleet.is_plain:
        return _with_classes(fleet, placements, is_flow=is_flow, standing=standing)
    carried = list(placements)
    for deployment in fleet.deployments.values():
        indices = [i for i, p in enumerate(carried) if p.deployment == deployment.id]
        if not indices:
            continue
        fresh = _split(fleet, deployment, [carried[i] for i in indices])
        for i, placement in zip(indices, _keep_steady(fleet, deployment, fresh), strict=True):
            carried[i] = placement
    return tuple(carried), None


def _with_classes(
    fleet: Fleet,
    placements: Sequence[Placement],
    *,
    is_flow: bool,
    standing: "Standing | None",
) -> tuple[tuple[Placement, ...], "dict[str, Shortage]"]:
    """The same where SLO classes or tenants bind deployments together."""
    # Loads OR-Tools, which a fleet whose deployments stand alone never needs here.
    from planner.placement.carrying import carried

    fresh, short = carried(fleet, placements, is_flow=is_flow, standing=standing)
    by_deployment: dict[str, list[int]] = defaultdict(list)
    for i, placement in enumerate(fresh):
        by_deployment[placement.deployment].append(i)
    for name, indices in by_deployment.items():
        deployment = fleet.deployments[name]
        budgets = {cls.id: latency_budget_ms(deployment, cls.slo) for cls in deployment.classes}
        own = [
            replace(
                fresh[i],
                latency_budget_ms=budgets.get(
                    fresh[i].slo_class, OFFLINE_ONLY_BUDGET_RATIO * max(budgets.values())
                ),
            )
            for i in indices
        ]
        steady = own if deployment.slo_classes else _keep_steady(fleet, deployment, own)
        for i, placement in zip(indices, steady, strict=True):
            fresh[i] = placement
    return tuple(fresh), short


def _split(
    fleet: Fleet, deployment: Deployment, placements: Sequence[Placement]
) -> list[Placement]:
    kinds = [fleet.device_type(p.node, p.devices) for p in placements]
    counts = Counter(kinds)
    frontiers = {kind: fleet.frontier(deployment.id, kind) for kind in counts}
    flow = carry(
        {kind: float(count) for kind, count in counts.items()},
        frontiers,
        online_work=deployment.online_work,
        offline_work=offline_wanted(deployment),
    )
    if flow.online_work > 0.0:
        weights = {kind: flow.online[kind] / counts[kind] for kind in counts}
    else:  # nothing is expected: whoever comes is spread by what a replica can take
        weights = {kind: online_limit(frontiers[kind]) for kind in counts}
    whole = sum(weights[kind] for kind in kinds)
    budget_ms = latency_budget_ms(deployment)
    return [
        replace(
            placement,
            online_share=weights[kind] / whole if whole > 0.0 else 1.0 / len(kinds),
            offline_share=flow.offline[kind] / counts[kind],
            latency_budget_ms=budget_ms,
        )
        for placement, kind in zip(placements, kinds, strict=True)
    ]


def _keep_steady(fleet: Fleet, deployment: Deployment, fresh: list[Placement]) -> list[Placement]:
    """The committed shares instead, if all of them exist, are near and still bearable."""
    held = [fleet.allocations[p.replica] for p in fresh if p.replica is not None]
    whole = sum(a.online_share for a in held)
    if len(held) < len(fresh) or abs(whole - 1.0) > ONLINE_TOLERANCE:
        return fresh
    online = [a for a in held if a.slo_class != OFFLINE_ONLY]
    wanted = sum(cls.online_work for cls in deployment.classes)
    served = min(wanted, sum(online_limit(_frontier(fleet, a)) for a in online))
    # A share weighs against the sum of them all, as at the gateway: where a replica went, what
    # is left sums to less than 1 and each of the others carries more than its share says.
    unit = served / whole
    if not all(
        placement.slo_class == allocation.slo_class
        and _is_near(placement, allocation)
        and _bears(_frontier(fleet, allocation), allocation, unit)
        for placement, allocation in zip(fresh, held, strict=True)
    ):
        return fresh
    return [
        replace(p, online_share=a.online_share, offline_share=a.offline_share)
        for p, a in zip(fresh, held, strict=True)
    ]


def _frontier(fleet: Fleet, allocation: Allocation) -> Frontier:
    kind = fleet.device_type(allocation.node, allocation.devices)
    return fleet.frontier(
        allocation.deployment,
        kind,
        slots=len(allocation.devices),
        slo_class=allocation.slo_class,
    )


def _is_near(placement: Placement, allocation: Allocation) -> bool:
    slack = max(OFFLINE_TOLERANCE, OFFLINE_TOLERANCE_RATIO * placement.offline_share)
    is_idle = placement.offline_share == 0.0 and allocation.offline_share > 0.0
    return (
        abs(placement.online_share - allocation.online_share) <= ONLINE_TOLERANCE
        and abs(placement.offline_share - allocation.offline_share) <= slack
        and not is_idle
    )


def _bears(frontier: Frontier, allocation: Allocation, unit: float) -> bool:
    x = allocation.online_share * unit
    return x <= online_limit(frontier) * (1.0 + 1e-9) and allocation.offline_share <= offline_limit(
        frontier, x
    ) * (1.0 + 1e-9)
