"""What is served though a failure domain is lost.

Owns the check that, where a class asks for it, killing any one domain leaves enough online
capacity with all offline work shed, or that the plan says it does not. Capacity of what
serves or is on its way counts; of what failed, drains by itself or sits on a lost node,
none. A replica's class is a latency budget and a routing rule, so once a domain is lost the
others may be held to other classes than before: they are divided anew, a replica's time
between two classes too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

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
    bears = [
        (facts.domain(p), [_bears(facts, p, one.id) for one in classes])
        for p in serving.own
        if _serves(facts, p)
    ]
    for domain in sorted({domain for domain, _ in bears}) or [""]:
        left = [rates for of, rates in bears if of != domain]
        lacking = _lacking(needs, left)
        if lacking > slack(sum(needs)):
            yield broken(
                "failover",
                deployment.id,
                f"without domain {domain!r} what is left lacks {lacking:.4f} of "
                f"{sum(needs):.4f} engine-ms/s that are to survive, and no misfit says so",
            )


def _bears(facts: Facts, placement: Placement, slo_class: str) -> float:
    """Online work it carries held to that class, without offline work."""
    return facts.bears_online(replace(placement, slo_class=slo_class))


def _lacking(needs: Sequence[float], left: Sequence[Sequence[float]]) -> float:
    """What replicas cannot serve of each class's need, divided among the classes at best.

    The tightest class takes the replicas that lose least by it, until it is served; the
    last one by a part of its time. What is left goes to the next. With two classes that is
    the best there is; with more, a replica counts for the tightest two it bears, in turn.
    """
    rest = [(1.0, list(rates)) for rates in left]
    lacking = 0.0
    for k, need in enumerate(needs):
        looser = range(k + 1, len(needs))
        rest.sort(
            key=lambda one: (
                max((one[1][j] for j in looser), default=0.0) / one[1][k]
                if one[1][k] > 0.0
                else float("inf")
            )
        )
        after: list[tuple[float, list[float]]] = []
        for time, rates in rest:
            taken = min(time, need / rates[k]) if rates[k] > 0.0 else 0.0
            need -= taken * rates[k]  # noqa: PLW2901 - what is still to be served
            if time > taken:
                after.append((time - taken, rates))
        rest = after
        lacking += max(0.0, need)
    return lacking


def _serves(facts: Facts, placement: Placement) -> bool:
    """Whether it is new, or serves, or is on its way."""
    if placement.replica is None:
        return True
    is_up = facts.nodes[placement.node].is_ready
    return is_up and facts.allocations[placement.replica].state not in _SERVES_NOT
