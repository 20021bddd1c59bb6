"""Plan messages.

Owns reading back a plan that a client wants applied: its placements and what waits, no
more, since shares, moves and terms are made anew from them.
"""

import math
from collections.abc import Sequence

from slacktide.v1 import placement_pb2
from slacktide.wire.names import resource_id, resource_name

from controlplane.messages.scalars import to_duration, to_timestamp
from planner.model import Misfit, Move, MoveKind, ObjectiveTerm, Placement, Plan, PlanStatus
from storage.plan_records import PlanOutcome, PlanRecord

_STATUS_VALUES = {
    PlanStatus.OPTIMAL: placement_pb2.PLAN_STATUS_OPTIMAL,
    PlanStatus.FEASIBLE: placement_pb2.PLAN_STATUS_FEASIBLE,
    PlanStatus.KEPT_INCUMBENT: placement_pb2.PLAN_STATUS_KEPT_INCUMBENT,
    PlanStatus.INFEASIBLE: placement_pb2.PLAN_STATUS_INFEASIBLE,
}
_KIND_VALUES = {
    MoveKind.ADD: placement_pb2.MOVE_KIND_ADD,
    MoveKind.REMOVE: placement_pb2.MOVE_KIND_REMOVE,
    MoveKind.ADJUST: placement_pb2.MOVE_KIND_ADJUST,
}
_OUTCOME_VALUES = {
    PlanOutcome.APPLIED: placement_pb2.ROUND_OUTCOME_APPLIED,
    PlanOutcome.PARTLY_APPLIED: placement_pb2.ROUND_OUTCOME_PARTLY_APPLIED,
    PlanOutcome.UNCHANGED: placement_pb2.ROUND_OUTCOME_UNCHANGED,
    PlanOutcome.REFUSED: placement_pb2.ROUND_OUTCOME_REFUSED,
    PlanOutcome.FROZEN: placement_pb2.ROUND_OUTCOME_FROZEN,
    PlanOutcome.FAILED: placement_pb2.ROUND_OUTCOME_FAILED,
}

MAX_PLACEMENTS = 100_000
_MAX_SHARE = 1e9


def parse_placements(
    messages: Sequence[placement_pb2.Placement], found: list[tuple[str, str]], *, path: str
) -> tuple[Placement, ...]:
    """Placements a client hands back; those at fault are left out.

    Args:
        messages: As `to_plan` wrote them; an empty replica is a new one.
        found: (field, what is wrong) pairs are added here.
        path: Of the list within the request.
    """
    if len(messages) > MAX_PLACEMENTS:
        found.append((path, f"{len(messages)} of them: at most {MAX_PLACEMENTS}"))
        return ()
    parsed = []
    for index, message in enumerate(messages):
        here = f"{path}[{index}]"
        try:
            parsed.append(_parse_placement(message))
        except ValueError as error:
            found.append((here, str(error)))
    return tuple(parsed)


def _parse_placement(message: placement_pb2.Placement) -> Placement:
    shares = (message.online_share, message.offline_share, message.latency_budget_ms)
    if not all(math.isfinite(one) and 0 <= one <= _MAX_SHARE for one in shares):
        raise ValueError(f"shares {shares}: must be 0 to {_MAX_SHARE:g}")
    indices = tuple(sorted(message.device_indices))
    if not indices or len(set(indices)) < len(indices) or indices[0] < 0:
        raise ValueError(f"device_indices {list(indices)[:16]}: expected some, each once")
    return Placement(
        replica=resource_id("replicas", message.replica) if message.replica else None,
        deployment=resource_id("deployments", message.deployment),
        node=resource_id("nodes", message.node),
        devices=indices,
        online_share=message.online_share,
        offline_share=message.offline_share,
        latency_budget_ms=message.latency_budget_ms,
        slo_class=message.slo_class,
    )


def to_plan_entry(record: PlanRecord, *, is_whole: bool = True) -> placement_pb2.Plan:
    """A round of the ledger; not `is_whole`: without placements and what waits."""
    message = to_plan(record.plan)
    if not is_whole:
        message.ClearField("placements")
        message.ClearField("waiting")
    message.inputs_hash = record.inputs_hash
    message.outcome = _OUTCOME_VALUES[record.outcome]
    message.failure = record.failure
    message.refused_groups.extend(record.refused_groups)
    message.placements_from = resource_name("plans", str(record.placements_from or ""))
    message.name = resource_name("plans", str(record.round))
    message.epoch = record.epoch
    message.trigger = record.trigger
    message.solve_duration.CopyFrom(to_duration(record.solve_s * 1e3))
    created = to_timestamp(record.create_s)
    assert created is not None
    message.create_time.CopyFrom(created)
    return message


def to_plan(plan: Plan) -> placement_pb2.Plan:
    """A plan that no round committed: a dry run."""
    return placement_pb2.Plan(
        base_revision=plan.base_revision,
        status=_STATUS_VALUES[plan.status],
        solver=plan.solver,
        objective=plan.objective,
        bound=plan.bound,
        gap=plan.gap,
        terms=[to_term(term) for term in plan.terms],
        placements=[_placement(one) for one in plan.placements],
        moves=[to_move(one) for one in plan.moves],
        misfits=[to_misfit(one) for one in plan.misfits],
        waiting=[_placement(one) for one in plan.waiting],
    )


def to_term(term: ObjectiveTerm) -> placement_pb2.ObjectiveTerm:
    """One summand of the objective."""
    return placement_pb2.ObjectiveTerm(name=term.name, weight=term.weight, value=term.value)


def _placement(placement: Placement) -> placement_pb2.Placement:
    return placement_pb2.Placement(
        replica=resource_name("replicas", placement.replica or ""),
        deployment=resource_name("deployments", placement.deployment),
        node=resource_name("nodes", placement.node),
        device_indices=placement.devices,
        online_share=placement.online_share,
        offline_share=placement.offline_share,
        latency_budget_ms=placement.latency_budget_ms,
        slo_class=placement.slo_class,
    )


def to_move(move: Move) -> placement_pb2.Move:
    """One step of a plan."""
    return placement_pb2.Move(
        group=move.group,
        kind=_KIND_VALUES[move.kind],
        replica=resource_name("replicas", move.replica),
        deployment=resource_name("deployments", move.deployment),
        node=resource_name("nodes", move.node),
        after=[resource_name("replicas", other) for other in move.after],
        reason=move.reason,
    )


def to_misfit(misfit: Misfit) -> placement_pb2.Misfit:
    """Why something does not fit."""
    return placement_pb2.Misfit(
        deployment=resource_name("deployments", misfit.deployment),
        node=resource_name("nodes", misfit.node or ""),
        dimension=misfit.dimension,
        needed=misfit.needed,
        available=misfit.available,
        message=misfit.message,
    )
