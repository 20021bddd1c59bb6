"""A plan of placements that somebody chose: an operator, or an earlier round.

Pure. Owns the way from chosen seats to a whole plan: shares, moves, terms and misfits are
made as for any solved plan, so that all of them are judged alike; and telling of the pins
and the failover that the choice leaves unmet. Refuses to check: `verify` does.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from planner.model import Misfit, Placement, Plan, PlanStatus, Snapshot
from planner.placement.fleet import Draft, Seat, survey
from planner.placement.objective import floor
from planner.placement.publish import publish
from planner.placement.verify import verify

OPERATOR, ROLLBACK = "operator", "rollback"

_LEFT_OUT = {
    OPERATOR: "the applied plan has no place for it",
    ROLLBACK: "the plan that is returned to has no place for it",
}
"""Why replicas go that a plan leaves out, by who chose it."""


def drafted(
    snapshot: Snapshot,
    placements: Sequence[Placement],
    *,
    waiting: Sequence[Placement] = (),
    solver: str,
) -> Plan:
    """The plan.

    Args:
        snapshot: The state it is for.
        placements: Those with a replica are kept, the others are new. Every node and
            deployment they name must be in the snapshot.
        waiting: New ones whose devices others still hold.
        solver: Who chose; `OPERATOR`, `ROLLBACK` or a round's solver.
    """
    fleet = survey(snapshot)
    draft = Draft(
        kept=frozenset(one.replica for one in placements if one.replica is not None),
        new=tuple(_seat(one) for one in placements if one.replica is None),
        waiting=tuple(_seat(one) for one in waiting),
    )
    plan = publish(
        fleet,
        draft,
        status=PlanStatus.FEASIBLE,
        solver=solver,
        bound=floor(fleet),
        chosen=_LEFT_OUT.get(solver, ""),
    )
    return with_unmet(snapshot, plan)


def with_unmet(snapshot: Snapshot, plan: Plan) -> Plan:
    """The plan with a misfit for every pin and every failover it leaves unmet."""
    found = (*_unmet_pins(snapshot, plan), *_unmet_failover(snapshot, plan))
    known = {(one.deployment, one.node, one.dimension) for one in plan.misfits}
    added = tuple(one for one in found if (one.deployment, one.node, one.dimension) not in known)
    if not added:
        return plan
    return replace(plan, misfits=(*plan.misfits, *added), status=PlanStatus.INFEASIBLE)


def _unmet_pins(snapshot: Snapshot, plan: Plan) -> Iterator[Misfit]:
    counts = Counter((one.deployment, one.node) for one in (*plan.placements, *plan.waiting))
    for pin in snapshot.pins:
        has = counts[pin.deployment, pin.node]
        if has < pin.replicas:
            yield Misfit(
                deployment=pin.deployment,
                node=pin.node,
                dimension="pin",
                needed=float(pin.replicas),
                available=float(has),
                message=f"deployment {pin.deployment}: {has} of {pin.replicas} pinned replicas are"
                f" on node {pin.node}; make room there, or unpin",
            )


def _unmet_failover(snapshot: Snapshot, plan: Plan) -> Iterator[Misfit]:
    if not any(c.failover_ratio > 0.0 for one in snapshot.deployments for c in one.classes):
        return
    ids = {one.id for one in snapshot.deployments}
    for broken in verify(snapshot, plan):
        if broken.rule == "failover" and broken.subject in ids:
            why = broken.message.partition(", and no misfit")[0]
            yield Misfit(
                deployment=broken.subject,
                node=None,
                dimension="failover",
                needed=1.0,
                available=0.0,
                message=f"deployment {broken.subject}: {why}; raise max_replicas, or add nodes in"
                " another failure domain",
            )


def _seat(placement: Placement) -> Seat:
    return Seat(
        deployment=placement.deployment,
        node=placement.node,
        devices=placement.devices,
        slo_class=placement.slo_class,
    )
