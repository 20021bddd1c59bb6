"""Whether one more seat breaks a rule of those that say where a replica may sit.

Pure. Owns those rules as misfits with their remedies. Asks the verifier, so that what is
told to fit would be let through.
"""

from planner.model import Deployment, Misfit, Placement, Plan, PlanStatus
from planner.placement.fleet import Draft, Fleet, Seat
from planner.placement.verify import Violation, verify

_REMEDIES = {
    "frozen": "thaw it first",
    "anti_affinity": "change anti_affinity, or add a node",
    "host_memory": "lower host_memory_bytes, or add a node",
    "node_group": "change node_groups, or label a node",
}


def forbidden(fleet: Fleet, draft: Draft, seat: Seat) -> Violation | None:
    """The first rule that one more replica in this seat breaks, beside what is kept.

    Args:
        fleet: The survey.
        draft: Whose kept replicas stay.
        seat: Of the new one.
    """
    kept = tuple(
        Placement(
            replica=one.replica, deployment=one.deployment, node=one.node, devices=one.devices
        )
        for one in fleet.allocations.values()
        if one.replica in draft.kept
    )
    new = Placement(replica=None, deployment=seat.deployment, node=seat.node, devices=seat.devices)
    plan = Plan(
        base_revision=fleet.snapshot.revision,
        status=PlanStatus.FEASIBLE,
        solver="",
        objective=0.0,
        bound=0.0,
        terms=(),
        placements=(*kept, new),
        moves=(),
    )
    key = f"new:{len(kept)}"
    return next(
        (
            one
            for one in verify(fleet.snapshot, plan)
            if (one.subject == key and one.rule != "moves")
            or (one.subject == seat.node and one.rule == "host_memory")
        ),
        None,
    )


def full(deployment: Deployment, node: str | None) -> Misfit:
    """The bound on replicas as what is in the way."""
    most = deployment.max_replicas
    return Misfit(
        deployment=deployment.id,
        node=node,
        dimension="max_replicas",
        needed=float(most + 1),
        available=float(most),
        message=f"deployment {deployment.id}: has its max_replicas {most}; raise max_replicas",
    )


def ruled_out(deployment: Deployment, node: str | None, broken: Violation | None) -> Misfit:
    """The rule in the way of seats that are free."""
    rule = "node_group" if broken is None else broken.rule
    groups = ", ".join(deployment.node_groups)
    what = f"no free node is of its node_groups {groups}" if broken is None else broken.message
    return Misfit(
        deployment=deployment.id,
        node=node,
        dimension=rule,
        needed=1.0,
        available=0.0,
        message=f"deployment {deployment.id}: {what}; {_REMEDIES.get(rule, 'change the spec')}",
    )


def remedy(misfit: Misfit) -> str:
    """What a misfit's message says to do."""
    return misfit.message.rpartition("; ")[2]
