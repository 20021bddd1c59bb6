"""The public trace formats, read from lines.

Owns which format a trace is in, and what holds in all of them. Refuses files: the caller
opens them, and puts the file's name in front of an error. Formats:

- Azure 2023 and 2024, CSV: `TIMESTAMP,ContextTokens,GeneratedTokens` (Patel et al.,
  Splitwise, ISCA 2024; Stojkovic et al., DynamoLLM, HPCA 2025);
- BurstGPT, CSV: `Timestamp` in seconds, `Request tokens`, `Response tokens` among others
  (Wang et al., BurstGPT, KDD 2025). A response of 0 tokens is a request that failed there;
  its prompt is load all the same, so it generates one token here;
- Mooncake, JSONL: `timestamp` in ms, `input_length`, `output_length`, `hash_ids` of
  512-token blocks (FAST'25).

Invariants: `at_s` starts at 0 and never falls; a line that cannot be read, or is out of
order, is an error naming it, never skipped or moved; one line is held at a time.
"""

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from planner.workload.request import WorkloadRequest

MOONCAKE_BLOCK_TOKENS = 512  # Mooncake, FAST'25, trace release notes

_ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)  # any; near enough for microseconds in a float

_AZURE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_BURSTGPT_COLUMNS = ("Timestamp", "Request tokens", "Response tokens")


class TraceError(ValueError):
    """A trace that cannot be read; says which line, what it held and what is allowed."""


def read_trace(lines: Iterable[str]) -> tuple[WorkloadRequest, ...]:
    """A whole trace; see `stream_trace`.

    Raises:
        TraceError: As there, or the trace holds no request.
    """
    requests = tuple(stream_trace(lines))
    if not requests:
        raise TraceError("the trace holds no request; give one with at least one")
    return requests


def stream_trace(lines: Iterable[str]) -> Iterator[WorkloadRequest]:
    """Reads a trace, whose format its first line tells, as it goes.

    Raises:
        TraceError: The format is not known; a line is malformed, has a negative time or
            count, or is earlier than the one before it.
    """
    stream = iter(lines)
    first = next(stream, "").removeprefix("\ufeff").strip()
    known = _format_of(first)
    if not known.has_header:
        stream = chain([first], stream)
    start_s = last_s = math.nan
    for number, line in enumerate(stream, start=2 if known.has_header else 1):
        if not line.strip():
            continue
        try:
            request = known.parse(line)
        except (ValueError, TypeError, KeyError) as error:
            raise TraceError(
                f"line {number}: {line.strip()[:80]!r}: expected {known.expects} ({error!r})"
            ) from error
        if request.at_s < last_s:
            raise TraceError(
                f"line {number}: {line.strip()[:80]!r}: {last_s - request.at_s:.6f} s earlier"
                " than the request before it; sort the trace by time"
            )
        if math.isnan(start_s):
            start_s = request.at_s
        last_s = request.at_s
        yield replace(request, at_s=request.at_s - start_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Format:
    """How a line becomes a request, in the trace's own time."""

    parse: Callable[[str], WorkloadRequest]
    expects: str
    has_header: bool


def _format_of(first: str) -> _Format:
    if first.startswith("{"):
        return _Format(
            parse=_mooncake,
            expects="JSON with timestamp, input_length, output_length and hash_ids",
            has_header=False,
        )
    columns = [name.strip() for name in next(csv.reader([first]), [])]
    if tuple(columns) == _AZURE_COLUMNS:
        return _Format(parse=_azure, expects="a timestamp and two token counts", has_header=True)
    if set(_BURSTGPT_COLUMNS) <= set(columns):
        return _Format(parse=_BurstGpt(columns).parse, expects=f"columns {first}", has_header=True)
    raise TraceError(
        f"line 1: {first[:80]!r} starts no trace that is known: Azure"
        f" ({','.join(_AZURE_COLUMNS)}), BurstGPT (with columns {', '.join(_BURSTGPT_COLUMNS)})"
        " or Mooncake (one JSON object a line)"
    )


def _azure(line: str) -> WorkloadRequest:
    stamp, prompt, output = _columns(line)
    text, _, zone = stamp.strip().partition("+")
    # 2023 has seven decimals, of which datetime keeps six, and no zone; 2024 has one.
    at = datetime.fromisoformat(text[:26] + (f"+{zone}" if zone else "+00:00"))
    return _request((at - _ORIGIN).total_seconds(), int(prompt), int(output))


class _BurstGpt:
    """Reads the columns wherever they stand: editions differ in the others."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._count = len(columns)
        self._places = [columns.index(name) for name in _BURSTGPT_COLUMNS]

    def parse(self, line: str) -> WorkloadRequest:
        values = _columns(line)
        if len(values) != self._count:
            raise ValueError(f"{len(values)} columns, not {self._count}")
        stamp, prompt, output = (values[place] for place in self._places)
        at_s = float(stamp)
        if not (math.isfinite(at_s) and at_s >= 0.0):
            raise ValueError(f"time {stamp}: must be finite and >= 0")
        return _request(at_s, int(prompt), int(output))


def _mooncake(line: str) -> WorkloadRequest:
    record: dict[str, Any] = json.loads(line)
    at_s = float(record["timestamp"]) / 1e3
    if not (math.isfinite(at_s) and at_s >= 0.0):
        raise ValueError(f"timestamp {record['timestamp']}: must be finite and >= 0")
    blocks = tuple(int(block) for block in record.get("hash_ids", ()))
    return _request(at_s, int(record["input_length"]), int(record["output_length"]), blocks=blocks)


def _columns(line: str) -> list[str]:
    return next(csv.reader([line.strip()]))


def _request(
    at_s: float, prompt_tokens: int, output_tokens: int, *, blocks: tuple[int, ...] = ()
) -> WorkloadRequest:
    if prompt_tokens < 0 or output_tokens < 0:
        raise ValueError(
            f"{prompt_tokens} prompt and {output_tokens} output tokens: a count must be >= 0"
        )
    return WorkloadRequest(
        at_s=at_s,
        prompt_tokens=max(1, prompt_tokens),
        output_tokens=max(1, output_tokens),
        blocks=blocks,
        block_tokens=MOONCAKE_BLOCK_TOKENS if blocks else 0,
    )
