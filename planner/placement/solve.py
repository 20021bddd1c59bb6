"""Verified incumbents of one round, best last.

Owns the order of a solve: what runs and the greedy's repair at once, then the MIP at
growing limits, each made concrete, improved, verified and yielded only if it is better or
proves more. Refuses to read time: it asks `work_left` between steps, and whoever runs it
owns the deadline, keeps the last plan received and may kill it at any point. Invariants:
every plan yielded passes `verify`; the objective never rises from one to the next; a
solver that fails ends the round with what was found.
"""

import logging
from collections.abc import Callable, Iterator

from planner.model import Plan, PlanStatus, Snapshot
from planner.placement.disaggregate import disaggregate
from planner.placement.fleet import Draft, Fleet, survey
from planner.placement.formulation import SOLVER, Programme
from planner.placement.greedy import improve, keep_all
from planner.placement.objective import evaluate, floor, total
from planner.placement.pools import pools_of
from planner.placement.publish import publish
from planner.placement.verify import verify

_log = logging.getLogger(__name__)

# Nodes of the search, step by step. Small fleets are proved in the first; the last keeps
# fifty nodes and eight deployments within seconds on one core.
_NODE_LIMITS = (50, 500, 5_000)

# A gap that no single term can hide in: half of DROP, the smallest.
_PROVEN_GAP = 0.25

_LEAST_GAIN = 1e-6


def solve(snapshot: Snapshot, *, work_left: Callable[[], float]) -> Iterator[Plan]:
    """Yields verified plans of a snapshot, each better or better proven than the last.

    Args:
        snapshot: The state to plan from.
        work_left: What is left of the round's budget, in the caller's unit; asked between
            steps, and the search ends once it is not positive.

    Yields:
        The greedy's plan (or what runs, if nothing improves it) first, within
        milliseconds on small fleets; then better ones. At least one, unless even keeping
        what runs breaks a rule, which is logged.
    """
    fleet = survey(snapshot)
    incumbent = improve(fleet, keep_all(fleet))
    is_kept = incumbent == keep_all(fleet)
    bound = floor(fleet)
    plan = _verified(
        publish(
            fleet,
            incumbent,
            status=PlanStatus.KEPT_INCUMBENT if is_kept else PlanStatus.FEASIBLE,
            solver="incumbent" if is_kept else "greedy",
            bound=bound,
        ),
        snapshot,
    )
    if plan is None:
        return
    yield plan
    yield from _search(fleet, incumbent, bound, work_left)


def _search(
    fleet: Fleet, incumbent: Draft, bound: float, work_left: Callable[[], float]
) -> Iterator[Plan]:
    pools = pools_of(fleet)
    programme: Programme | None = None
    for node_limit in _NODE_LIMITS:
        if work_left() <= 0.0:
            return
        try:
            programme = programme or Programme(fleet, pools)
            outcome = programme.solve(hint=pools.count(incumbent), node_limit=node_limit)
        except Exception:  # noqa: BLE001 - MathOpt's errors share no base; the incumbent stands
            _log.exception("placement_solver_failed revision=%d", fleet.snapshot.revision)
            return
        if outcome.counts is None or outcome.bound is None:
            _log.error(
                "placement_solver_failed revision=%d detail=%s",
                fleet.snapshot.revision,
                outcome.detail,
            )
            return
        bound = max(bound, outcome.bound)
        found = improve(fleet, disaggregate(fleet, pools, outcome.counts))
        if _cost(fleet, found) < _cost(fleet, incumbent) - _LEAST_GAIN:
            incumbent = found
        is_proven = _cost(fleet, incumbent) - bound <= _PROVEN_GAP
        plan = _verified(
            publish(
                fleet,
                incumbent,
                status=PlanStatus.OPTIMAL if is_proven else PlanStatus.FEASIBLE,
                solver=SOLVER,
                bound=bound,
            ),
            fleet.snapshot,
        )
        if plan is None:
            return
        yield plan
        if is_proven or outcome.is_proven:
            return


def _cost(fleet: Fleet, draft: Draft) -> float:
    return total(evaluate(fleet, draft))


def _verified(plan: Plan, snapshot: Snapshot) -> Plan | None:
    violations = verify(snapshot, plan)
    for violation in violations:
        _log.error(
            "placement_plan_refused revision=%d rule=%s subject=%s message=%s",
            snapshot.revision,
            violation.rule,
            violation.subject,
            violation.message,
        )
    return None if violations else plan
