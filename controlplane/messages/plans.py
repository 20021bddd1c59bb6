"""Plan messages."""

from slacktide.v1 import placement_pb2
from slacktide.wire.names import resource_name

from controlplane.messages.scalars import to_duration, to_timestamp
from planner.model import Misfit, Move, MoveKind, Placement, Plan, PlanStatus
from storage.records import PlanRecord

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


def to_plan_entry(record: PlanRecord) -> placement_pb2.Plan:
    """A committed plan of the ledger."""
    message = to_plan(record.plan)
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
        terms=[
            placement_pb2.ObjectiveTerm(name=term.name, weight=term.weight, value=term.value)
            for term in plan.terms
        ],
        placements=[_placement(one) for one in plan.placements],
        moves=[_move(one) for one in plan.moves],
        misfits=[_misfit(one) for one in plan.misfits],
    )


def _placement(placement: Placement) -> placement_pb2.Placement:
    return placement_pb2.Placement(
        replica=resource_name("replicas", placement.replica or ""),
        deployment=resource_name("deployments", placement.deployment),
        node=resource_name("nodes", placement.node),
        device_indices=placement.devices,
        online_share=placement.online_share,
        offline_share=placement.offline_share,
        latency_budget_ms=placement.latency_budget_ms,
    )


def _move(move: Move) -> placement_pb2.Move:
    return placement_pb2.Move(
        group=move.group,
        kind=_KIND_VALUES[move.kind],
        replica=resource_name("replicas", move.replica),
        deployment=resource_name("deployments", move.deployment),
        node=resource_name("nodes", move.node),
        after=[resource_name("replicas", other) for other in move.after],
        reason=move.reason,
    )


def _misfit(misfit: Misfit) -> placement_pb2.Misfit:
    return placement_pb2.Misfit(
        deployment=resource_name("deployments", misfit.deployment),
        node=resource_name("nodes", misfit.node or ""),
        dimension=misfit.dimension,
        needed=misfit.needed,
        available=misfit.available,
        message=misfit.message,
    )
