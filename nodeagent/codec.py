"""Protobuf at the agent's border.

Owns the way from NodeAssignment to domain values, and from domain values to what an agent
says of itself. Refuses UNSPECIFIED and values no engine can be started with: one bad
replica becomes an `UnusableReplica`, the rest of the assignment goes on.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from slacktide.v1 import agent_service_pb2, deployment_pb2, node_pb2, replica_pb2, slo_pb2
from slacktide.wire.names import resource_id, resource_name

from nodeagent.assignment import Assignment, DesiredReplica, UnusableReplica
from nodeagent.models.facts import ModelFacts
from nodeagent.status import ReplicaLoad, ReplicaStatus
from planner.model import OFFLINE_ONLY, Desired, Device, ReplicaState, Slo, Stage

_STAGES = {
    deployment_pb2.STAGE_UNSPECIFIED: Stage.OBSERVE,  # as deployment.proto says
    deployment_pb2.STAGE_OBSERVE: Stage.OBSERVE,
    deployment_pb2.STAGE_SHADOW: Stage.SHADOW,
    deployment_pb2.STAGE_CANARY: Stage.CANARY,
    deployment_pb2.STAGE_ACTIVE: Stage.ACTIVE,
}
_DESIRED = {
    replica_pb2.DESIRED_STATE_RUNNING: Desired.RUNNING,
    replica_pb2.DESIRED_STATE_STOPPED: Desired.STOPPED,
}
REPLICA_STATES = {
    ReplicaState.PENDING: replica_pb2.REPLICA_STATE_PENDING,
    ReplicaState.STARTING: replica_pb2.REPLICA_STATE_STARTING,
    ReplicaState.RUNNING: replica_pb2.REPLICA_STATE_RUNNING,
    ReplicaState.DRAINING: replica_pb2.REPLICA_STATE_DRAINING,
    ReplicaState.STOPPED: replica_pb2.REPLICA_STATE_STOPPED,
    ReplicaState.FAILED: replica_pb2.REPLICA_STATE_FAILED,
    ReplicaState.LOST: replica_pb2.REPLICA_STATE_LOST,
}

# Defaults of deployment.proto, for control planes that leave them to the agent.
_KV_CACHE_TOKENS = 32768
_MAX_RUNNING_REQUESTS = 32
_CHUNKED_PREFILL_SIZE = 512


def assignment_from_proto(
    message: agent_service_pb2.NodeAssignment, *, devices: Sequence[Device]
) -> Assignment:
    """Reads an assignment; replicas that cannot run on these devices become unusable."""
    replicas: list[DesiredReplica] = []
    unusable: list[UnusableReplica] = []
    for assigned in message.replicas:
        try:
            replicas.append(_replica_from_proto(assigned, devices=devices))
        except ValueError as error:
            name = assigned.replica.name
            unusable.append(
                UnusableReplica(id=name.removeprefix("replicas/"), message=f"{name}: {error}")
            )
    return Assignment(
        epoch=message.epoch,
        revision=message.revision,
        replicas=tuple(replicas),
        unusable=tuple(unusable),
        kill_switch=message.kill_switch,
        cordoned=message.cordoned,
        wanted_models=tuple(message.wanted_models),
    )


def slo_from_proto(message: slo_pb2.Slo) -> Slo:
    """Reads an SLO.

    Raises:
        ValueError: a target is missing or not positive.
    """

    def milliseconds(field: str) -> float | None:
        if not message.HasField(field):
            return None
        value: float = getattr(message, field).ToNanoseconds() / 1e6
        if value <= 0:
            raise ValueError(f"slo.{field}: got {value:g} ms, allowed are durations > 0")
        return value

    ttft_ms, itl_ms, tpot_ms = milliseconds("ttft"), milliseconds("itl"), milliseconds("tpot")
    if ttft_ms is None:
        raise ValueError("slo.ttft: missing; state a duration > 0")
    if (itl_ms is None) == (tpot_ms is None):
        raise ValueError("slo: exactly one of itl and tpot must be set")
    return Slo(
        ttft_ms=ttft_ms,
        itl_ms=itl_ms,
        tpot_ms=tpot_ms,
        max_gap_ms=milliseconds("max_gap"),
        attainment_ratio=message.attainment_ratio or 0.99,
    )


def node_to_proto(
    *,
    node: str,
    address: str,
    failure_domain: str,
    devices: Sequence[Device],
    labels: Sequence[tuple[str, str]],
    agent_version: str,
    sglang_version: str,
    host_memory_bytes: int = 0,
    warm_models: Sequence[str] = (),
) -> node_pb2.Node:
    """What the agent says of its node."""
    return node_pb2.Node(
        name=resource_name("nodes", node),
        address=address,
        failure_domain=failure_domain,
        devices=[
            node_pb2.Device(index=d.index, device_type=d.device_type, memory_bytes=d.memory_bytes)
            for d in devices
        ],
        agent_version=agent_version,
        sglang_version=sglang_version,
        labels=dict(labels),
        host_memory_bytes=host_memory_bytes,
        warm_models=warm_models,
    )


def model_folder(model: str, *, models_dir: Path) -> Path:
    """Where a deployment's model lies: an absolute folder, or a name in the model folder.

    Raises:
        ValueError: the name leaves the model folder.
    """
    if not model or ".." in Path(model).parts:
        raise ValueError(f"model {model!r}: allowed is a folder's absolute path or plain name")
    return models_dir / model  # an absolute model wins


def _replica_from_proto(
    assigned: agent_service_pb2.AssignedReplica, *, devices: Sequence[Device]
) -> DesiredReplica:
    replica, spec = assigned.replica, assigned.spec
    desired = _DESIRED.get(replica.desired)
    if desired is None:
        raise ValueError(f"desired state {replica.desired}: allowed are RUNNING and STOPPED")
    stage = _STAGES.get(spec.stage)
    if stage is None:
        raise ValueError(f"stage {spec.stage}: unknown to this release, upgrade the agent")
    indices = tuple(replica.device_indices)
    known = {device.index for device in devices}
    missing = sorted(set(indices) - known)
    if not indices or missing:
        raise ValueError(f"device_indices {list(indices)}: this node has {sorted(known)}")
    tensor_parallel_size = spec.tensor_parallel_size or 1
    if len(indices) != tensor_parallel_size:
        raise ValueError(
            f"device_indices {list(indices)}: tensor_parallel_size is {tensor_parallel_size}"
        )
    for field in (
        "kv_cache_tokens",
        "max_context_tokens",
        "max_running_requests",
        "chunked_prefill_size",
    ):
        if getattr(spec, field) < 0:
            raise ValueError(f"{field} {getattr(spec, field)}: allowed are integers >= 0")
    classes = tuple((one.id, slo_from_proto(one.slo)) for one in spec.slo_classes)
    latency_budget_ms = replica.latency_budget_ms or spec.latency_budget_ms
    for field, number in (
        ("latency_budget_ms", latency_budget_ms),
        ("online_share", replica.online_share),
        ("offline_share", replica.offline_share),
    ):
        if not 0.0 <= number < math.inf:
            raise ValueError(f"{field} {number}: allowed are finite numbers >= 0")
    return DesiredReplica(
        id=resource_id("replicas", replica.name),
        deployment=resource_id("deployments", replica.deployment),
        model=spec.model,
        slo=_held_to(replica.slo_class, classes, slo_from_proto(spec.slo)),
        device_indices=indices,
        desired=desired,
        online_share=replica.online_share,
        offline_share=replica.offline_share,
        latency_budget_ms=latency_budget_ms,
        stage=stage,
        tensor_parallel_size=tensor_parallel_size,
        kv_cache_tokens=spec.kv_cache_tokens or _KV_CACHE_TOKENS,
        max_context_tokens=spec.max_context_tokens,
        max_running_requests=spec.max_running_requests or _MAX_RUNNING_REQUESTS,
        chunked_prefill_size=spec.chunked_prefill_size or _CHUNKED_PREFILL_SIZE,
        dtype=spec.dtype,
        drain_grace_s=assigned.drain_grace.ToNanoseconds() / 1e9,
        slo_class=replica.slo_class,
        slo_classes=classes,
    )


def _held_to(slo_class: str, classes: Sequence[tuple[str, Slo]], own: Slo) -> Slo:
    """What a replica is held to: its class, the tightest where it is not known, or `own`.

    One that serves no online requests is held to the loosest: it only ever stands in.
    """
    if not classes:
        return own
    if slo_class == OFFLINE_ONLY:
        return classes[-1][1]
    return dict(classes).get(slo_class, classes[0][1])


def load_to_proto(load: ReplicaLoad) -> replica_pb2.ReplicaLoad:
    """Load for reports and for the responses of requests."""
    return replica_pb2.ReplicaLoad(
        online_running=load.online_running,
        online_waiting=load.online_waiting,
        offline_running=load.offline_running,
        offline_parked=load.offline_parked,
        offline_waiting=load.offline_waiting,
        online_work=load.online_work,
        offline_work=load.offline_work,
        kv_used_ratio=load.kv_used_ratio,
        offline_tokens_total=load.offline_tokens_total,
        online_tokens_total=load.online_tokens_total,
        online_work_by_class=[
            replica_pb2.ClassWork(slo_class=name, online_work=work)
            for name, work in load.online_work_by_class
        ],
    )


def status_to_proto(status: ReplicaStatus) -> replica_pb2.ReplicaReport:
    """A replica's report."""
    report = replica_pb2.ReplicaReport(
        replica=resource_name("replicas", status.id),
        state=REPLICA_STATES[status.state],
        message=status.message,
        engine_version=status.engine_version,
        plugin_version=status.plugin_version,
        offline_admitted=not status.offline_refusal,
        offline_refusal=status.offline_refusal,
        starts=status.starts,
    )
    if status.load is not None:
        report.load.CopyFrom(load_to_proto(status.load))
    if (latency := status.latency) is not None:
        report.latency.CopyFrom(
            replica_pb2.LatencyWindow(
                requests=latency.requests,
                attained=latency.attained,
                ttft_p50_ms=latency.ttft_ms.p50,
                ttft_p99_ms=latency.ttft_ms.p99,
                ttft_mean_ms=latency.ttft_ms.mean,
                itl_p50_ms=latency.itl_ms.p50,
                itl_p99_ms=latency.itl_ms.p99,
                itl_mean_ms=latency.itl_ms.mean,
            )
        )
    if (iterations := status.iterations) is not None:
        report.iterations.CopyFrom(
            replica_pb2.IterationWindow(
                count=iterations.count,
                measured_p50_ms=iterations.measured_p50_ms,
                measured_p99_ms=iterations.measured_p99_ms,
                error_ratio=iterations.error_ratio,
                coverage_ratio=iterations.coverage_ratio,
                model_identity=iterations.model_identity,
            )
        )
    return report


def facts_to_proto(model: str, facts: ModelFacts | str) -> agent_service_pb2.ModelFacts:
    """What a model needs, or why it cannot be served."""
    if isinstance(facts, str):
        return agent_service_pb2.ModelFacts(model=model, error=facts)
    return agent_service_pb2.ModelFacts(
        model=model,
        weights_bytes=facts.weights_bytes,
        kv_bytes_per_token=facts.kv_bytes_per_token,
        max_context_tokens=facts.max_context_tokens,
    )
