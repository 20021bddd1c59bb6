"""The desired state of one node, as its agent is told.

Invariant: a pure function of the committed state; a removal that waits for other
replicas is told as RUNNING, so that service goes on meanwhile.
"""

from slacktide.v1 import agent_service_pb2, deployment_pb2, replica_pb2

from controlplane.messages.deployments import to_spec
from controlplane.messages.replicas import to_replica
from controlplane.messages.scalars import to_duration
from storage.records import AllocationRecord, FleetView, NodeRecord

DRAIN_GRACE_S = 60.0
"""How long running online requests may take when nothing more urgent is said."""


def node_assignment(
    view: FleetView, node: str, *, now_s: float
) -> agent_service_pb2.NodeAssignment:
    """Everything the node shall run, at the view's epoch and revision.

    Args:
        view: the committed state.
        node: bare id of a registered node.
        now_s: Unix seconds, against which drain deadlines are held.
    """
    record = view.node(node)
    return agent_service_pb2.NodeAssignment(
        epoch=view.state.epoch,
        revision=view.state.revision,
        replicas=[
            _assigned(view, one, grace_s=_grace_s(record, now_s=now_s))
            for one in view.on_node(node)
        ],
        kill_switch=view.state.kill_switch,
        cordoned=record is not None and (record.is_cordoned or record.is_draining),
        wanted_models=wanted_models(view),
    )


def wanted_models(view: FleetView) -> tuple[str, ...]:
    """Models whose needs are not known yet, sorted."""
    return tuple(
        sorted(
            {
                one.spec.engine.model
                for one in view.deployments
                if not one.is_deleted and one.needs is None and not one.spec.engine.is_sized
            }
        )
    )


def content_of(assignment: agent_service_pb2.NodeAssignment) -> bytes:
    """What makes two assignments differ: all but the revision and the time left to drain."""
    content = agent_service_pb2.NodeAssignment()
    content.CopyFrom(assignment)
    content.revision = 0
    for replica in content.replicas:
        is_urgent = replica.HasField("drain_grace") and replica.drain_grace.ToNanoseconds() == 0
        replica.drain_grace.CopyFrom(to_duration(0.0 if is_urgent else DRAIN_GRACE_S * 1e3))
        replica.replica.state = replica_pb2.REPLICA_STATE_UNSPECIFIED
        replica.replica.ClearField("report")
    return content.SerializeToString(deterministic=True)


def _grace_s(record: NodeRecord | None, *, now_s: float) -> float:
    if record is None or record.drain_deadline_s is None:
        return DRAIN_GRACE_S
    return max(0.0, record.drain_deadline_s - now_s)


def _assigned(
    view: FleetView, record: AllocationRecord, *, grace_s: float
) -> agent_service_pb2.AssignedReplica:
    deployment = view.deployment(record.allocation.deployment)
    assert deployment is not None  # a foreign key holds it
    spec = to_spec(deployment.spec, engine=record.engine)
    if deployment.is_deleted:
        spec.stage = deployment_pb2.STAGE_OBSERVE
    replica = to_replica(record)
    replica.ClearField("report")
    if not record.is_released:
        replica.desired = replica_pb2.DESIRED_STATE_RUNNING
        return agent_service_pb2.AssignedReplica(replica=replica, spec=spec)
    return agent_service_pb2.AssignedReplica(
        replica=replica, spec=spec, drain_grace=to_duration(grace_s * 1e3)
    )
