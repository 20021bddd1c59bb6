"""What each placement carries.

Owns shares, frontiers and budgets. An online share is a share of all online work the
deployment's placements serve, whatever its class; a placement carries its share of it, of
its own class and looser ones. A share weighs against the sum of them all, as at the gateway,
so that shares which sum to less than 1 hide no load.
"""

from collections.abc import Iterator
from math import inf

from planner.model import OFFLINE_ONLY, Placement
from planner.placement.verification.facts import Facts
from planner.placement.verification.serving import Serving
from planner.placement.verification.violation import (
    MOST_SHARE_SLACK,
    SHARE_SLACK,
    Violation,
    broken,
    slack,
)


def loads(facts: Facts, serving: Serving) -> Iterator[Violation]:
    """A deployment's shares add up, and each point lies under its frontier."""
    name, own = serving.deployment.id, serving.own
    online = [placement for placement in own if placement.slo_class != OFFLINE_ONLY]
    total = sum(placement.online_share for placement in online)
    allowance = min(MOST_SHARE_SLACK, SHARE_SLACK * len(online))
    if online and not abs(total - 1.0) <= allowance:  # not >: a sum may be no number
        yield broken("shares", name, f"online shares sum to {total:.4f}, not 1")
    unit = serving.whole / total if total > 0.0 else 0.0
    yield from _nested(serving, unit=unit, allowance=allowance)
    for placement in own:
        yield from _load(facts, placement, placement.online_share * unit)


def _nested(serving: Serving, *, unit: float, allowance: float) -> Iterator[Violation]:
    """Replicas of looser classes carry no more than looser classes bring."""
    classes = serving.deployment.classes
    shares = [0.0] * len(classes)
    for tier, placement in zip(serving.tiers, serving.own, strict=True):
        if tier is not None:
            shares[tier] += placement.online_share
    for first in range(1, len(classes)):
        carried = sum(shares[first:]) * unit
        wanted = sum(max(0.0, one.online_work) for one in classes[first:])
        if carried > wanted + allowance * serving.whole + slack(wanted):
            ids = [one.id for one in classes[first:]]
            yield broken(
                "slo_class",
                serving.deployment.id,
                f"replicas of {ids} carry {carried:.4f}, those classes bring {wanted:.4f}; "
                "they may not serve a tighter one",
            )


def _load(facts: Facts, placement: Placement, x: float) -> Iterator[Violation]:
    subject = f"{placement.deployment} on {placement.node}{list(placement.devices)}"
    y = placement.offline_share
    if not (0.0 <= placement.online_share < inf and 0.0 <= y < inf):
        yield broken("shares", subject, f"({placement.online_share}, {y}) are no loads")
    if placement.slo_class == OFFLINE_ONLY and placement.online_share != 0.0:
        yield broken(
            "slo_class", subject, f"is offline-only, has online share {placement.online_share}"
        )
    if not 0.0 < placement.latency_budget_ms < inf:
        yield broken("budget", subject, f"{placement.latency_budget_ms} ms")
    frontier = facts.frontier(placement)
    if x > frontier.max_online_work + slack(frontier.max_online_work):
        yield broken("frontier", subject, f"online {x}, bears {frontier.max_online_work}")
    for segment in frontier.segments:
        load = segment.alpha * x + segment.beta * y
        if load > segment.gamma + slack(segment.gamma):
            yield broken("frontier", subject, f"({x}, {y}) lies above {segment}")
