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

from planner.placement.verify import verify

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
    """The plan, or its groups that still fit together; and the groups that do not."""
    if not (violations := verify(snapshot, plan)):
        return plan, ()
    _log.warning("plan_refused violations=%d first=%s", len(violations), violations[0])
    standing = _as_it_is(snapshot, plan)
    if verify(snapshot, standing):
        return None, tuple(sorted({move.group for move in plan.moves}))
    refused: list[int] = []
    for group in sorted({move.group for move in plan.moves}):
        tried = _with_group(standing, plan, group)
        if verify(snapshot, tried):
            refused.append(group)
        else:
            standing = tried
    return (standing if standing.moves else None), tuple(refused)


def _as_it_is(snapshot: Snapshot, plan: Plan) -> Plan:
    """A plan that changes nothing."""
    return replace(
        plan,
        base_revision=snapshot.revision,
        moves=(),
        placements=tuple(
            Placement(
                replica=one.replica,
                deployment=one.deployment,
                node=one.node,
                devices=one.devices,
                online_share=one.online_share,
                offline_share=one.offline_share,
                latency_budget_ms=one.latency_budget_ms,
            )
            for one in snapshot.allocations
            if one.desired is Desired.RUNNING
        ),
    )


def _with_group(standing: Plan, plan: Plan, group: int) -> Plan:
    """The standing plan with one more group of `plan`'s moves done."""
    moves = tuple(move for move in plan.moves if move.group == group)
    planned = {one.replica: one for one in plan.placements if one.replica is not None}
    placements = {one.replica or f"new:{i}": one for i, one in enumerate(standing.placements)}
    renamed: dict[str, str] = {}
    for move in moves:
        match move.kind:
            case MoveKind.ADD:
                name = f"new:{len(placements)}"
                renamed[move.replica] = name
                placements[name] = plan.placements[int(move.replica.removeprefix("new:"))]
            case MoveKind.REMOVE:
                placements.pop(move.replica, None)
            case MoveKind.ADJUST:
                placements[move.replica] = planned[move.replica]
    order = {name: f"new:{i}" for i, name in enumerate(placements)}
    done = tuple(
        replace(
            move,
            replica=order.get(renamed.get(move.replica, move.replica), move.replica)
            if move.kind is MoveKind.ADD
            else move.replica,
            after=tuple(order[renamed[o]] if o in renamed else o for o in move.after),
        )
        for move in moves
    )
    return replace(standing, placements=tuple(placements.values()), moves=(*standing.moves, *done))


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
