"""The public trace formats, from lines and from the real files."""

from collections.abc import Iterator

import pytest
from trace_files import public_file

from planner.workload.traces import (
    MOONCAKE_BLOCK_TOKENS,
    TraceError,
    read_trace,
    stream_trace,
)

_AZURE = [
    "TIMESTAMP,ContextTokens,GeneratedTokens\r\n",
    "2023-11-16 18:15:46.6805900,374,44\r\n",
    "2023-11-16 18:15:50.9951690,396,109\r\n",
]


def test_azure_trace_starts_at_zero_when_read() -> None:
    """Times count from the first request, with the trace's sub-millisecond precision."""
    first, second = read_trace(_AZURE)
    assert (first.at_s, first.prompt_tokens, first.output_tokens) == (0.0, 374, 44)
    assert second.at_s == pytest.approx(4.314579, abs=1e-6)


def test_mooncake_trace_keeps_prefix_blocks_when_read() -> None:
    """Milliseconds become seconds; hash_ids become 512-token blocks."""
    requests = read_trace(
        [
            '{"timestamp": 1000, "input_length": 700, "output_length": 5, "hash_ids": [0, 7]}\n',
            '{"timestamp": 2500, "input_length": 10, "output_length": 0, "hash_ids": [0]}\n',
        ]
    )
    assert [request.at_s for request in requests] == [0.0, 1.5]
    assert requests[0].blocks == (0, 7)
    assert requests[0].block_tokens == MOONCAKE_BLOCK_TOKENS
    assert requests[1].output_tokens == 1  # nothing can be asked for less


def test_azure_trace_of_2024_is_read_with_its_zones() -> None:
    """Fractions of a second may be missing where they are zero."""
    first, second = read_trace(
        [
            _AZURE[0],
            "2024-05-10 00:00:00+00:00,2162,5\n",
            "2024-05-10 00:00:00.250000+00:00,2399,6\n",
        ]
    )
    assert (first.prompt_tokens, second.at_s) == (2162, 0.25)


@pytest.mark.parametrize(
    "header",
    [
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type",
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log",
    ],
)
def test_burstgpt_trace_is_read_by_the_names_of_its_columns(header: str) -> None:
    """Editions differ in the other columns; a failed request is load of its prompt."""
    columns = header.split(",")

    def line(at: str, request: str, response: str) -> str:
        known = {"Timestamp": at, "Request tokens": request, "Response tokens": response}
        return ",".join(known.get(name, "x") for name in columns) + "\n"

    lines = [header + "\n", line("5", "472", "18"), "\n", line("45.5", "1087", "0")]
    first, second = read_trace(lines)
    assert (first.at_s, first.prompt_tokens, first.output_tokens) == (0.0, 472, 18)
    assert (second.at_s, second.output_tokens) == (40.5, 1)
    for bad, said in ((line("-1", "1", "1"), "line 2.*>= 0"), ("5,x,1\n", "line 2.*columns")):
        with pytest.raises(TraceError, match=said):
            read_trace([header + "\n", bad])


def test_trace_is_refused_with_its_line_when_it_goes_back_in_time() -> None:
    """Nothing is moved in silence."""
    with pytest.raises(TraceError, match=r"line 3.*4.3\d+ s earlier.*sort"):
        read_trace([_AZURE[0], _AZURE[2], _AZURE[1]])


def test_trace_is_read_as_it_goes() -> None:
    """A line is held no longer than its request."""

    def lines() -> Iterator[str]:
        yield from _AZURE
        raise AssertionError("read ahead")

    stream = stream_trace(lines())
    assert [next(stream).prompt_tokens for _ in range(2)] == [374, 396]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "line 1"),
        (["hello\n"], "line 1"),
        (_AZURE[:1], "no request"),
        ([*_AZURE, "2023-11-16 18:15:51,-1,5\n"], "line 4.*>= 0"),
        ([*_AZURE, "2023-11-16 18:15:51,many,5\n"], "line 4"),
        ([*_AZURE, "2023-11-16 18:15:51,1\n"], "line 4"),
        (['{"timestamp": -5, "input_length": 1, "output_length": 1}\n'], "line 1.*>= 0"),
        (['{"timestamp": 0}\n'], "line 1.*input_length"),
        (['{"timestamp": 0, "input_length": 1, "output_length": 1}\n', "{\n"], "line 2"),
    ],
)
def test_trace_is_refused_with_its_line_when_malformed(lines: list[str], said: str) -> None:
    """No line is skipped in silence."""
    with pytest.raises(TraceError, match=said):
        read_trace(lines)


def test_azure_trace_has_its_published_statistics_when_present() -> None:
    """19,366 requests over 3,502 s; the README's means."""
    with public_file("azure_llm_2023_conv.csv").open() as lines:
        requests = read_trace(lines)
    assert len(requests) == 19366
    assert requests[-1].at_s == pytest.approx(3502, abs=1)
    assert sum(r.prompt_tokens for r in requests) / len(requests) == pytest.approx(1155, abs=1)
    assert sum(r.output_tokens for r in requests) / len(requests) == pytest.approx(211, abs=1)


def test_mooncake_trace_shares_prefixes_when_present() -> None:
    """12,031 requests, most of whose blocks were seen before or are seen again."""
    with public_file("mooncake_conversation.jsonl").open() as lines:
        requests = read_trace(lines)
    assert len(requests) == 12031
    assert all(len(r.blocks) == -(-r.prompt_tokens // MOONCAKE_BLOCK_TOKENS) for r in requests)
    blocks = [block for request in requests for block in request.blocks]
    assert len(set(blocks)) < 0.8 * len(blocks)
