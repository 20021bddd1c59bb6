"""Node messages."""

import re
from collections.abc import Iterable

import grpc
from slacktide.v1 import node_pb2
from slacktide.wire.errors import Refusal
from slacktide.wire.names import resource_id, resource_name

from controlplane.messages.scalars import spoken, to_timestamp
from planner.model import Device
from storage.records import NodeRecord

MAX_DEVICES = 64
MAX_BYTES = 1 << 50
"""1 PiB: more memory than any device has; above it a number is a mistake."""

MAX_WARM_MODELS = 256

_NAME_RULE = "expected 1 to 63 ASCII characters, a letter or digit first"
_NAME = re.compile(r"[A-Za-z0-9][ -~]{0,62}")
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+):(\d{1,5})")


def parse_node(message: node_pb2.Node, *, protocol_version: int, incarnation: str) -> NodeRecord:
    """A node as its agent describes it; what operators set stays at its default.

    Raises:
        Refusal: INVALID_ARGUMENT with one violation for each field at fault.
    """
    found: list[tuple[str, str]] = []
    id_ = ""
    try:
        id_ = resource_id("nodes", message.name)
    except ValueError as error:
        found.append(("hello.node.name", str(error)))
    if not _is_address(message.address):
        found.append(
            (
                "hello.node.address",
                f"{message.address[:200]!r}: expected the host:port where the agent serves, with a"
                " port of 1 to 65535; see --listen",
            )
        )
    indices = [device.index for device in message.devices]
    if not indices or sorted(indices) != list(range(len(indices))):
        found.append(
            (
                "hello.node.devices",
                f"have indices {indices[:16]}: expected at least one device and indices 0, 1, 2, …,"
                " each once; see --devices",
            )
        )
    for device in message.devices[:MAX_DEVICES]:
        if not _NAME.fullmatch(device.device_type):
            found.append(
                (
                    f"hello.node.devices[{device.index}].device_type",
                    f"{device.device_type[:64]!r}: {_NAME_RULE}",
                )
            )
        if not 0 < device.memory_bytes <= MAX_BYTES:
            found.append(
                (
                    f"hello.node.devices[{device.index}].memory_bytes",
                    f"{device.memory_bytes}: expected 1 to {MAX_BYTES}; see --device-memory",
                )
            )
    if len(indices) > MAX_DEVICES:
        found.append(("hello.node.devices", f"{len(indices)} of them: at most {MAX_DEVICES}"))
    if not 0 <= message.host_memory_bytes <= MAX_BYTES:
        found.append(
            (
                "hello.node.host_memory_bytes",
                f"{message.host_memory_bytes}: expected 0 to {MAX_BYTES}, 0 where not known",
            )
        )
    if message.failure_domain and not _NAME.fullmatch(message.failure_domain):
        found.append(
            (
                "hello.node.failure_domain",
                f"{message.failure_domain[:64]!r}: {_NAME_RULE}; see --failure-domain",
            )
        )
    if found:
        raise Refusal(
            code=grpc.StatusCode.INVALID_ARGUMENT,
            reason="INVALID_NODE",
            message=f"node {message.name[:80] or '(unnamed)'}: "
            + "; ".join(f"{field} {text}" for field, text in found),
            violations=found,
        )
    return NodeRecord(
        id=id_,
        devices=tuple(
            Device(
                index=device.index,
                device_type=device.device_type,
                memory_bytes=device.memory_bytes,
            )
            for device in sorted(message.devices, key=lambda one: one.index)
        ),
        failure_domain=message.failure_domain or id_,
        address=message.address,
        agent_version=spoken(message.agent_version),
        sglang_version=spoken(message.sglang_version),
        protocol_version=protocol_version,
        incarnation=spoken(incarnation),
        labels=tuple(sorted((spoken(k), spoken(v)) for k, v in message.labels.items())),
        host_memory_bytes=message.host_memory_bytes,
        warm_models=parse_warm_models(message.warm_models),
        message=spoken(message.message),
    )


def parse_warm_models(models: Iterable[str]) -> tuple[str, ...]:
    """Models whose weights an agent says lie in host memory, at most `MAX_WARM_MODELS`."""
    return tuple(sorted({spoken(one) for one in models if one}))[:MAX_WARM_MODELS]


def to_node(
    record: NodeRecord, *, holds_replicas: bool, report_s: float | None, is_frozen: bool = False
) -> node_pb2.Node:
    """The node as clients see it.

    Args:
        record: what is stored.
        holds_replicas: whether any replica may still run there.
        report_s: when its agent reported last, in Unix seconds.
        is_frozen: whether the node itself is frozen.
    """
    match record:
        case NodeRecord(is_ready=False):
            state = node_pb2.NODE_STATE_LOST
        case NodeRecord(is_draining=True) if holds_replicas:
            state = node_pb2.NODE_STATE_DRAINING
        case NodeRecord(is_draining=True):
            state = node_pb2.NODE_STATE_DRAINED
        case _:
            state = node_pb2.NODE_STATE_READY
    return node_pb2.Node(
        name=resource_name("nodes", record.id),
        state=state,
        cordoned=record.is_cordoned or record.is_draining,
        reason=record.reason,
        drain_deadline_time=to_timestamp(record.drain_deadline_s),
        address=record.address,
        failure_domain=record.domain,
        devices=[
            node_pb2.Device(
                index=device.index,
                device_type=device.device_type,
                memory_bytes=device.memory_bytes,
            )
            for device in record.devices
        ],
        agent_version=record.agent_version,
        sglang_version=record.sglang_version,
        last_report_time=to_timestamp(report_s),
        message=record.message,
        labels=dict(record.shown_labels),
        group=record.group,
        host_memory_bytes=record.host_memory,
        warm_models=record.warm_models,
        frozen=is_frozen,
    )


def _is_address(text: str) -> bool:
    found = _ADDRESS.fullmatch(text)
    return found is not None and 1 <= int(found[2]) <= 65_535
