"""Tables of offline lengths, from lines and from the real file."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trace_files import public_file

from planner.workload.lengths import stream_lengths
from planner.workload.lines import TraceError

_HEADER = "num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n"


@settings(deadline=None)
@given(pairs=st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)), max_size=20))
def test_a_table_reads_back_what_was_written(pairs: list[tuple[int, int]]) -> None:
    """In order, at 0, as its own prompt."""
    lines = [_HEADER, *(f"{p},{d},{p + d},{p / d}\n" for p, d in pairs)]
    requests = list(stream_lengths(lines))
    assert [(r.prompt_tokens, r.output_tokens) for r in requests] == pairs
    assert all(r.at_s == 0 and r.blocks == () for r in requests)


def test_a_table_is_read_by_the_names_of_its_columns() -> None:
    """An index before them, an arrival between, floats, quotes, a mark and blank lines."""
    lines = [
        "\ufeff,arrived_at,num_decode_tokens,num_prefill_tokens\r\n",
        '0,0.5,"54.0","3772"\r\n',
        "\r\n",
        "1,0.7,0,12\r\n",
    ]
    requests = list(stream_lengths(lines))
    assert [(r.prompt_tokens, r.output_tokens) for r in requests] == [(3772, 54), (12, 1)]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "line 1.*empty"),
        (["a,b\n", "1,2\n"], "line 1.*num_decode_tokens"),
        ([_HEADER, "1,2,3,4\n", "1,2,3\n"], "line 3.*3 columns, not 4"),
        ([_HEADER, "-1,2,3,4\n"], "line 2.*>= 0"),
        ([_HEADER, "nan,2,3,4\n"], "line 2.*whole"),
        ([_HEADER, "1.5,2,3,4\n"], "line 2.*whole"),
        ([_HEADER, "1e400,2,3,4\n"], "line 2.*whole"),
        ([_HEADER, "1000000000000000000,2,3,4\n"], "line 2.*whole"),
        ([_HEADER, "many,2,3,4\n"], "line 2.*many"),
    ],
)
def test_a_table_is_refused_with_its_line_when_malformed(lines: list[str], said: str) -> None:
    """No line is skipped in silence."""
    with pytest.raises(TraceError, match=said):
        list(stream_lengths(lines))


def test_a_table_is_refused_when_a_request_is_longer_than_the_context() -> None:
    """Prompt and output together; what does not fit by one token is named with its line."""
    lines = [_HEADER, "4000,96,0,0\n", "\n", "4000,97,0,0\n"]
    stream = stream_lengths(lines, max_context_tokens=4096)
    assert next(stream).prompt_tokens == 4000
    with pytest.raises(TraceError, match=r"line 4.*4097.*context of 4096.*--fit-context"):
        next(stream)


def test_a_table_is_read_as_it_goes() -> None:
    """A line is held no longer than its request."""

    def lines() -> Iterator[str]:
        yield _HEADER
        yield "5,6,0,0\n"
        raise AssertionError("read ahead")

    assert next(stream_lengths(lines())).prompt_tokens == 5


@settings(deadline=None)
@given(lines=st.lists(st.text(), max_size=6), has_header=st.booleans())
def test_any_text_gives_requests_or_a_trace_error(lines: list[str], has_header: bool) -> None:
    """Never another exception, never an empty request."""
    try:
        requests = list(stream_lengths([_HEADER, *lines] if has_header else lines))
    except TraceError as error:
        assert "line" in str(error)
    else:
        assert all(r.prompt_tokens >= 1 and r.output_tokens >= 1 for r in requests)


def test_the_real_table_has_its_published_size_when_present() -> None:
    """28,257 pairs of at most 4,096 tokens."""
    with public_file("arxiv_summarization_lengths.csv").open() as lines:
        requests = list(stream_lengths(lines))
    assert len(requests) == 28_257
    assert max(r.prompt_tokens + r.output_tokens for r in requests) == 4096
