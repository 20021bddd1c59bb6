"""The fast path between rounds: the placement stays, the work is split anew.

Owns a plan that only adjusts, and that says what is short as a round's does, fair shares
included. Refuses to add, to remove and to change a replica's SLO class: where something of
that kind is due, it has no plan, and the next round decides. One linear programme (or less,
where deployments stand alone), and those that find fair shares where tenants have to divide, so
it can run seconds after a load changed.
"""

from planner.model import MoveKind, Placement, Plan, PlanStatus, Snapshot
from planner.placement.diff import moves_of
from planner.placement.explain import unmet
from planner.placement.fleet import Draft, survey
from planner.placement.objective import evaluate, floor, total
from planner.placement.publish import unfair
from planner.placement.shares import with_shortages
from planner.placement.verify import verify

SOLVER = "flow"


def resplit(snapshot: Snapshot) -> Plan | None:
    """What runs, with shares for the demand of the snapshot.

    Args:
        snapshot: The state and the demand now.

    Returns:
        A verified plan whose moves only adjust; None where nothing has to change, where
        replicas have to come or go, or where the solver or the verifier refuses.
    """
    fleet = survey(snapshot)
    kept = frozenset(r for r, standing in fleet.standing.items() if standing.is_keepable)
    placements, short = with_shortages(
        fleet,
        [
            Placement(
                replica=one.replica,
                deployment=one.deployment,
                node=one.node,
                devices=one.devices,
                slo_class=one.slo_class,
            )
            for one in sorted(fleet.allocations.values(), key=lambda a: (a.deployment, a.replica))
            if one.replica in kept
        ],
        is_flow=True,
    )
    moves = moves_of(fleet, placements, waiting=())
    if not moves or any(move.kind is not MoveKind.ADJUST for move in moves):
        return None
    terms = evaluate(fleet, Draft(kept=kept))
    lasting, awaited = unmet(fleet, placements, (), short=short)
    objective = total(terms)
    plan = Plan(
        base_revision=snapshot.revision,
        status=PlanStatus.INFEASIBLE if lasting else PlanStatus.FEASIBLE,
        solver=SOLVER,
        objective=objective,
        bound=min(floor(fleet), objective),
        terms=terms,
        placements=placements,
        moves=moves,
        misfits=lasting + awaited + unfair(short),
    )
    return None if verify(snapshot, plan) else plan
