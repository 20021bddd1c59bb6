"""Verified incumbents of one round, best last.

Owns the order of a solve. Small fleets whose deployments stand alone are decided node by
node: the greedy's repair at once, then one MIP at growing limits, to a proof where there is
one. All others are decided in counts (`counts.search`), each answer made concrete; where that
loses something worth having, the search goes on without it from what was seated. Every plan
is verified and yielded only if it is better than the last. Refuses to read time: it asks
`work_left` between steps, and whoever runs it owns the deadline, keeps the last plan received
and may kill it at any point. Invariants: every plan yielded passes `verify`; none
is worse than the one before; a solver that fails ends the round with what was found; the
same snapshot, policy and limits give the same plans.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from planner.model import Plan, PlanStatus, Snapshot
from planner.placement.counting import Counting, counting_of
from planner.placement.counts.limits import Limits as SearchLimits
from planner.placement.counts.patterns import Patterns
from planner.placement.counts.problem import Counts, Problem
from planner.placement.counts.search import search
from planner.placement.counts.solver import NAME as COUNTS_SOLVER
from planner.placement.counts.solver import SolverError
from planner.placement.counts.standing import Standing, standing_of
from planner.placement.disaggregate import disaggregate
from planner.placement.fleet import Draft, Fleet, survey
from planner.placement.formulation import SOLVER, Programme
from planner.placement.greedy import NODE_BY_NODE_UP_TO, improve, keep_all
from planner.placement.objective import evaluate, floor, total
from planner.placement.pools import pools_of
from planner.placement.publish import publish
from planner.placement.seating import seated
from planner.placement.verify import verify

_log = logging.getLogger(__name__)

# A gap that no single term can hide in: half of DROP, the smallest.
_PROVEN_GAP = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What counts as better.

    `least_gain` is in the objective's units (OFFLINE a replica-equivalent of offline work);
    a plan that gains less over what runs is not worth its moves.
    """

    least_gain: float = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a solve may do: nodes of a search and parts of a problem, never time."""

    nodes: tuple[int, ...] = (50, 500, 5_000)
    """Of the MIP of a small fleet, step by step. Small fleets are proved in the first; the
    last keeps fifty nodes and eight deployments within seconds on one core."""
    counts: SearchLimits = field(default_factory=SearchLimits)
    searches: int = 4
    """In counts: each but the first without what the one before could not seat."""
    publish_gain: float = 2e-3
    """Of the objective's size, by which an answer in counts has to be better than the last
    one published to be made concrete before the search ends."""


def solve(
    snapshot: Snapshot,
    *,
    work_left: Callable[[], float],
    policy: Policy = Policy(),
    limits: Limits = Limits(),
) -> Iterator[Plan]:
    """Yields verified plans of a snapshot, each better or better proven than the last.

    Args:
        snapshot: The state to plan from.
        work_left: What is left of the round's budget, in the caller's unit; asked between
            steps, and the search ends once it is not positive.
        policy: What counts as better.
        limits: How much to do at the most.

    Yields:
        What runs, or the greedy's repair of it, first, within milliseconds on small fleets;
        then better ones. At least one, unless even keeping what runs breaks a rule, which
        is logged.
    """
    fleet = survey(snapshot)
    if fleet.is_plain and len(fleet.nodes) <= NODE_BY_NODE_UP_TO:
        yield from _node_by_node(fleet, policy, limits, work_left)
    else:
        yield from _in_counts(fleet, policy, limits, work_left)


def _node_by_node(
    fleet: Fleet, policy: Policy, limits: Limits, work_left: Callable[[], float]
) -> Iterator[Plan]:
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
        fleet.snapshot,
    )
    if plan is None:
        return
    yield plan
    pools = pools_of(fleet)
    programme: Programme | None = None
    for node_limit in limits.nodes:
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
        if _cost(fleet, found) < _cost(fleet, incumbent) - policy.least_gain:
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


def _in_counts(
    fleet: Fleet, policy: Policy, limits: Limits, work_left: Callable[[], float]
) -> Iterator[Plan]:
    try:
        counting = counting_of(fleet)
        patterns = Patterns(counting.problem)
        round_ = _Round(fleet=fleet, counting=counting, patterns=patterns, policy=policy)
        kept = seated(fleet, round_.counting, round_.counting.problem.held)
        plan = round_.published(kept, is_kept=True)
        if plan is None:
            return
        yield plan
        problem = counting.problem
        start = round_.best
        for _ in range(limits.searches):
            unseated: _Unseated | None = None
            last: Standing | None = None
            for found in search(
                problem,
                start,
                patterns=patterns,
                limits=limits.counts,
                work_left=lambda: work_left() > 0.0,
            ):
                last = found
                if round_.is_worth(found, least=limits.publish_gain):
                    plan, unseated = round_.improved(found, least=limits.publish_gain)
                    if plan is not None:
                        yield plan
                    if unseated is not None:
                        break
            if last is not None and unseated is None and round_.is_worth(last, least=0.0):
                plan, unseated = round_.improved(last, least=limits.publish_gain)
                if plan is not None:
                    yield plan
            if unseated is None or work_left() <= 0.0:
                return
            problem, start = unseated.narrowed(problem), unseated.reached
    except SolverError:
        _log.exception("placement_solver_failed revision=%d", fleet.snapshot.revision)


@dataclass(slots=True, kw_only=True)
class _Round:
    """The best seated draft of a fleet in counts."""

    fleet: Fleet
    counting: Counting
    patterns: Patterns
    policy: Policy
    _best: Standing | None = None

    @property
    def best(self) -> Standing:
        """Of the draft published last."""
        assert self._best is not None  # the first plan keeps what runs
        return self._best

    def is_worth(self, found: Standing, *, least: float) -> bool:
        """Whether counts promise enough over what was published last."""
        by = max(self.policy.least_gain, least * abs(found.cost))
        return found.is_better(self.best, by=by)

    def improved(self, found: Standing, *, least: float) -> tuple[Plan | None, "_Unseated | None"]:
        """The plan of counts as they could be seated, if it is still better.

        Args:
            found: Has the counts.
            least: Of its size, by which what found no seat has to make it worse to be told.
        """
        draft = seated(self.fleet, self.counting, found.counts)
        counts = self.counting.count(self.fleet, draft)
        reached = standing_of(self.counting.problem, counts, near=found)
        is_whole = not found.is_better(reached, by=least * abs(found.cost))
        lost = {
            key: counts.get(key, 0)
            for key, count in found.counts.items()
            if counts.get(key, 0) < count
        }
        plan: Plan | None = None
        if reached.is_better(self.best, by=self.policy.least_gain):
            plan = self.published(draft, reached=reached)
        return plan, None if is_whole or not lost else _Unseated(reached=reached, seats=lost)

    def published(
        self, draft: Draft, *, reached: Standing | None = None, is_kept: bool = False
    ) -> Plan | None:
        """A draft's plan, verified; it is the best from then on."""
        if reached is None:
            reached = standing_of(self.counting.problem, self.counting.count(self.fleet, draft))
        is_proven = reached.gap(self.patterns.bound) <= 1e-6
        status = PlanStatus.OPTIMAL if is_proven else PlanStatus.FEASIBLE
        plan = _verified(
            publish(
                self.fleet,
                draft,
                status=PlanStatus.KEPT_INCUMBENT if is_kept else status,
                solver="incumbent" if is_kept else COUNTS_SOLVER,
                bound=self.patterns.bound,
                standing=reached,
            ),
            self.fleet.snapshot,
        )
        if plan is not None:
            self._best = reached
        return plan


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unseated:
    """What counts lost when they were made concrete.

    Slots of a cell are a sum: a large replica may find none of its nodes free enough, nor moves
    left to free one.

    Attributes:
        reached: What was seated.
        seats: Of (cell, shape), as many as found a seat.
    """

    reached: Standing
    seats: Counts

    def narrowed(self, problem: Problem) -> Problem:
        """The problem without what found no seat."""
        return replace(problem, most={**problem.most, **self.seats})


def _cost(fleet: Fleet, draft: Draft) -> float:
    return total(evaluate(fleet, draft))


def _verified(plan: Plan, snapshot: Snapshot) -> Plan | None:
    violations = verify(snapshot, plan)
    for violation in violations[:_SHOWN]:
        _log.error(
            "placement_plan_refused revision=%d rule=%s subject=%s message=%s",
            snapshot.revision,
            violation.rule,
            violation.subject,
            violation.message,
        )
    return None if violations else plan


_SHOWN = 20  # violations logged of one plan
