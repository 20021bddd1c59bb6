"""How times, sizes and enums are read and written."""

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from slacktide.v1.deployment_pb2 import STAGE_ACTIVE, Stage
from slacktide.v1.node_pb2 import NODE_STATE_READY, NodeState

from controlplane.cli.wording import (
    age_words,
    duration_of,
    duration_words,
    enum_word,
    parse_bytes,
    parse_duration_s,
    size_words,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("2s", 2),
        ("1m30s", 90),
        ("1h", 3600),
        ("7", 7),
        ("1.5s", 1.5),
        ("1d", 86400),
    ],
)
def test_parse_duration_reads_seconds_when_written_as_people_do(text: str, seconds: float) -> None:
    """Units may follow each other; a bare number is seconds."""
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "abc", "-1s", "1s500", "s", "1 s", "1e3s"])
def test_parse_duration_refuses_when_it_is_none(text: str) -> None:
    """What is not a duration is named, with an example."""
    with pytest.raises(ValueError, match="write e"):
        parse_duration_s(text)


@given(st.integers(0, 10**7))
def test_duration_of_keeps_milliseconds_when_read_back(milliseconds: int) -> None:
    """Milliseconds survive the protobuf."""
    read = parse_duration_s(f"{milliseconds}ms")
    assert duration_of(read).ToMilliseconds() == milliseconds


@pytest.mark.parametrize(
    ("text", "size"), [("4GiB", 4 * 2**30), ("1.5 KiB", 1536), ("500MB", 5 * 10**8), ("17", 17)]
)
def test_parse_bytes_reads_binary_and_decimal_units_when_given(text: str, size: int) -> None:
    """GiB is 2**30, MB is 10**6, a bare number is bytes."""
    assert parse_bytes(text) == size


def test_enum_word_drops_the_prefix_when_the_value_is_known() -> None:
    """NODE_STATE_READY is "ready"; a value of a later release is a number."""
    assert enum_word(NodeState, NODE_STATE_READY) == "ready"
    assert enum_word(Stage, STAGE_ACTIVE) == "active"
    assert enum_word(Stage, 99) == "#99"


def test_age_words_uses_one_unit_when_time_has_passed() -> None:
    """Ages are short; an unset time is empty."""
    now = datetime(2026, 11, 22, tzinfo=UTC)
    stamp = Timestamp()
    assert age_words(stamp, now=now) == ""
    stamp.FromDatetime(now - timedelta(minutes=3, seconds=20))
    assert age_words(stamp, now=now) == "3m"


def test_words_are_short_when_sizes_and_durations_are_shown() -> None:
    """4 GiB and 250 ms, no digits nobody reads."""
    assert size_words(4 * 2**30) == "4.0 GiB"
    assert duration_words(duration_of(0.25)) == "250 ms"
    assert duration_words(duration_of(2)) == "2 s"
