"""What a line may say, and what it is told when it may not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.batches.parse import parse_line
from storage.batch_records import NewItem, RefusedLine
from tests.controlplane.batches.batch_house import good_line

CHAT_BODY = {"messages": [{"role": "user", "content": "x"}]}


def body(**changes: object) -> dict[str, object]:
    return {**CHAT_BODY, **changes}


@pytest.mark.parametrize(
    ("content", "code", "custom_id"),
    [
        (b'{"custom_id": "a"', "invalid_json", None),
        (b"hello", "invalid_json", None),
        (b"[1, 2]", "invalid_json", None),
        (b'"text"', "invalid_json", None),
        (b'{"custom_id": "a",}', "invalid_json", None),
        (b'{"custom_id": "a" "b": 1}', "invalid_json", None),
        (b'{"custom_id": NaN}', "invalid_json", None),
        (b'{"custom_id": "\xff"}', "invalid_json", None),
        (good_line() + b" trailing", "invalid_json", None),
        (b'{"custom_id": ' + b"[" * 100_000, "invalid_json", None),
        (b'{"custom_id": ' + b"9" * 10_000 + b"}", "invalid_json", None),
        (b"{}", "missing_custom_id", None),
        (good_line(None), "missing_custom_id", None),
        (good_line(7), "invalid_custom_id", None),
        (good_line(""), "invalid_custom_id", None),
        (good_line("x" * 513), "invalid_custom_id", None),
        (good_line("a\nb"), "invalid_custom_id", None),
        (good_line().replace(b"c1", b"\\ud800"), "invalid_custom_id", None),
        (good_line(method="GET"), "invalid_method", "c1"),
        (good_line(method=None), "invalid_method", "c1"),
        (good_line(url="/v1/embeddings"), "invalid_url", "c1"),
        (good_line(url={"a": 1}), "invalid_url", "c1"),
        (good_line(body=None), "invalid_body", "c1"),
        (good_line(body="text"), "invalid_body", "c1"),
        (good_line(body={}), "invalid_body", "c1"),
        (good_line(body={"messages": []}), "invalid_body", "c1"),
        (good_line(url="/v1/completions", body={}), "invalid_body", "c1"),
        (good_line(url="/v1/completions", body={"prompt": ["a", "b"]}), "invalid_body", "c1"),
        (good_line(body=body(max_tokens=0)), "invalid_max_tokens", "c1"),
        (good_line(body=body(max_tokens=-5)), "invalid_max_tokens", "c1"),
        (good_line(body=body(max_tokens=True)), "invalid_max_tokens", "c1"),
        (good_line(body=body(max_tokens="9")), "invalid_max_tokens", "c1"),
        (good_line(body=body(max_completion_tokens=0.5)), "invalid_max_tokens", "c1"),
        (good_line(body=body(n=2)), "unsupported_parameter", "c1"),
        (good_line(body=body(best_of=3)), "unsupported_parameter", "c1"),
        (good_line(body=body(stream=True)), "unsupported_parameter", "c1"),
    ],
)
def test_line_is_refused_when_it_cannot_run(
    content: bytes, code: str, custom_id: str | None
) -> None:
    """One reason, the line's number, and the custom_id where there is a usable one."""
    refused = parse_line(content, line=7, offset=100)
    assert isinstance(refused, RefusedLine)
    assert (refused.code, refused.custom_id, refused.line) == (code, custom_id, 7)
    assert refused.message.startswith("line 7: ")
    assert len(refused.message) < 400


def test_refusal_keeps_quiet_about_content_when_a_value_is_large() -> None:
    """Error lines show small values only."""
    refused = parse_line(good_line(url="secret " * 50), line=1, offset=0)
    assert isinstance(refused, RefusedLine)
    assert "secret" not in refused.message


@pytest.mark.parametrize(
    "line_body",
    [
        body(max_tokens=1),
        body(max_tokens=None, n=1, stream=False),
        body(temperature=0.5, max_completion_tokens=10**30),
    ],
)
def test_line_is_accepted_when_all_is_within_bounds(line_body: dict[str, object]) -> None:
    """Defaults may be spelled out, and what the engine judges is left to it."""
    item = parse_line(good_line(body=line_body), line=1, offset=0)
    assert isinstance(item, NewItem)
    assert item.custom_id == "c1"
    assert 0 < item.estimated_output_tokens < 1 << 21


@given(
    content=st.text(max_size=30),
    before=st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3),
    indent=st.sampled_from((None, 2)),
    ascii_only=st.booleans(),
    offset=st.integers(0, 1 << 40),
)
def test_item_points_at_its_body_when_bytes_and_characters_differ(
    content: str,
    before: dict[str, object],
    indent: int | None,
    ascii_only: bool,
    offset: int,
) -> None:
    """The stored range is the submitted bytes of "body", wherever it stands."""
    wanted = {"messages": [{"role": "user", "content": content}], "é": before}
    members = before | {
        "body": wanted,
        "custom_id": "ü",
        "method": "POST",
        "url": "/v1/chat/completions",
    }
    # "\ud800" alone cannot be written as UTF-8, but may be escaped.
    text = json.dumps(members, indent=indent, ensure_ascii=ascii_only)
    raw = text.replace("\n", " ").encode(errors="replace")
    item = parse_line(raw, line=1, offset=offset)
    assert isinstance(item, NewItem)
    start = item.body_offset - offset
    found = raw[start : start + item.body_length]
    assert json.loads(found) == json.loads(raw)["body"]
    assert found.startswith(b"{") and found.endswith(b"}")


def test_item_points_past_the_mark_when_the_file_begins_with_one() -> None:
    """A byte order mark is no reason to lose the first line."""
    raw = b"\xef\xbb\xbf" + good_line()
    item = parse_line(raw, line=1, offset=0)
    assert isinstance(item, NewItem)
    assert raw[item.body_offset :][: item.body_length].startswith(b'{"messages"')


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_line_never_stops_intake_when_it_is_garbage(content: bytes) -> None:
    """Whatever the bytes, there is an answer."""
    assert parse_line(content, line=1, offset=5).line == 1
