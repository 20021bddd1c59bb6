"""The independent check of a plan against a snapshot.

Owns what must hold of any plan, whoever made it. Shares no code with the survey, the
objective or the solver's model: it reads the domain's values alone, so that a mistake
there cannot hide itself here. Refuses to judge how good a plan is. Takes time in proportion
to the fleet and the plan. The rules are `placement.verification`'s.
"""

from planner.model import Plan, Snapshot
from planner.placement.verification import seating
from planner.placement.verification.facts import facts_of
from planner.placement.verification.failover import failover
from planner.placement.verification.limits import limits
from planner.placement.verification.loads import loads
from planner.placement.verification.moves import moves
from planner.placement.verification.offline import offline
from planner.placement.verification.serving import servings
from planner.placement.verification.sharing import shared, waits
from planner.placement.verification.violation import Violation

__all__ = ["Violation", "verify"]


def verify(snapshot: Snapshot, plan: Plan) -> tuple[Violation, ...]:
    """Checks a plan.

    Args:
        snapshot: The state to check against; it may be newer than the plan's base.
        plan: Any plan.

    Returns:
        Every violation found; empty means the plan may be committed.
    """
    facts = facts_of(snapshot)
    found: list[Violation] = []
    for index, placement in enumerate(plan.placements):
        if placement.replica is None:
            found += seating.new(facts, placement, f"new:{index}")
        else:
            found += seating.kept(facts, placement, placement.replica)
    if found:  # what follows reads nodes, devices and deployments that must exist
        return tuple(found)
    found += shared(facts, plan.placements)
    found += limits(facts, plan)
    for serving in servings(facts, plan.placements):
        found += loads(facts, serving)
        found += failover(facts, plan, serving)
    found += offline(facts, plan.placements)
    found += waits(facts, plan)
    found += moves(facts, plan.placements, plan.moves)
    return tuple(found)
