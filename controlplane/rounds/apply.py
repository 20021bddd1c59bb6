"""From a plan to committed state, and into the ledger.

Owns the second verification, ids of new replicas, and the commit. Refuses to solve.
Invariants: what is committed passed `verify` against the state it is committed to, in
the same transaction; a move group is committed whole or not
at all; every round is noted, and one that changes nothing raises no revision.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from controlplane.rounds.demand import Demand, demand_records
from controlplane.rounds.drafted import drafted
from controlplane.rounds.outcome import RoundOutcome
from controlplane.rounds.snapshot import (
    PlacementSettings,
    build_snapshot,
    inputs_hash,
)
from controlplane.rounds.targets import named_plan, new_replica_id, targets_of
from planner.model import (
    Desired,
    Misfit,
    MoveKind,
    Placement,
    Plan,
    PlanStatus,
    Snapshot,
)
from planner.placement.verify import verify
from storage.plan_records import PlanOutcome, PlanRecord
from storage.records import FleetView
from storage.store import FleetTransaction

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What a plan came from, for the ledger."""

    trigger: str
    demand: Demand = field(default_factory=Demand)  # what it was computed for
    settings: PlacementSettings | None = None
    inputs_hash: str = ""
    solve_s: float = 0.0
    failure: str = ""  # of the solver, though there is a plan
    is_ordered: bool = False  # an operator ordered it: a freeze of the fleet does not hold it


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What became of a plan; its record is in the ledger whatever came of it."""

    outcome: RoundOutcome
    record: PlanRecord
    refused_groups: tuple[int, ...] = ()
    is_stale: bool = False  # the state moved on since the plan was made

    @property
    def is_applied(self) -> bool:
        """Whether it is the plan in force now."""
        return self.record.outcome.makes_placements


def commit_plan(
    state: FleetTransaction,
    plan: Plan,
    round_: Round,
    *,
    make_id: Callable[[str], str] = new_replica_id,
) -> Committed:
    """Verifies a plan against the state of this transaction, commits what passes, notes all.

    Args:
        state: a transaction under the leader's epoch.
        plan: from the solver, or made of what an operator ordered.
        round_: what it came from.
        make_id: makes a replica's id of its deployment's.
    """
    view = state.view()
    if view.is_frozen and not round_.is_ordered:
        outcome = PlanOutcome.FROZEN if plan.moves else PlanOutcome.UNCHANGED
        return _noted(state, view, plan, round_, outcome)
    snapshot = build_snapshot(view, round_.demand, round_.settings)
    if not round_.inputs_hash:  # what an operator ordered was made from this very state
        round_ = replace(round_, inputs_hash=inputs_hash(snapshot))
    passed, refused = _verified(snapshot, plan)
    if passed is None:
        return _noted(state, view, plan, round_, PlanOutcome.REFUSED, refused=refused)
    named = named_plan(passed, view, make_id=make_id)
    targets = targets_of(view, named, round_=state.state.round + 1)
    known = {one.allocation.replica: one for one in view.allocations}
    changed = [one for one in targets if known.get(one.allocation.replica) != one]
    if not changed and _is_in_force(named, view.plan):
        outcome = PlanOutcome.REFUSED if refused else PlanOutcome.UNCHANGED
        return _noted(state, view, named, round_, outcome, refused=refused)
    for one in changed:
        state.put_allocation(one)
    outcome = PlanOutcome.PARTLY_APPLIED if refused else PlanOutcome.APPLIED
    return _noted(state, view, named, round_, outcome, refused=refused)


def note_failure(state: FleetTransaction, round_: Round, *, revision: int) -> Committed:
    """Writes a round that came to no plan into the ledger; what runs stays."""
    nothing = Plan(
        base_revision=revision,
        status=PlanStatus.KEPT_INCUMBENT,
        solver="incumbent",
        objective=0.0,
        bound=0.0,
        terms=(),
        placements=(),
        moves=(),
    )
    return _noted(state, state.view(), nothing, round_, PlanOutcome.FAILED)


def _noted(
    state: FleetTransaction,
    view: FleetView,
    plan: Plan,
    round_: Round,
    outcome: PlanOutcome,
    *,
    refused: tuple[int, ...] = (),
) -> Committed:
    """Writes the ledger's entry."""
    left_out = f"move groups {list(refused)} no longer fit the state" if refused else ""
    record = state.append_plan(
        plan,
        epoch=state.state.epoch,
        trigger=round_.trigger,
        solve_s=round_.solve_s,
        outcome=outcome,
        inputs_hash=round_.inputs_hash,
        failure="; ".join(one for one in (round_.failure, left_out) if one),
        refused_groups=refused,
        demand=demand_records(view, round_.demand),
    )
    noted = RoundOutcome(
        trigger=round_.trigger,
        base_revision=plan.base_revision,
        status=plan.status,
        outcome=outcome,
        misfits=plan.misfits,
        round=record.round,
        failure=round_.failure if outcome is PlanOutcome.FAILED else left_out,
        solve_s=round_.solve_s,
    )
    return Committed(
        outcome=noted,
        record=record,
        refused_groups=refused,
        is_stale=plan.base_revision != state.state.revision,
    )


def _is_in_force(plan: Plan, last: PlanRecord | None) -> bool:
    """Whether the plan says what the one in force says."""
    if last is None:
        return not plan.placements and not plan.misfits
    return set(plan.placements) == set(last.plan.placements) and _keys(plan.misfits) == _keys(
        last.plan.misfits
    )


def _verified(snapshot: Snapshot, plan: Plan) -> tuple[Plan | None, tuple[int, ...]]:
    """The plan, or what fits of it: its groups one after another; and those that do not."""
    violations = verify(snapshot, plan)
    if not violations:
        return plan, ()
    first = violations[0]
    _log.warning(
        "plan_refused base_revision=%d revision=%d violations=%d rule=%s subject=%s message=%r",
        plan.base_revision,
        snapshot.revision,
        len(violations),
        first.rule,
        first.subject,
        first.message,
    )
    chosen = tuple(
        Placement(
            replica=one.replica, deployment=one.deployment, node=one.node, devices=one.devices
        )
        for one in snapshot.allocations
        if one.desired is Desired.RUNNING
    )
    fitting: Plan | None = None
    refused: list[int] = []
    for group in sorted({one.group for one in plan.moves if one.kind is not MoveKind.ADJUST}):
        tried = _with_group(chosen, plan, group)
        candidate = _replanned(snapshot, plan, tried)
        if candidate is None:
            refused.append(group)
        else:
            chosen, fitting = tried, candidate
    return fitting, tuple(refused)


def _with_group(placements: tuple[Placement, ...], plan: Plan, group: int) -> tuple[Placement, ...]:
    """The placements after one group of the plan's moves; shares follow later."""
    group_moves = [one for one in plan.moves if one.group == group]
    removed = {one.replica for one in group_moves if one.kind is MoveKind.REMOVE}
    added = tuple(
        plan.placements[int(one.replica.removeprefix("new:"))]
        for one in group_moves
        if one.kind is MoveKind.ADD
    )
    return (*(one for one in placements if one.replica not in removed), *added)


def _replanned(snapshot: Snapshot, plan: Plan, placements: tuple[Placement, ...]) -> Plan | None:
    """A plan of those placements alone; None if it breaks a rule.

    Shares, moves, terms and misfits are its own: what the whole plan promised or lacked is not
    what is committed. So is the bound, which was proven of another state.
    """
    nodes = {node.id for node in snapshot.nodes}
    wanted = {deployment.id for deployment in snapshot.deployments}
    if any(one.node not in nodes or one.deployment not in wanted for one in placements):
        return None
    candidate = drafted(snapshot, placements, solver=plan.solver)
    candidate = replace(candidate, base_revision=plan.base_revision)
    return None if verify(snapshot, candidate) else candidate


def _keys(misfits: tuple[Misfit, ...]) -> frozenset[tuple[str, str | None, str]]:
    return frozenset((one.deployment, one.node, one.dimension) for one in misfits)
