"""The public trace formats, read from lines.

Owns the Azure 2023 CSV (`TIMESTAMP,ContextTokens,GeneratedTokens`; Patel et al.,
Splitwise, ISCA 2024) and the Mooncake JSONL (`timestamp` in ms, `input_length`,
`output_length`, `hash_ids` of 512-token blocks; FAST'25). Refuses files: the caller
opens them. Invariants: `at_s` starts at 0 and never falls; a line that cannot be read
is an error naming it, never skipped.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain
from typing import Any

from planner.workload.request import WorkloadRequest

MOONCAKE_BLOCK_TOKENS = 512  # Mooncake, FAST'25, trace release notes

_ORIGIN = datetime(2000, 1, 1)  # any; near enough for microseconds in a float

_AZURE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


class TraceError(ValueError):
    """A trace that cannot be read; says which line, what it held and what is allowed."""


def read_trace(lines: Iterable[str]) -> tuple[WorkloadRequest, ...]:
    """Reads a trace whose format its first line tells.

    Raises:
        TraceError: the format is not known, or a line is malformed.
    """
    stream = iter(lines)
    first = next(stream, "").removeprefix("\ufeff").strip()
    if first.startswith("{"):
        requests = _mooncake(chain([first], stream))
    elif tuple(next(csv.reader([first]), ())) == _AZURE_COLUMNS:
        requests = _azure(stream)
    else:
        raise TraceError(
            f"line 1: {first[:80]!r} starts neither an Azure trace ({','.join(_AZURE_COLUMNS)})"
            " nor a Mooncake trace (one JSON object a line); give one of the two"
        )
    ordered = sorted(requests, key=lambda request: request.at_s)
    if not ordered:
        raise TraceError("the trace holds no request; give one with at least one")
    start_s = ordered[0].at_s
    return tuple(
        WorkloadRequest(
            at_s=request.at_s - start_s,
            prompt_tokens=request.prompt_tokens,
            output_tokens=request.output_tokens,
            blocks=request.blocks,
            block_tokens=request.block_tokens,
        )
        for request in ordered
    )


def _azure(lines: Iterator[str]) -> Iterator[WorkloadRequest]:
    for number, row in enumerate(csv.reader(lines), start=2):
        if not row:
            continue
        try:
            stamp, prompt, output = row
            # Seven decimals in the trace; datetime keeps six.
            at = datetime.fromisoformat(stamp.strip()[:26])
            lengths = int(prompt), int(output)
        except ValueError as error:
            raise TraceError(
                f"line {number}: {','.join(row)[:80]!r}: expected a timestamp and two token"
                f" counts ({error})"
            ) from error
        yield _request((at - _ORIGIN).total_seconds(), *lengths, line=number)


def _mooncake(lines: Iterable[str]) -> Iterator[WorkloadRequest]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record: dict[str, Any] = json.loads(line)
            at_s = float(record["timestamp"]) / 1e3
            lengths = int(record["input_length"]), int(record["output_length"])
            blocks = tuple(int(block) for block in record.get("hash_ids", ()))
        except (ValueError, TypeError, KeyError) as error:
            raise TraceError(
                f"line {number}: {line.strip()[:80]!r}: expected JSON with timestamp,"
                f" input_length, output_length and hash_ids ({error!r})"
            ) from error
        yield _request(at_s, *lengths, line=number, blocks=blocks)


def _request(
    at_s: float, prompt_tokens: int, output_tokens: int, *, line: int, blocks: tuple[int, ...] = ()
) -> WorkloadRequest:
    if prompt_tokens < 0 or output_tokens < 0:
        raise TraceError(
            f"line {line}: {prompt_tokens} prompt and {output_tokens} output tokens;"
            " a count must be >= 0"
        )
    return WorkloadRequest(
        at_s=at_s,
        prompt_tokens=max(1, prompt_tokens),
        output_tokens=max(1, output_tokens),
        blocks=blocks,
        block_tokens=MOONCAKE_BLOCK_TOKENS if blocks else 0,
    )
