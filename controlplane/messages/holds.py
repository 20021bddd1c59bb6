"""Messages of what operators hold fixed: pins and freezes; and of tenants."""

import grpc
from slacktide.v1 import placement_pb2, tenant_pb2
from slacktide.wire.errors import Refusal
from slacktide.wire.names import resource_id, resource_name

from controlplane.messages.scalars import to_timestamp
from storage.plan_records import FLEET_TARGET, FreezeRecord, PinRecord, TenantRecord

MAX_WEIGHT = 1e6
MAX_QUOTA = 1e9  # a million replicas' worth, engine-ms per second


def to_pin(pin: PinRecord) -> placement_pb2.Pin:
    """The pin."""
    return placement_pb2.Pin(
        deployment=resource_name("deployments", pin.deployment),
        node=resource_name("nodes", pin.node),
        replicas=pin.replicas,
        reason=pin.reason,
        create_time=to_timestamp(pin.create_s),
    )


def to_freeze(freeze: FreezeRecord) -> placement_pb2.Freeze:
    """The freeze; its target is a resource name already."""
    return placement_pb2.Freeze(
        target=freeze.target, reason=freeze.reason, create_time=to_timestamp(freeze.create_s)
    )


def parse_target(target: str) -> tuple[str, str]:
    """What is to be frozen.

    Returns:
        ("", "") for the fleet, else the collection and the id.

    Raises:
        Refusal: INVALID_ARGUMENT, it is no name of a deployment or a node.
    """
    if target == FLEET_TARGET:
        return "", ""
    collection = target.partition("/")[0]
    try:
        if collection not in ("deployments", "nodes"):
            raise ValueError(
                f"target {target[:80]!r}: expected deployments/<id>, nodes/<id>, or nothing for"
                " the whole fleet"
            )
        return collection, resource_id(collection, target)
    except ValueError as error:
        raise Refusal(
            code=grpc.StatusCode.INVALID_ARGUMENT,
            reason="INVALID_TARGET",
            message=str(error),
            violations=[("target", str(error))],
        ) from error


def parse_tenant(message: tenant_pb2.Tenant, *, now_s: float) -> TenantRecord:
    """A tenant as a client describes it, made now.

    Raises:
        Refusal: INVALID_ARGUMENT with one violation for each field at fault.
    """
    found: list[tuple[str, str]] = []
    id_ = ""
    try:
        id_ = resource_id("tenants", message.name)
    except ValueError as error:
        found.append(("tenant.name", str(error)))
    if not 0 <= message.weight <= MAX_WEIGHT:  # also refuses NaN
        found.append(
            ("tenant.weight", f"{message.weight:g}: must be 0 to {MAX_WEIGHT:g}; 0 means 1")
        )
    quota = message.max_offline_work if message.HasField("max_offline_work") else None
    if quota is not None and not 0 <= quota <= MAX_QUOTA:
        found.append(
            (
                "tenant.max_offline_work",
                f"{quota:g}: must be 0 to {MAX_QUOTA:g} engine-ms per second; unset means none",
            )
        )
    if found:
        raise Refusal(
            code=grpc.StatusCode.INVALID_ARGUMENT,
            reason="INVALID_TENANT",
            message=f"tenant {id_ or '(unnamed)'}: "
            + "; ".join(f"{field.removeprefix('tenant.')} {text}" for field, text in found),
            violations=found,
        )
    return TenantRecord(
        id=id_,
        weight=message.weight or 1.0,
        max_offline_work=quota,
        create_s=now_s,
        update_s=now_s,
    )


def to_tenant(record: TenantRecord) -> tenant_pb2.Tenant:
    """The tenant."""
    return tenant_pb2.Tenant(
        name=resource_name("tenants", record.id),
        weight=record.weight,
        max_offline_work=record.max_offline_work,
        create_time=to_timestamp(record.create_s),
        update_time=to_timestamp(record.update_s),
    )
