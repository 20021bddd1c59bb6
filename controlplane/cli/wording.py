"""Enums, times, sizes and durations as people read and write them.

Owns the spelling at the command line. Pure; `now` is an argument.
"""

import re
from datetime import UTC, datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.timestamp_pb2 import Timestamp

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {
    "": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip


def enum_word(enum: EnumTypeWrapper, value: int) -> str:
    """E.g. NODE_STATE_READY -> "ready"; a value this build does not know -> "#7"."""
    names: dict[int, str] = dict(zip(enum.values(), enum.keys(), strict=True))
    if value not in names:
        return f"#{value}"
    return names[value].removeprefix(enum_prefix(list(names.values()))).lower().replace("_", "-")


def enum_prefix(names: list[str]) -> str:
    """What all values of an enum start with: the name of its _UNSPECIFIED, e.g. "STAGE_"."""
    return next(n for n in names if n.endswith("UNSPECIFIED")).removesuffix("UNSPECIFIED")


def parse_duration_s(text: str) -> float:
    """Seconds in "500ms", "2s", "1m30s", "1h"; a bare number is seconds.

    Raises:
        ValueError: not a duration.
    """
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h|d))+", text):
        raise ValueError(f"{text!r} is not a duration; write e.g. 500ms, 2s, 1m30s or 1h")
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", text)
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def duration_of(seconds: float) -> Duration:
    """Seconds as a protobuf Duration."""
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def parse_bytes(text: str) -> int:
    """Bytes in "4GiB", "500 MB" or "4096".

    Raises:
        ValueError: not a size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]i?B)?", text)
    if match is None:
        raise ValueError(f"{text!r} is not a size; write e.g. 4GiB, 500MiB or a number of bytes")
    return int(float(match[1]) * _BYTES[match[2] or ""])


def size_words(size_bytes: int) -> str:
    """E.g. 4294967296 -> "4.0 GiB"."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size_bytes >= _BYTES[unit]:
            return f"{size_bytes / _BYTES[unit]:.1f} {unit}"
    return f"{size_bytes} B"


def duration_words(duration: Duration) -> str:
    """E.g. 0.25 s -> "250 ms"; zero -> ""."""
    seconds = duration.ToNanoseconds() / 1e9
    if seconds == 0:
        return ""
    return f"{seconds * 1000:g} ms" if seconds < 1 else f"{seconds:g} s"


def age_words(stamp: Timestamp, *, now: datetime) -> str:
    """Time since a stamp in one unit, e.g. "3m"; empty where it is not set."""
    if not stamp.ToNanoseconds():
        return ""
    seconds = max(0.0, (now - stamp.ToDatetime(tzinfo=UTC)).total_seconds())
    for unit in ("d", "h", "m"):
        if seconds >= _SECONDS[unit]:
            return f"{int(seconds // _SECONDS[unit])}{unit}"
    return f"{int(seconds)}s"


def time_words(stamp: Timestamp) -> str:
    """ISO 8601 to the second, UTC; empty where it is not set."""
    if not stamp.ToNanoseconds():
        return ""
    return stamp.ToDatetime(tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def bare(name: str) -> str:
    """The id of a resource name: "nodes/n1" -> "n1"."""
    return name.rpartition("/")[2]
