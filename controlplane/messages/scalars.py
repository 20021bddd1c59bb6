"""Durations in milliseconds, times in Unix seconds and words, to protobuf and back."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

MAX_SPOKEN_CHARACTERS = 2000


def to_ms(duration: Duration) -> float:
    """The duration in milliseconds."""
    return duration.seconds * 1e3 + duration.nanos / 1e6


def to_duration(ms: float) -> Duration:
    """Milliseconds as a duration, to the nanosecond."""
    duration = Duration()
    duration.FromNanoseconds(round(ms * 1e6))
    return duration


def to_timestamp(unix_s: float | None) -> Timestamp | None:
    """Unix seconds as a timestamp, to the microsecond; None stays unset."""
    if unix_s is None:
        return None
    timestamp = Timestamp()
    timestamp.FromMicroseconds(round(unix_s * 1e6))
    return timestamp


def spoken(text: str) -> str:
    """What another process says, in a length to keep and in characters any database takes."""
    return text[:MAX_SPOKEN_CHARACTERS].replace("\0", "")
