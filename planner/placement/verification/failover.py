"""What is served though a failure domain is lost.

Owns the check that, where a class asks for it, killing any one domain leaves enough online
capacity with all offline work shed, or that the plan says it does not. Capacity of what
serves or is on its way counts; of what failed, drains by itself or sits on a lost node,
none.
"""

from collections import defaultdict
from collections.abc import Iterator

from planner.model import Placement, Plan, ReplicaState
from planner.placement.verification.facts import Facts
from planner.placement.verification.serving import Serving
from planner.placement.verification.violation import Violation, broken, slack

_SERVES_NOT = (ReplicaState.FAILED, ReplicaState.DRAINING, ReplicaState.STOPPED)


def failover(facts: Facts, plan: Plan, serving: Serving) -> Iterator[Violation]:
    """A deployment's classes survive any one domain, or a misfit says that they do not."""
    deployment = serving.deployment
    classes = deployment.classes
    needs = [one.failover_ratio * work for one, work in zip(classes, serving.served, strict=True)]
    if not sum(needs) > 0.0 or any(
        m.deployment == deployment.id and m.dimension == "failover" for m in plan.misfits
    ):
        return
    room: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(classes))
    for tier, placement in zip(serving.tiers, serving.own, strict=True):
        if tier is not None and _serves(facts, placement):
            room[facts.domain(placement)][tier] += facts.bears_online(placement)
    whole = [sum(of_tier) for of_tier in zip(*room.values(), strict=True)] or [0.0] * len(classes)
    for domain, lost in sorted(room.items()) or [("", whole)]:
        needed = left = 0.0
        for one, need, all_of, gone in zip(classes, needs, whole, lost, strict=True):
            needed += need
            left += all_of - gone  # tighter replicas serve looser classes too
            if needed > left + slack(needed):
                yield broken(
                    "failover",
                    deployment.id,
                    f"without domain {domain!r} {left:.4f} engine-ms/s are left, classes up to "
                    f"{one.id!r} need {needed:.4f}, and no misfit says so",
                )
                break


def _serves(facts: Facts, placement: Placement) -> bool:
    """Whether it is new, or serves, or is on its way."""
    if placement.replica is None:
        return True
    is_up = facts.nodes[placement.node].is_ready
    return is_up and facts.allocations[placement.replica].state not in _SERVES_NOT
