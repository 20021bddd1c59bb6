"""Fields of a deployment that say where its replicas may go, and what of it must survive.

Owns their checks. Invariant: SLO classes are tightest first, so that a replica of one may
serve every later one.
"""

import re
from typing import Any

from google.protobuf.duration_pb2 import Duration
from slacktide.v1 import deployment_pb2
from slacktide.wire.names import resource_id, resource_name

from controlplane.messages.scalars import to_duration, to_ms
from controlplane.messages.slo import Violations, parse_slo, to_slo
from planner.model import OFFLINE_ONLY
from storage.records import DeploymentSpec, SloClassSpec

MAX_CLASSES = 8
MAX_NAMES = 64
MAX_TENSOR_PARALLEL = 64
MAX_LOAD_S = 3600.0
"""An hour: above it a load time is a mistake."""
MAX_WORK = 1e9  # a million replicas' worth, engine-ms per second

_PATH = "deployment.spec"
_CLASS_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_GROUP = re.compile(r"[A-Za-z0-9][ -~]{0,62}")
_GROUP_RULE = "expected 1 to 63 ASCII characters, a letter or digit first"


def parse_placing(spec: deployment_pb2.DeploymentSpec, found: Violations) -> dict[str, Any]:
    """Those fields of a `DeploymentSpec`, by name; violations are added to `found`."""
    _check_sizes(spec, found)
    _check_groups(spec, found)
    return {
        "slo_classes": _parse_classes(spec, found),
        "failover_ratio": spec.failover_ratio,
        "other_tensor_parallel_sizes": tuple(sorted(set(spec.other_tensor_parallel_sizes))),
        "host_memory_bytes": spec.host_memory_bytes,
        "node_groups": tuple(sorted(set(spec.node_groups))),
        "anti_affinity": _parse_anti_affinity(spec, found),
        **_parse_loads(spec, found),
    }


def placing_of(spec: DeploymentSpec) -> dict[str, Any]:
    """The same as fields of the message."""
    return {
        "slo_classes": [
            deployment_pb2.SloClass(
                id=one.id,
                slo=to_slo(one.slo),
                expected_online_work=one.expected_online_work,
                failover_ratio=one.failover_ratio,
            )
            for one in spec.slo_classes
        ],
        "failover_ratio": spec.failover_ratio,
        "other_tensor_parallel_sizes": spec.other_tensor_parallel_sizes,
        "host_memory_bytes": spec.host_memory_bytes,
        "node_groups": spec.node_groups,
        "anti_affinity": [resource_name("deployments", one) for one in spec.anti_affinity],
        "load_duration": to_duration(spec.load_s * 1e3) if spec.load_s else None,
        "warm_load_duration": to_duration(spec.warm_load_s * 1e3) if spec.warm_load_s else None,
    }


def _parse_classes(
    spec: deployment_pb2.DeploymentSpec, found: Violations
) -> tuple[SloClassSpec, ...]:
    path = f"{_PATH}.slo_classes"
    if len(spec.slo_classes) > MAX_CLASSES:
        found.append((path, f"{len(spec.slo_classes)} of them: at most {MAX_CLASSES}"))
        return ()
    if spec.slo_classes and spec.failover_ratio:
        found.append(
            (
                f"{_PATH}.failover_ratio",
                f"{spec.failover_ratio:g}: the deployment has SLO classes; set it on them",
            )
        )
    classes: list[SloClassSpec] = []
    for index, message in enumerate(spec.slo_classes):
        here = f"{path}[{index}]"
        if not _CLASS_ID.fullmatch(message.id) or message.id == OFFLINE_ONLY:
            found.append(
                (
                    f"{here}.id",
                    f"{message.id[:64]!r}: expected 1 to 63 lower-case letters, digits and hyphens"
                    f" that start with a letter, other than {OFFLINE_ONLY!r}",
                )
            )
        elif message.id in {one.id for one in classes}:
            found.append((f"{here}.id", f"{message.id!r}: is the id of an earlier class"))
        for name, most in (("expected_online_work", MAX_WORK), ("failover_ratio", 1.0)):
            value = getattr(message, name)
            if not 0 <= value <= most:  # also refuses NaN
                found.append((f"{here}.{name}", f"{value:g}: must be 0 to {most:g}"))
        slo = parse_slo(message.slo, found, path=f"{here}.slo")
        if slo is None:
            continue
        if classes and slo.gap_ms < classes[-1].slo.gap_ms:
            found.append(
                (
                    f"{here}.slo",
                    f"allows gaps of {slo.gap_ms:g} ms, class {classes[-1].id} before it"
                    f" {classes[-1].slo.gap_ms:g} ms: put the tightest class first",
                )
            )
        classes.append(
            SloClassSpec(
                id=message.id,
                slo=slo,
                expected_online_work=message.expected_online_work,
                failover_ratio=message.failover_ratio,
            )
        )
    return tuple(classes)


def _check_sizes(spec: deployment_pb2.DeploymentSpec, found: Violations) -> None:
    for size in spec.other_tensor_parallel_sizes[:MAX_NAMES]:
        if not 1 <= size <= MAX_TENSOR_PARALLEL:
            found.append(
                (
                    f"{_PATH}.other_tensor_parallel_sizes",
                    f"{size}: must be 1 to {MAX_TENSOR_PARALLEL}",
                )
            )


def _check_groups(spec: deployment_pb2.DeploymentSpec, found: Violations) -> None:
    for name in ("node_groups", "anti_affinity", "other_tensor_parallel_sizes"):
        if len(getattr(spec, name)) > MAX_NAMES:
            found.append(
                (f"{_PATH}.{name}", f"{len(getattr(spec, name))} of them: at most {MAX_NAMES}")
            )
    found += [
        (f"{_PATH}.node_groups", f"{group[:64]!r}: {_GROUP_RULE}")
        for group in spec.node_groups
        if not _GROUP.fullmatch(group)
    ]


def _parse_anti_affinity(spec: deployment_pb2.DeploymentSpec, found: Violations) -> tuple[str, ...]:
    ids = set()
    for name in spec.anti_affinity:
        try:
            ids.add(resource_id("deployments", name))
        except ValueError as error:
            found.append((f"{_PATH}.anti_affinity", str(error)))
    return tuple(sorted(ids))


def _parse_loads(spec: deployment_pb2.DeploymentSpec, found: Violations) -> dict[str, float]:
    load_s = _load_s(spec, "load_duration", found)
    warm_load_s = _load_s(spec, "warm_load_duration", found)
    if load_s and warm_load_s > load_s:
        found.append(
            (
                f"{_PATH}.warm_load_duration",
                f"{warm_load_s:g} s: must be at most load_duration, {load_s:g} s",
            )
        )
    return {"load_s": load_s, "warm_load_s": warm_load_s}


def _load_s(spec: deployment_pb2.DeploymentSpec, name: str, found: Violations) -> float:
    if not spec.HasField(name):
        return 0.0
    given: Duration = getattr(spec, name)
    seconds = to_ms(given) / 1e3
    if not 0 < seconds <= MAX_LOAD_S:
        found.append(
            (f"{_PATH}.{name}", f"{seconds:g} s: must be more than 0 and at most {MAX_LOAD_S:g}")
        )
        return 0.0
    return seconds
