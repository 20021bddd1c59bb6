"""SLO messages: the check of targets a client states, and the way back."""

from google.protobuf.duration_pb2 import Duration
from slacktide.v1 import slo_pb2

from controlplane.messages.scalars import to_duration, to_ms
from planner.model import Slo

MAX_TARGET_MS = 3_600_000.0
"""An hour: above it a latency target is a mistake."""

Violations = list[tuple[str, str]]
"""(path of the field, what is wrong with it) pairs."""


def parse_slo(message: slo_pb2.Slo, found: Violations, *, path: str) -> Slo | None:
    """The targets, or None with a violation for each field at fault.

    Args:
        message: From a client.
        found: Violations are added here.
        path: Of the message within the request.
    """
    before = len(found)
    _check_target(f"{path}.ttft", message.ttft, found)
    chosen = [name for name in ("itl", "tpot") if message.HasField(name)]
    if len(chosen) != 1:
        found.append(
            (
                path,
                f"has {' and '.join(chosen) or 'neither itl nor tpot'}: set exactly one of itl"
                " (every gap) and tpot (mean gap of a request)",
            )
        )
    for name in chosen:
        _check_target(f"{path}.{name}", getattr(message, name), found)
    if message.HasField("max_gap"):
        _check_target(f"{path}.max_gap", message.max_gap, found)
        if not message.HasField("tpot"):
            found.append((f"{path}.max_gap", "is only for a tpot target: itl already bounds gaps"))
        elif to_ms(message.max_gap) < to_ms(message.tpot):
            found.append(
                (
                    f"{path}.max_gap",
                    f"{to_ms(message.max_gap):g} ms: must be at least tpot,"
                    f" {to_ms(message.tpot):g} ms",
                )
            )
    ratio = message.attainment_ratio
    if not 0 <= ratio <= 1:  # also refuses NaN
        found.append(
            (f"{path}.attainment_ratio", f"{ratio:g}: must be within (0, 1]; 0 means 0.99")
        )
    if len(found) > before:
        return None
    return Slo(
        ttft_ms=to_ms(message.ttft),
        itl_ms=to_ms(message.itl) if message.HasField("itl") else None,
        tpot_ms=to_ms(message.tpot) if message.HasField("tpot") else None,
        max_gap_ms=to_ms(message.max_gap) if message.HasField("max_gap") else None,
        attainment_ratio=ratio or 0.99,
    )


def _check_target(field: str, target: Duration, found: Violations) -> None:
    ms = to_ms(target)
    if not 0 < ms <= MAX_TARGET_MS:
        found.append((field, f"{ms:g} ms: must be more than 0 and at most {MAX_TARGET_MS:g}"))


def to_slo(slo: Slo) -> slo_pb2.Slo:
    """The targets as a message."""
    return slo_pb2.Slo(
        ttft=to_duration(slo.ttft_ms),
        itl=None if slo.itl_ms is None else to_duration(slo.itl_ms),
        tpot=None if slo.tpot_ms is None else to_duration(slo.tpot_ms),
        max_gap=None if slo.max_gap_ms is None else to_duration(slo.max_gap_ms),
        attainment_ratio=slo.attainment_ratio,
    )
