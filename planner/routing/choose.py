"""The choice of a replica for one request, or the refusal.

Owns weighted least load. With p_r the online requests replica r holds, w_r its online
share and s_r the requests sent to it of late, the request goes to the least

    (p_r + 1 + d_r) / w_r,    d_r = clamp(s_r - w_r / sum(w) * sum(s), -1, 1)

The first two terms follow live load; d, the debt, is at most one request and makes the
shares hold when the fleet is idle and every p is 0. Refuses replicas that are not
RUNNING. Of SLO classes: only replicas that serve the request's class are compared, or that
stand in for them (`classes`); p, w and s count requests of every class, so that however
many of each come, all together divide by the shares as far as the classes leave a choice.
The plan has no shares of single classes: only a replica's whole load meets its frontier.
Invariants: equal input, equal choice (ties go by replica id); a replica without
a share, or whose agent was unreachable a moment ago, is taken only when no other can.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from planner.model import ReplicaState
from planner.routing.classes import nearest, offline_only
from planner.routing.table import Route, RouteTable
from planner.routing.traffic import Traffic

QUEUE_DEPTH = 2
"""Times `max_running_requests` a replica may hold, running and queued, before shedding:
a queue as deep as the batch waits about one batch, a deeper one only misses its TTFT."""

RETRY_AFTER_S = 1.0
"""When a shed client may come again: agents report load every second."""


class RefusalKind(Enum):
    """Why no replica takes the request."""

    UNKNOWN_DEPLOYMENT = "unknown_deployment"
    UNKNOWN_CLASS = "unknown_class"
    NONE_RUNNING = "none_running"
    ALL_FAILED = "all_failed"
    CONTENDED = "contended"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRefusal:
    """No replica takes the request."""

    kind: RefusalKind
    message: str
    retry_after_s: float | None = None


def choose(
    table: RouteTable,
    traffic: Traffic,
    *,
    deployment: str,
    slo_class: str = "",
    now_s: float,
    excluded: Collection[str] = (),
    suspect: Collection[str] = (),
) -> Route | RouteRefusal:
    """Picks the replica for one request.

    Args:
        table: where requests may go.
        traffic: live load of the replicas.
        deployment: bare id.
        slo_class: of the request; "": the deployment's tightest, if it has any.
        now_s: seconds, on the clock of the reports in `traffic`.
        excluded: replicas that failed this very request.
        suspect: agent addresses that could not be reached a moment ago.

    Returns:
        The route, or why there is none.
    """
    routes = table.routes_of(deployment)
    if routes is None:
        known = ", ".join(sorted(table.deployments)) or "none"
        return RouteRefusal(
            kind=RefusalKind.UNKNOWN_DEPLOYMENT,
            message=f"deployment {deployment}: does not exist; known: {known}."
            " Apply it, or ask for one of these",
        )
    classes = table.classes_of(deployment)
    if slo_class and slo_class not in classes:
        return RouteRefusal(
            kind=RefusalKind.UNKNOWN_CLASS, message=_unknown_class(deployment, slo_class, classes)
        )
    running = [route for route in routes if route.state is ReplicaState.RUNNING]
    if not running:
        states = ", ".join(f"{r.replica} {r.state.value}" for r in routes) or "no replicas"
        return RouteRefusal(
            kind=RefusalKind.NONE_RUNNING,
            message=f"deployment {deployment}: no replica runs ({states}); try again later",
            retry_after_s=RETRY_AFTER_S,
        )
    left = [route for route in running if route.replica not in excluded]
    if not left:
        return RouteRefusal(
            kind=RefusalKind.ALL_FAILED,
            message=f"deployment {deployment}: all {len(running)} running replicas failed this"
            " request; try again",
            retry_after_s=RETRY_AFTER_S,
        )
    wanted = slo_class or (classes[0] if classes else "")
    reachable = [route for route in left if route.address not in suspect] if suspect else left
    for pool in (reachable, left) if suspect else (left,):
        near, is_stand_in = nearest(pool, wanted, classes)
        depth = 1 if is_stand_in else QUEUE_DEPTH
        for group, limit in ((near, depth), (offline_only(pool), 1)):
            admitting = [r for r in group if _admits(r, traffic, now_s=now_s, depth=limit)]
            if admitting:
                return _least_loaded(admitting, traffic, now_s=now_s, suspect=suspect)
    return RouteRefusal(
        kind=RefusalKind.CONTENDED,
        message=_contended(deployment, wanted, len(near), is_stand_in=is_stand_in),
        retry_after_s=RETRY_AFTER_S,
    )


def _unknown_class(deployment: str, slo_class: str, classes: Collection[str]) -> str:
    if not classes:
        return (
            f"deployment {deployment}: SLO class {slo_class[:64]!r}: it has no classes; leave"
            " slo_class empty, or apply it with slo_classes"
        )
    return (
        f"deployment {deployment}: SLO class {slo_class[:64]!r}: not one of its classes"
        f" {', '.join(classes)}; name one of these, or none for the first"
    )


def _contended(deployment: str, slo_class: str, count: int, *, is_stand_in: bool) -> str:
    serving = f" that serve SLO class {slo_class}" if slo_class else ""
    if is_stand_in:
        return (
            f"deployment {deployment}: no replica{serving or ' for online requests'} runs, and each"
            f" of the {count} that stand in runs all the requests it can at once; try again later"
        )
    return (
        f"deployment {deployment}: each of its {count} replicas{serving} holds {QUEUE_DEPTH} times"
        " the requests it can run at once; slow down or add replicas"
    )


def _admits(route: Route, traffic: Traffic, *, now_s: float, depth: int) -> bool:
    if route.max_running_requests <= 0:
        return True
    limit = depth * route.max_running_requests
    return traffic.pressure(route.replica, now_s=now_s) < limit


def _least_loaded(
    routes: list[Route], traffic: Traffic, *, now_s: float, suspect: Collection[str]
) -> Route:
    if len(routes) == 1:
        return routes[0]
    share_sum = sum(route.online_share for route in routes)
    sent_sum = sum(traffic.sent(route.replica) for route in routes)

    def rank(route: Route) -> tuple[bool, bool, float, str]:
        # Without any share (a plan that foresaw no online load) all weigh the same.
        weight = route.online_share / share_sum if share_sum > 0 else 1 / len(routes)
        debt = max(-1.0, min(1.0, traffic.sent(route.replica) - weight * sent_sum))
        load = traffic.pressure(route.replica, now_s=now_s) + 1 + debt
        has_no_share = weight <= 0
        score = load if has_no_share else load / weight
        return route.address in suspect, has_no_share, score, route.replica

    return min(routes, key=rank)
