"""Labels that an operator sets on a node."""

import re
from collections.abc import Mapping, Sequence

import grpc
from slacktide.wire.errors import Refusal

from storage.records import GROUP_LABEL, HOST_MEMORY_LABEL

MAX_LABELS = 64
_KEY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")
_VALUE = re.compile(r"[A-Za-z0-9][ -~]{0,62}")
_DIGITS = re.compile(r"[0-9]{1,16}")


def parse_labels(labels: Mapping[str, str], removed: Sequence[str]) -> dict[str, str]:
    """The labels to set.

    Args:
        labels: Values by key.
        removed: Keys to take back; none may be set at once.

    Raises:
        Refusal: INVALID_ARGUMENT with one violation for each label at fault.
    """
    found: list[tuple[str, str]] = []
    for key, value in sorted(labels.items()):
        if not _KEY.fullmatch(key):
            found.append(
                (
                    "labels",
                    f"{key[:64]!r}: expected a key of 1 to 63 letters, digits and ._/- that starts"
                    " and ends with a letter or digit",
                )
            )
        elif not _VALUE.fullmatch(value):
            found.append(
                (
                    "labels",
                    f"{key}={value[:64]!r}: expected a value of 1 to 63 ASCII characters, a letter"
                    " or digit first; to take a label back, name its key in removed",
                )
            )
        elif key == HOST_MEMORY_LABEL and not _DIGITS.fullmatch(value):
            found.append(("labels", f"{key}={value!r}: expected bytes, e.g. 549755813888"))
    found += [
        ("removed", f"{key}: is set and taken back at once")
        for key in sorted(set(removed) & set(labels))
    ]
    if not labels and not removed:
        found.append(("labels", f"name labels to set, e.g. {GROUP_LABEL}=a, or to take back"))
    if found:
        raise Refusal(
            code=grpc.StatusCode.INVALID_ARGUMENT,
            reason="INVALID_LABELS",
            message="; ".join(f"{field} {text}" for field, text in found),
            violations=found,
        )
    return dict(labels)


def too_many_labels(node: str, count: int) -> Refusal:
    """The refusal of more labels than a node keeps."""
    why = f"{count} labels: a node keeps at most {MAX_LABELS} that an operator set"
    return Refusal(
        code=grpc.StatusCode.INVALID_ARGUMENT,
        reason="INVALID_LABELS",
        message=f"node {node}: {why}; take some back",
        violations=[("labels", why)],
    )
