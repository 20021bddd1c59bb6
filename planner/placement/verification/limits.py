"""How many, and where for sure.

Owns the bounds on replicas and moves, freezes, pins and what is said of fair shares.
"""

from collections import Counter
from collections.abc import Iterator

from planner.model import Plan
from planner.placement.verification.facts import Facts
from planner.placement.verification.fairness import fairness
from planner.placement.verification.violation import Violation, broken


def limits(facts: Facts, plan: Plan) -> Iterator[Violation]:
    """Bounds, freezes and pins are kept to, and shares that are short can be."""
    yield from _bounds(facts, plan)
    yield from _frozen(facts, plan)
    yield from _pinned(facts, plan)
    yield from fairness(facts, plan)


def _bounds(facts: Facts, plan: Plan) -> Iterator[Violation]:
    """max_replicas, but what a freeze keeps; and the round's moves."""
    counts = Counter(placement.deployment for placement in plan.placements)
    forced = Counter(
        allocation.deployment
        for allocation in facts.allocations.values()
        if facts.must_stay(allocation)
    )
    for name, count in sorted(counts.items()):
        allowed = max(facts.deployments[name].max_replicas, forced[name])
        if count > allowed:
            yield broken("max_replicas", name, f"{count} placed, {allowed} allowed")
    added = sum(placement.replica is None for placement in plan.placements)
    allowed_moves = facts.snapshot.max_moves
    if allowed_moves is not None and added > allowed_moves:
        yield broken("max_moves", "plan", f"{added} added, {allowed_moves} allowed")


def _frozen(facts: Facts, plan: Plan) -> Iterator[Violation]:
    """What a freeze keeps is kept; that it gains nothing is `seating`'s."""
    kept = {placement.replica for placement in plan.placements}
    for replica, allocation in facts.allocations.items():
        if replica not in kept and facts.must_stay(allocation):
            is_node = facts.nodes[allocation.node].is_frozen
            what = f"node {allocation.node}" if is_node else f"deployment {allocation.deployment}"
            yield broken("frozen", replica, f"{what} is frozen and loses nothing")


def _pinned(facts: Facts, plan: Plan) -> Iterator[Violation]:
    """A pin is met, by what is placed or waits, or the plan says that it is not."""
    counts = Counter((p.deployment, p.node) for p in (*plan.placements, *plan.waiting))
    told = {(m.deployment, m.node) for m in plan.misfits if m.dimension == "pin"}
    for pin in facts.snapshot.pins:
        where = (pin.deployment, pin.node)
        if counts[where] < pin.replicas and where not in told:
            yield broken(
                "pin",
                f"{pin.deployment} on {pin.node}",
                f"{counts[where]} placed, {pin.replicas} pinned, and no misfit says so",
            )
