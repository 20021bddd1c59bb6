"""What a what-if supposes, as a client says it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import grpc
from slacktide.v1 import placement_service_pb2
from slacktide.wire.errors import Refusal
from slacktide.wire.names import resource_id

from controlplane.messages.nodes import MAX_BYTES, MAX_DEVICES
from controlplane.rounds.supposed import Addition

MAX_ADDED = 10_000
MAX_FACTOR = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """Ids and numbers of a what-if; whether they exist is not checked yet."""

    lost_nodes: tuple[str, ...]
    cordoned_nodes: tuple[str, ...]
    scaled_load: Mapping[str, float]
    additions: tuple[Addition, ...]


def parse_what_if(request: placement_service_pb2.WhatIfRequest) -> WhatIf:
    """The suppositions.

    Raises:
        Refusal: INVALID_ARGUMENT with one violation for each field at fault.
    """
    found: list[tuple[str, str]] = []
    parsed = WhatIf(
        lost_nodes=_nodes("lost_nodes", request.lost_nodes, found),
        cordoned_nodes=_nodes("cordoned_nodes", request.cordoned_nodes, found),
        scaled_load=_factors(request.scaled_load, found),
        additions=tuple(
            _addition(index, one, found) for index, one in enumerate(request.added_nodes)
        ),
    )
    whole = sum(one.count for one in parsed.additions)
    if whole > MAX_ADDED:
        found.append(("added_nodes", f"{whole} nodes: at most {MAX_ADDED}"))
    if found:
        raise Refusal(
            code=grpc.StatusCode.INVALID_ARGUMENT,
            reason="INVALID_WHAT_IF",
            message="what-if: " + "; ".join(f"{field} {text}" for field, text in found),
            violations=found,
        )
    return parsed


def _nodes(field: str, names: Iterable[str], found: list[tuple[str, str]]) -> tuple[str, ...]:
    ids = []
    for name in names:
        try:
            ids.append(resource_id("nodes", name))
        except ValueError as error:
            found.append((field, str(error)))
    return tuple(sorted(set(ids)))


def _factors(given: Mapping[str, float], found: list[tuple[str, str]]) -> Mapping[str, float]:
    factors = {}
    for name, factor in sorted(given.items()):
        try:
            id_ = resource_id("deployments", name)
        except ValueError as error:
            found.append(("scaled_load", str(error)))
            continue
        if not (math.isfinite(factor) and 0 <= factor <= MAX_FACTOR):
            found.append(("scaled_load", f"{name} {factor:g}: must be 0 to {MAX_FACTOR:g}"))
        factors[id_] = factor
    return factors


def _addition(
    index: int, message: placement_service_pb2.AddedNodes, found: list[tuple[str, str]]
) -> Addition:
    path = f"added_nodes[{index}]"
    if not message.device_type.strip():
        found.append((f"{path}.device_type", "is empty: name a type of the fleet, e.g. H100"))
    for name, least, most in (
        ("count", 1, MAX_ADDED),
        ("devices", 0, MAX_DEVICES),
        ("memory_bytes", 0, MAX_BYTES),
    ):
        value = getattr(message, name)
        if not least <= value <= most:
            found.append((f"{path}.{name}", f"{value}: must be {least} to {most}"))
    return Addition(
        count=message.count,
        device_type=message.device_type,
        devices=message.devices,
        memory_bytes=message.memory_bytes,
        group=message.group,
    )
