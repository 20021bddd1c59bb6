"""Traces nobody has seen, in the formats that are known: editions, dialects, broken files."""

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.workload.traces import (
    BAILIAN_BLOCK_TOKENS,
    MOONCAKE_BLOCK_TOKENS,
    TraceError,
    read_trace,
    stream_trace,
)

_Rows = list[tuple[float, int, int]]
_START = datetime(2024, 5, 10, tzinfo=UTC)

_AZURE_HEADERS = [
    "TIMESTAMP,ContextTokens,GeneratedTokens",  # 2023 code and conversation, 2024
    "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens",  # 2025 multimodal
    ",TIMESTAMP,ContextTokens,GeneratedTokens",  # with the index of a data frame
]
_BURSTGPT_HEADERS = [
    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type",  # 1 and 2
    "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,"
    "Log Type",  # 3
    "Log Type,Timestamp,Request tokens,Response tokens,Total tokens,Model",  # exported again
]


def _table(header: str, names: tuple[str, str, str], rows: list[tuple[str, int, int]]) -> str:
    """A table as a CSV library writes it, values with commas in quotes."""
    columns = header.split(",")
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="a, b")
    writer.writeheader()
    for row in rows:
        writer.writerow(dict(zip(names, row, strict=True)))
    return text.getvalue()


def _azure(header: str, rows: _Rows, *, zone: str) -> str:
    stamps = [(_START + timedelta(seconds=at_s)).replace(tzinfo=None) for at_s, _, _ in rows]
    return _table(
        header,
        ("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
        [(f"{stamp}{zone}", p, o) for stamp, (_, p, o) in zip(stamps, rows, strict=True)],
    )


def _burstgpt(header: str, rows: _Rows) -> str:
    return _table(
        header,
        ("Timestamp", "Request tokens", "Response tokens"),
        [(repr(19440110.0 + at_s), p, o) for at_s, p, o in rows],
    )


def _jsonl(rows: _Rows, *, as_floats: bool) -> str:
    number: Callable[[int], float] = float if as_floats else int
    return "".join(
        json.dumps(
            {
                "timestamp": at_s * 1000,
                "input_length": number(p),
                "output_length": number(o),
                "session_id": "x",
            }
        )
        + "\n"
        for at_s, p, o in rows
    )


_DIALECTS = [
    *[lambda rows, h=h: _azure(h, rows, zone="") for h in _AZURE_HEADERS],
    *[lambda rows, z=z: _azure(_AZURE_HEADERS[0], rows, zone=z) for z in ("+00:00", "Z", "-07:00")],
    *[lambda rows, h=h: _burstgpt(h, rows) for h in _BURSTGPT_HEADERS],
    lambda rows: _jsonl(rows, as_floats=False),
    lambda rows: _jsonl(rows, as_floats=True),
]


@pytest.mark.parametrize("write", _DIALECTS)
@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 10**9).map(lambda ms: ms / 1000),
            st.integers(1, 200_000),
            st.integers(1, 9_000),
        ),
        min_size=1,
        max_size=12,
    ).map(sorted),
    has_mark=st.booleans(),
    line_end=st.sampled_from(["\n", "\r\n"]),
    blank_before=st.integers(0, 2),
    blank_after=st.integers(0, 2),
)
def test_an_edition_reads_back_what_was_written(
    write: Callable[[_Rows], str],
    rows: _Rows,
    has_mark: bool,
    line_end: str,
    blank_before: int,
    blank_after: int,
) -> None:
    """Whatever the columns' order, the zone, the line ends, marks and blank lines."""
    text = write(rows).replace("\r\n", "\n").replace("\n", line_end)
    whole = "\ufeff" * has_mark + line_end * blank_before + text + line_end * blank_after
    requests = read_trace(whole.splitlines(keepends=True))
    assert [(r.prompt_tokens, r.output_tokens) for r in requests] == [row[1:] for row in rows]
    for request, (at_s, _, _) in zip(requests, rows, strict=True):
        assert request.at_s == pytest.approx(at_s - rows[0][0], abs=2e-6)


def test_zones_may_differ_from_line_to_line() -> None:
    """A negative offset is part of the time, not cut off with its seventh decimal."""
    first, second = read_trace(
        [
            f"{_AZURE_HEADERS[0]}\n",
            "2024-05-10 00:00:00.0000001-07:00,1,1\n",
            "2024-05-10 07:00:01.5+00:00,1,1\n",
        ]
    )
    assert (first.at_s, second.at_s) == (0.0, 1.5)


def _record(prompt_tokens: int, hash_ids: list[float], **more: object) -> str:
    record = {"timestamp": 1, "input_length": prompt_tokens, "output_length": 1}
    return json.dumps({**record, "hash_ids": hash_ids, **more})


@settings(deadline=None)
@given(
    size=st.sampled_from([1, 16, 64, 128, 512]),
    prompts=st.lists(st.integers(1, 20_000), min_size=1, max_size=6),
    names_last=st.booleans(),
)
def test_block_size_is_the_one_that_the_prompts_say(
    size: int, prompts: list[int], names_last: bool
) -> None:
    """A cut last block may have an id or none; the first prompt tells, if it has two."""
    prompts = [3 * size + 1, *prompts]
    lines = [_record(p, list(range(-(-p // size) if names_last else p // size))) for p in prompts]
    for request, prompt_tokens in zip(read_trace(lines), prompts, strict=True):
        assert request.prompt_tokens == prompt_tokens
        assert request.block_tokens == (size if request.blocks else 0)
        assert len(request.blocks) * size < prompt_tokens + size


def test_blocks_keep_the_published_size_when_a_prompt_names_fewer() -> None:
    """As public examples do; the rest of the prompt is its own."""
    (request,) = read_trace([_record(6755, [46, 47, 48])])
    assert (request.blocks, request.block_tokens) == ((46, 47, 48), MOONCAKE_BLOCK_TOKENS)


def test_bailian_trace_has_seconds_and_small_blocks() -> None:
    """Told from Mooncake's by `chat_id`; its first prompt may have a single block."""
    first, second = read_trace(
        [
            _record(9, [7], chat_id=1, parent_chat_id=-1, timestamp=61.114, type="text", turn=1),
            _record(40, [7, 8, 9], chat_id=2, timestamp=63.114),
        ]
    )
    assert second.at_s == pytest.approx(2.0)
    assert first.block_tokens == second.block_tokens == BAILIAN_BLOCK_TOKENS


def test_block_ids_are_whole_numbers_of_64_bits() -> None:
    """Signed hashes stay distinct and become >= 0; floats of whole numbers are taken."""
    (request,) = read_trace([_record(1500, [-1, 2**63, 3.0])])
    assert request.blocks == (2**64 - 1, 2**63, 3)
    assert request.block_tokens == MOONCAKE_BLOCK_TOKENS


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (_record(100, list(range(9))), "line 1.*9 blocks"),
        (f"{_record(600, [1, 2])}\n{_record(512, [1, 2])}", "line 2.*2 blocks of 512.*512"),
        (_record(1000, [1, 2.5]), "line 1.*2.5.*whole"),
        (_record(1000, [1, 2**64]), "line 1.*64 bits"),
        ('{"timestamp": 1, "input_length": 1, "output_length": 1, "hash_ids": {"a": 1}}', "'a'"),
        ('{"timestamp": null, "input_length": 1, "output_length": 1}', "line 1"),
        ('{"timestamp": true, "input_length": 1, "output_length": 1}', "line 1.*True"),
        ('{"timestamp": NaN, "input_length": 1, "output_length": 1}', "line 1.*finite"),
        ('{"timestamp": 1e400, "input_length": 1, "output_length": 1}', "line 1.*finite"),
        ('{"timestamp": 1, "input_length": NaN, "output_length": 1}', "line 1.*whole"),
        ('{"timestamp": 1, "input_length": 1e400, "output_length": 1}', "line 1.*whole"),
        ('{"timestamp": 1, "input_length": 3.5, "output_length": 1}', "line 1.*whole"),
        ('{"timestamp": 1, "input_length": 1, "output_length": -1}', "line 1.*>= 0"),
        ('{"timestamp": 1, "input_length": 1000000000000000000, "output_length": 1}', "<= 1"),
        (f'{{"timestamp": 1{"0" * 400}, "input_length": 1, "output_length": 1}}', "line 1"),
        (f'{{"timestamp": 1{"0" * 5000}, "input_length": 1, "output_length": 1}}', "line 1"),
        ('{"timestamp": 1700000000000000000, "input_length": 1, "output_length": 1}', "unit"),
        ('{"a":' * 100_000, "line 1"),
        ('{"session_id": 1, "delay": 5, "input_length": 1, "output_length": 1}', "'timestamp'"),
    ],
)
def test_json_line_is_refused_when_a_value_is_absurd(line: str, said: str) -> None:
    """Each with its line and what is allowed."""
    with pytest.raises(TraceError, match=said):
        read_trace(line.split("\n"))


@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        (_AZURE_HEADERS[0], "2024-13-10 00:00:00,1,1", "line 2.*month"),
        (_AZURE_HEADERS[0], "-1,1,1", "line 2.*-1"),
        (_AZURE_HEADERS[0], "2024-05-10 00:00:00,nan,1", "line 2.*whole"),
        (_AZURE_HEADERS[0], "2024-05-10 00:00:00,1,-3", "line 2.*>= 0"),
        (_AZURE_HEADERS[0], "2024-05-10 00:00:00,1", "line 2.*2 columns, not 3"),
        (_BURSTGPT_HEADERS[0], "nan,ChatGPT,1,1,2,x", "line 2.*finite"),
        (_BURSTGPT_HEADERS[0], "inf,ChatGPT,1,1,2,x", "line 2.*finite"),
        (_BURSTGPT_HEADERS[0], "-5,ChatGPT,1,1,2,x", "line 2.*>= 0"),
        (_BURSTGPT_HEADERS[0], "5,ChatGPT,1e400,1,2,x", "line 2.*whole"),
        (_BURSTGPT_HEADERS[0], "5,ChatGPT,1,1000000000000000000,2,x", "line 2.*whole"),
        (_BURSTGPT_HEADERS[0], "5,Chat\rGPT,1,1,2,x", "line 2"),
        (_BURSTGPT_HEADERS[0], "5," + "x" * 200_000 + ",1,1,2,x", "line 2.*limit"),
    ],
)
def test_row_is_refused_when_a_value_is_absurd(header: str, row: str, said: str) -> None:
    """Each with its line and what is allowed."""
    with pytest.raises(TraceError, match=said):
        read_trace([f"{header}\n", f"{row}\n"])


def test_lines_that_are_not_text_are_refused() -> None:
    """A packed file says so, instead of failing in the middle of decoding."""
    packed = io.TextIOWrapper(io.BytesIO(b"\x1f\x8b\x08\x00\xff\xff"), encoding="utf-8")
    with pytest.raises(TraceError, match="unpack"):
        read_trace(packed)


@pytest.mark.parametrize(
    "lines",
    [
        [f"{_AZURE_HEADERS[0]}\n", "2024-05-10 00:00:00,4000,96\n", "2024-05-10,4000,97\n"],
        [f"{_BURSTGPT_HEADERS[0]}\n", "1,a,4000,96,0,x\n", "1,a,4000,97,0,x\n"],
        ["\n", _record(4000, []).replace('h": 1', 'h": 96'), _record(4096, [])],
    ],
)
def test_request_longer_than_the_context_is_refused_with_the_remedy(lines: list[str]) -> None:
    """In every format; what fits to the token is read."""
    stream = stream_trace(lines, max_context_tokens=4096)
    assert next(stream).prompt_tokens == 4000
    with pytest.raises(
        TraceError, match=r"line 3.*4097.*context of 4096.*--fit-context.*--context-tokens"
    ):
        next(stream)
    assert len(read_trace(lines)) == 2


_ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=6),
    st.lists(st.integers(-5, 2**70), max_size=4),
    st.sampled_from(["1e400", "-0", "0x1", "١", "1_0", "2024-05-10", '"', "\r", "\x00"]),
)


def _mostly(usual: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """An odd value one time in eight."""
    return st.integers(0, 7).flatmap(lambda draw: usual if draw else _ODD)


_COUNTS = _mostly(st.integers(0, 5000))
_JSON_LINES = st.fixed_dictionaries(
    {"timestamp": _mostly(st.just(7)), "input_length": _COUNTS, "output_length": _COUNTS},
    optional={"hash_ids": _mostly(st.lists(st.integers(0, 9), max_size=4)), "chat_id": _ODD},
).map(json.dumps)


def _rows(header: str) -> st.SearchStrategy[str]:
    """Rows of as many columns, a time where the header has one."""
    time = st.sampled_from(["2024-05-10", "2024-05-10 00:00:00Z"] if "STAMP" in header else ["7"])
    columns = [
        _mostly(time) if name.lower() == "timestamp" else _COUNTS for name in header.split(",")
    ]
    return st.tuples(*columns).map(lambda row: ",".join(map(str, row)))


_FILES = st.one_of(
    st.lists(_JSON_LINES, max_size=4),
    *[
        st.lists(_rows(header) | st.text(), max_size=4).map(lambda rows, h=header: [h, *rows])
        for header in (*_AZURE_HEADERS, *_BURSTGPT_HEADERS)
    ],
    st.lists(st.text(), max_size=4),
)


@settings(max_examples=400, deadline=None)
@given(lines=_FILES)
def test_any_text_gives_requests_or_a_trace_error(lines: list[str]) -> None:
    """Never another exception; what is read can be simulated."""
    try:
        requests = read_trace(lines)
    except TraceError:
        return
    times = [request.at_s for request in requests]
    assert times[0] == 0
    assert times == sorted(times)
    for request in requests:
        assert request.prompt_tokens >= 1
        assert request.output_tokens >= 1
        assert len(request.blocks) <= -(-request.prompt_tokens // max(1, request.block_tokens))
        assert all(0 <= block < 2**64 for block in request.blocks)
