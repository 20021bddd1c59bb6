"""Which replicas serve an SLO class, and who stands in while none of them runs.

Owns the order in which replicas are asked. A replica is held to the tightest class it
serves and serves every looser one: what keeps the tighter promise keeps theirs. While none
that serves the class runs, others stand in, since a refused request misses its SLO for
certain: replicas held to a looser class, the tightest of them first, and at last those that
serve no online requests, whose offline work then yields. A stand-in takes only what it can
run at once and queues nothing, so that its own class waits behind no other. Where replicas
of the class run and are full, only offline-only ones stand in. Refuses to spill over to
looser classes then: a class that outgrows its plan must not break the promises to the next.
Invariant: without classes all but offline-only replicas serve everything.
"""

from collections.abc import Sequence

from planner.model import OFFLINE_ONLY
from planner.routing.table import Route

SERVES = 0
"""Rank of a replica that serves the class; larger ranks stand in, the least first."""


def rank(route: Route, slo_class: str, classes: Sequence[str]) -> int:
    """How far a replica is from serving a class.

    Args:
        route: the replica.
        slo_class: one of `classes`, or "" where there are none.
        classes: of the deployment, tightest first.

    Returns:
        `SERVES`, else how many classes looser it is held to, or one more than there are
        classes (and than 1) where it serves no online requests. A class that is not of the
        deployment any more counts as the tightest, as the planner counts it.
    """
    if route.slo_class == OFFLINE_ONLY:
        return len(classes) + 1
    if route.slo_class not in classes or slo_class not in classes:
        return SERVES
    return max(SERVES, classes.index(route.slo_class) - classes.index(slo_class))


def nearest(
    routes: list[Route], slo_class: str, classes: Sequence[str]
) -> tuple[list[Route], bool]:
    """Those of the least rank, and whether they only stand in."""
    if not any(route.slo_class for route in routes):  # as in most fleets: no ranks to compare
        return routes, False
    ranked = [(rank(route, slo_class, classes), route) for route in routes]
    least = min((one for one, _ in ranked), default=SERVES)
    return [route for one, route in ranked if one == least], least > SERVES


def offline_only(routes: list[Route]) -> list[Route]:
    """Those that serve no online requests: what they have to lose is offline work."""
    return [route for route in routes if route.slo_class == OFFLINE_ONLY]
