"""From a plan to committed state.

Owns the second verification, ids of new replicas, and the commit. Refuses to solve.
Invariants: what is committed passed `verify` against the state it is committed to, in
the same transaction; a move group is committed whole or not at all; a plan that changes
nothing writes nothing.
"""

import base64
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from controlplane.rounds.outcome import RoundOutcome
from controlplane.rounds.snapshot import Demand, build_snapshot
from planner.model import (
    Allocation,
    Desired,
    Misfit,
    MoveKind,
    Placement,
    Plan,
    ReplicaState,
    Snapshot,
)
from planner.placement.diff import moves
from planner.placement.fleet import survey
from planner.placement.shares import with_shares
from planner.placement.verify import verify
from storage.records import AllocationRecord, FleetView, PlanRecord
from storage.store import FleetTransaction

_log = logging.getLogger(__name__)


def new_replica_id(deployment: str) -> str:
    """`<deployment>-<6 letters or digits>`, from 30 random bits."""
    return f"{deployment}-{base64.b32encode(secrets.token_bytes(5)).decode()[:6].lower()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What became of a plan."""

    outcome: RoundOutcome
    record: PlanRecord | None = None  # None where nothing changed
    refused_groups: tuple[int, ...] = ()


def commit_plan(
    state: FleetTransaction,
    plan: Plan,
    *,
    demand: Demand,
    trigger: str,
    solve_s: float,
    last_misfits: tuple[Misfit, ...],
    make_id: Callable[[str], str] = new_replica_id,
) -> Committed:
    """Verifies a plan against the state of this transaction and commits what passes.

    Args:
        state: a transaction under the leader's epoch.
        plan: from the solver.
        demand: what the plan was computed for.
        trigger: what started the round.
        solve_s: how long solving took.
        last_misfits: of the plan in force.
        make_id: makes a replica's id of its deployment's.
    """
    view = state.view()
    snapshot = build_snapshot(view, demand)
    passed, refused = _verified(snapshot, plan)
    outcome = RoundOutcome(
        trigger=trigger,
        base_revision=plan.base_revision,
        status=plan.status,
        misfits=plan.misfits,
        failure=f"move groups {refused} no longer fit the state" if refused else "",
        solve_s=solve_s,
    )
    if passed is None:
        return Committed(outcome=outcome, refused_groups=refused)
    named = _named(passed, view, make_id=make_id)
    targets = _targets(view, named, round_=state.state.round + 1)
    known = {one.allocation.replica: one for one in view.allocations}
    changed = [one for one in targets if known.get(one.allocation.replica) != one]
    if not changed and _keys(plan.misfits) == _keys(last_misfits):
        return Committed(outcome=outcome, refused_groups=refused)
    for one in changed:
        state.put_allocation(one)
    record = state.append_plan(named, epoch=state.state.epoch, trigger=trigger, solve_s=solve_s)
    return Committed(
        outcome=replace(outcome, round=record.round), record=record, refused_groups=refused
    )


def _verified(snapshot: Snapshot, plan: Plan) -> tuple[Plan | None, tuple[int, ...]]:
    """The plan, or what fits of it: its groups one after another; and those that do not."""
    if not (violations := verify(snapshot, plan)):
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
    """A plan of those placements with shares and moves of its own; None if it breaks a rule."""
    nodes = {node.id for node in snapshot.nodes}
    wanted = {deployment.id for deployment in snapshot.deployments}
    if any(one.node not in nodes or one.deployment not in wanted for one in placements):
        return None
    shared = with_shares(survey(snapshot), placements)
    candidate = replace(
        plan,
        base_revision=snapshot.revision,
        placements=shared,
        moves=moves(snapshot, shared),
        waiting=(),
    )
    return None if verify(snapshot, candidate) else candidate


def _named(plan: Plan, view: FleetView, *, make_id: Callable[[str], str]) -> Plan:
    """The plan with an id for every new replica, in placements, moves and conditions."""
    taken = {one.allocation.replica for one in view.allocations}
    names: dict[str, str] = {}
    placements: list[Placement] = []
    for index, placement in enumerate(plan.placements):
        if placement.replica is None:
            id_ = make_id(placement.deployment)
            while id_ in taken:
                id_ = make_id(placement.deployment)
            taken.add(id_)
            names[f"new:{index}"] = id_
            placement = replace(placement, replica=id_)  # noqa: PLW2901
        placements.append(placement)
    return replace(
        plan,
        placements=tuple(placements),
        moves=tuple(
            replace(
                move,
                replica=names.get(move.replica, move.replica),
                after=tuple(names.get(other, other) for other in move.after),
            )
            for move in plan.moves
        ),
    )


def _targets(view: FleetView, plan: Plan, *, round_: int) -> list[AllocationRecord]:
    """Every allocation as it stands once the plan is committed."""
    placements = {one.replica: one for one in plan.placements}
    after = {one.replica: one.after for one in plan.moves if one.kind is MoveKind.REMOVE}
    targets = []
    for record in view.allocations:
        one = record.allocation
        placement = placements.pop(one.replica, None)
        if placement is not None:
            one = _placed(one, placement)
        elif one.desired is Desired.RUNNING:
            waits = () if one.state is ReplicaState.LOST else after.get(one.replica, ())
            one = replace(one, desired=Desired.STOPPED, after=waits)
        elif not record.is_released and one.replica in after:
            one = replace(one, after=after[one.replica])  # it waited for one that never comes
        targets.append(replace(record, allocation=one))
    now_s = time.time()
    for placement in placements.values():
        owner = view.deployment(placement.deployment)
        assert owner is not None  # verified
        assert placement.replica is not None  # named
        added = Allocation(
            replica=placement.replica,
            deployment=placement.deployment,
            node=placement.node,
            devices=placement.devices,
            generation=owner.generation,
        )
        targets.append(
            AllocationRecord(
                allocation=_placed(added, placement),
                engine=owner.engine,
                round=round_,
                create_s=now_s,
            )
        )
    return targets


def _placed(allocation: Allocation, placement: Placement) -> Allocation:
    return replace(
        allocation,
        desired=Desired.RUNNING,
        after=(),
        online_share=placement.online_share,
        offline_share=placement.offline_share,
        latency_budget_ms=placement.latency_budget_ms,
    )


def _keys(misfits: tuple[Misfit, ...]) -> frozenset[tuple[str, str | None, str]]:
    return frozenset((one.deployment, one.node, one.dimension) for one in misfits)
