"""Deployment messages: every check of what a client asks for, and the way back.

Owns the defaults the contract names. Invariant: a specification that parses can be
planned; one that does not is refused with every violation at once.
"""

import re

import grpc
from slacktide.v1 import deployment_pb2
from slacktide.wire.errors import Refusal
from slacktide.wire.names import resource_name

from controlplane.messages.placing import parse_placing, placing_of
from controlplane.messages.scalars import to_timestamp
from controlplane.messages.slo import Violations, parse_slo, to_slo
from planner.model import Stage
from storage.records import DeploymentRecord, DeploymentSpec, EngineSpec

MAX_ID_CHARACTERS = 56
"""Leaves room for the suffix of a replica's id within the 63 of a resource id."""

MAX_REPLICAS = 1000
MAX_PATH_CHARACTERS = 4096

_MOST_COUNTS = {
    "min_replicas": MAX_REPLICAS,
    "max_replicas": MAX_REPLICAS,
    "tensor_parallel_size": 64,
    "weights_bytes": 1 << 53,  # 8 PiB, and exact in a double
    "kv_cache_tokens": 1 << 31,
    "kv_bytes_per_token": 1 << 31,
    "max_context_tokens": 1 << 31,
    "max_running_requests": 1 << 20,
    "chunked_prefill_size": 1 << 24,
    "host_memory_bytes": 1 << 53,
}
_MOST_NUMBERS = {
    "expected_online_work": 1e9,  # a million replicas' worth, engine-ms per second
    "latency_budget_ms": 60_000.0,
    "offline_weight": 1e6,
    "failover_ratio": 1.0,
}
_NAME_RULE = "expected 1 to 63 ASCII characters, a letter or digit first"
_NAME = re.compile(r"[A-Za-z0-9][ -~]{0,62}")
_ID = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_STAGES = {
    deployment_pb2.STAGE_UNSPECIFIED: Stage.OBSERVE,
    deployment_pb2.STAGE_OBSERVE: Stage.OBSERVE,
    deployment_pb2.STAGE_SHADOW: Stage.SHADOW,
    deployment_pb2.STAGE_CANARY: Stage.CANARY,
    deployment_pb2.STAGE_ACTIVE: Stage.ACTIVE,
}
_STAGE_VALUES = {stage: value for value, stage in _STAGES.items() if value}


def parse_deployment(message: deployment_pb2.Deployment) -> tuple[str, DeploymentSpec]:
    """The id and specification of a deployment, defaults filled in.

    Raises:
        Refusal: INVALID_ARGUMENT with one violation for each field at fault.
    """
    found: Violations = []
    id_ = message.name.removeprefix("deployments/")
    if (
        not message.name.startswith("deployments/")
        or not _ID.fullmatch(id_)
        or len(id_) > MAX_ID_CHARACTERS
    ):
        found.append(
            (
                "deployment.name",
                f"{message.name!r}: expected deployments/<id> with an id of 1 to"
                f" {MAX_ID_CHARACTERS} lower-case letters, digits and hyphens that starts with a"
                " letter",
            )
        )
    spec = message.spec
    slo = parse_slo(spec.slo, found, path="deployment.spec.slo")
    _check_counts(spec, found)
    placing = parse_placing(spec, found)
    if found or slo is None:
        raise Refusal(
            code=grpc.StatusCode.INVALID_ARGUMENT,
            reason="INVALID_DEPLOYMENT",
            message=f"deployment {id_ or '(unnamed)'}: "
            + "; ".join(f"{field.removeprefix('deployment.')} {text}" for field, text in found),
            violations=found,
        )
    return id_, DeploymentSpec(
        engine=EngineSpec(
            model=spec.model,
            tensor_parallel_size=spec.tensor_parallel_size or 1,
            weights_bytes=spec.weights_bytes,
            kv_cache_tokens=spec.kv_cache_tokens or 32_768,
            kv_bytes_per_token=spec.kv_bytes_per_token,
            max_context_tokens=spec.max_context_tokens,
            max_running_requests=spec.max_running_requests or 32,
            chunked_prefill_size=spec.chunked_prefill_size or 512,
            dtype=spec.dtype,
        ),
        slo=slo,
        min_replicas=spec.min_replicas,
        max_replicas=spec.max_replicas,
        device_types=tuple(sorted(set(spec.device_types))),
        stage=_STAGES[spec.stage],
        expected_online_work=spec.expected_online_work,
        spread=spec.spread,
        latency_budget_ms=spec.latency_budget_ms,
        offline_weight=spec.offline_weight or 1.0,
        **placing,
    )


def _check_counts(spec: deployment_pb2.DeploymentSpec, found: Violations) -> None:
    path = "deployment.spec"
    if not spec.model.strip():
        found.append((f"{path}.model", "is empty: name a model folder"))
    if len(spec.model) > MAX_PATH_CHARACTERS or not spec.model.isprintable():
        found.append(
            (
                f"{path}.model",
                f"has {len(spec.model)} characters: expected at most {MAX_PATH_CHARACTERS},"
                " all printable",
            )
        )
    for name, most in _MOST_COUNTS.items():
        count = getattr(spec, name)
        if not 0 <= count <= most:
            found.append((f"{path}.{name}", f"{count}: must be 0 to {most}"))
    for name, limit in _MOST_NUMBERS.items():
        value = getattr(spec, name)
        if not 0 <= value <= limit:  # also refuses NaN
            found.append((f"{path}.{name}", f"{value:g}: must be 0 to {limit:g}"))
    names = [("device_types", one) for one in spec.device_types]
    names += [("dtype", spec.dtype)] if spec.dtype else []
    found += [
        (f"{path}.{name}", f"{text[:64]!r}: {_NAME_RULE}")
        for name, text in names
        if not _NAME.fullmatch(text)
    ]
    least = max(1, spec.min_replicas)
    if spec.max_replicas < least and spec.max_replicas <= MAX_REPLICAS:
        found.append(
            (
                f"{path}.max_replicas",
                f"{spec.max_replicas}: must be at least {least}, max(1, min_replicas)",
            )
        )
    if spec.stage not in _STAGES:
        found.append((f"{path}.stage", f"{spec.stage}: is no stage this release knows"))


def to_spec(
    spec: DeploymentSpec, *, engine: EngineSpec | None = None
) -> deployment_pb2.DeploymentSpec:
    """The specification as a message; `engine` replaces its engine part."""
    run = engine or spec.engine
    return deployment_pb2.DeploymentSpec(
        model=run.model,
        slo=to_slo(spec.slo),
        min_replicas=spec.min_replicas,
        max_replicas=spec.max_replicas,
        tensor_parallel_size=run.tensor_parallel_size,
        device_types=spec.device_types,
        stage=_STAGE_VALUES[spec.stage],
        weights_bytes=run.weights_bytes,
        kv_cache_tokens=run.kv_cache_tokens,
        kv_bytes_per_token=run.kv_bytes_per_token,
        max_context_tokens=run.max_context_tokens,
        max_running_requests=run.max_running_requests,
        chunked_prefill_size=run.chunked_prefill_size,
        dtype=run.dtype,
        expected_online_work=spec.expected_online_work,
        spread=spec.spread,
        latency_budget_ms=spec.latency_budget_ms,
        offline_weight=spec.offline_weight,
        **placing_of(spec),
    )


def to_deployment(
    record: DeploymentRecord, *, running: int = 0, placed: int = 0, misfits: tuple[str, ...] = ()
) -> deployment_pb2.Deployment:
    """The deployment with what is observed of it."""
    return deployment_pb2.Deployment(
        name=resource_name("deployments", record.id),
        spec=to_spec(record.spec, engine=record.engine),
        generation=record.generation,
        status=deployment_pb2.DeploymentStatus(
            running_replicas=running, placed_replicas=placed, misfits=misfits
        ),
        create_time=to_timestamp(record.create_s),
        update_time=to_timestamp(record.update_s),
    )
