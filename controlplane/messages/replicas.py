"""Replica messages."""

import math
from collections.abc import Mapping

from slacktide.v1 import replica_pb2
from slacktide.wire.names import resource_name

from controlplane.messages.scalars import to_timestamp
from planner.model import Desired, ReplicaState
from storage.records import AllocationRecord

STATE_VALUES = {
    ReplicaState.PENDING: replica_pb2.REPLICA_STATE_PENDING,
    ReplicaState.STARTING: replica_pb2.REPLICA_STATE_STARTING,
    ReplicaState.RUNNING: replica_pb2.REPLICA_STATE_RUNNING,
    ReplicaState.DRAINING: replica_pb2.REPLICA_STATE_DRAINING,
    ReplicaState.STOPPED: replica_pb2.REPLICA_STATE_STOPPED,
    ReplicaState.FAILED: replica_pb2.REPLICA_STATE_FAILED,
    ReplicaState.LOST: replica_pb2.REPLICA_STATE_LOST,
}
_STATES = {value: state for state, value in STATE_VALUES.items()}

_DESIRED_VALUES = {
    Desired.RUNNING: replica_pb2.DESIRED_STATE_RUNNING,
    Desired.STOPPED: replica_pb2.DESIRED_STATE_STOPPED,
}


def parse_state(value: replica_pb2.ReplicaState) -> ReplicaState | None:
    """The state, or None for one this release does not know."""
    return _STATES.get(value)


def to_replica(
    record: AllocationRecord, *, report: replica_pb2.ReplicaReport | None = None
) -> replica_pb2.Replica:
    """The allocation with its last report, as clients see it."""
    one = record.allocation
    shown = replica_pb2.ReplicaReport(message=record.message) if report is None else report
    return replica_pb2.Replica(
        name=resource_name("replicas", one.replica),
        deployment=resource_name("deployments", one.deployment),
        node=resource_name("nodes", one.node),
        device_indices=one.devices,
        desired=_DESIRED_VALUES[one.desired],
        state=STATE_VALUES[one.state],
        online_share=one.online_share,
        offline_share=one.offline_share,
        latency_budget_ms=one.latency_budget_ms,
        after=[resource_name("replicas", other) for other in one.after],
        round=record.round,
        report=shown,
        create_time=to_timestamp(record.create_s),
        slo_class=one.slo_class,
    )


def class_work(load: replica_pb2.ReplicaLoad) -> Mapping[str, float]:
    """Online work by SLO class, engine-ms per second, as an agent reports it.

    Empty of replicas without classes, and of agents that do not tell. What is no
    number, or less than 0, counts as none.
    """
    return {
        one.slo_class: one.online_work
        for one in load.online_work_by_class
        if math.isfinite(one.online_work) and one.online_work >= 0.0
    }
