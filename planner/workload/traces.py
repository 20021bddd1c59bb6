"""The public trace formats, read from lines.

Owns which format a trace is in, and its order of time. Refuses files: the caller opens
them, and puts the file's name in front of an error. Formats:

- Azure 2023, 2024 and 2025, CSV: `TIMESTAMP`, `ContextTokens`, `GeneratedTokens` among
  others (Patel et al., Splitwise, ISCA 2024; Stojkovic et al., DynamoLLM, HPCA 2025; Qiu et
  al., ModServe, SoCC 2025). A time without a zone is taken as UTC; a date is never negative;
- BurstGPT 1, 2 and 3, CSV: `Timestamp` in seconds, `Request tokens`, `Response tokens`
  among others (Wang et al., BurstGPT, KDD 2025). A response of 0 tokens is a request that
  failed there; its prompt is load all the same, so it generates one token here;
- Mooncake, JSONL: `timestamp` in ms, `input_length`, `output_length`, `hash_ids` of
  512-token blocks (Qin et al., FAST 2025); conversation, toolagent and synthetic alike;
- Qwen-Bailian, JSONL: as Mooncake with `chat_id`, `timestamp` in seconds and 16-token
  blocks (Wang et al., USENIX ATC 2025).

Invariants: `at_s` starts at 0 and never falls; a line that cannot be read, or is out of
order, is an error naming it, never skipped or moved; one line is held at a time.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain

from planner.workload.lines import (
    Columns,
    TraceError,
    first_of,
    numbered,
    out_of_order,
    parsed,
    requested,
    seconds,
    split_header,
    token_count,
)
from planner.workload.request import WorkloadRequest

__all__ = ["BAILIAN_BLOCK_TOKENS", "MOONCAKE_BLOCK_TOKENS", "TraceError", "read_trace",
           "stream_trace"]  # fmt: skip

MOONCAKE_BLOCK_TOKENS = 512  # Mooncake, FAST'25, trace release notes
BAILIAN_BLOCK_TOKENS = 16  # Qwen-Bailian usage traces, release notes

_ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)  # any; near enough for microseconds in a float

_AZURE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_BURSTGPT_COLUMNS = ("Timestamp", "Request tokens", "Response tokens")


def read_trace(
    lines: Iterable[str], *, max_context_tokens: int | None = None
) -> tuple[WorkloadRequest, ...]:
    """A whole trace; see `stream_trace`.

    Raises:
        TraceError: As there, or the trace holds no request.
    """
    requests = tuple(stream_trace(lines, max_context_tokens=max_context_tokens))
    if not requests:
        raise TraceError("the trace holds no request; give one with at least one")
    return requests


def stream_trace(
    lines: Iterable[str], *, max_context_tokens: int | None = None
) -> Iterator[WorkloadRequest]:
    """Reads a trace, whose format its first line tells, as it goes.

    Args:
        lines: of the file.
        max_context_tokens: of prompt and output together; None: any length.

    Raises:
        TraceError: The format is not known; a line is malformed, has a negative time or
            count, is earlier than the one before it, or longer than the context.
    """
    rows = numbered(lines)
    number, first = first_of(rows)
    known = _format_of(number, first)
    if not known.has_header:
        rows = chain([(number, first)], rows)
    start_s = last_s = math.nan
    for number, text, request in parsed(
        rows, known.parse, expects=known.expects, max_context_tokens=max_context_tokens
    ):
        if request.at_s < last_s:
            raise out_of_order(number, text, earlier_s=last_s - request.at_s)
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


def _format_of(number: int, first: str) -> _Format:
    if first.startswith("{"):
        return _Format(
            parse=_Blocks().parse,
            expects="JSON with timestamp, input_length, output_length and hash_ids",
            has_header=False,
        )
    header = split_header(number, first)
    if set(_AZURE_COLUMNS) <= set(header):
        parse = _table(header, _AZURE_COLUMNS, at_s=_azure_s)
    elif set(_BURSTGPT_COLUMNS) <= set(header):
        parse = _table(header, _BURSTGPT_COLUMNS, at_s=seconds)
    else:
        raise TraceError(
            f"line {number}: {first[:80]!r} starts no trace that is known: Azure (with columns"
            f" {', '.join(_AZURE_COLUMNS)}), BurstGPT (with columns"
            f" {', '.join(_BURSTGPT_COLUMNS)}), Mooncake or Qwen-Bailian (one JSON object a line)"
        )
    return _Format(parse=parse, expects=f"columns {first[:80]}", has_header=True)


def _table(
    header: Sequence[str], names: Sequence[str], *, at_s: Callable[[str], float]
) -> Callable[[str], WorkloadRequest]:
    """Reads rows with a time, a prompt and an output among their columns."""
    columns = Columns(header, names)

    def parse(text: str) -> WorkloadRequest:
        stamp, prompt, output = columns.values(text)
        return requested(at_s(stamp), token_count(prompt), token_count(output))

    return parse


def _azure_s(stamp: str) -> float:
    # 2023 has seven decimals, of which datetime keeps six, and no zone; 2024 has one.
    at = datetime.fromisoformat(stamp)
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _ORIGIN).total_seconds()


class _Blocks:
    """Reads JSON lines whose prompts name their prefix blocks.

    The blocks have the published size, unless the first prompt of two or more has more ids
    than that: then they are smaller, of a power of two. Ids may end before the prompt does;
    what follows them is its own.
    """

    def __init__(self) -> None:
        self._block_tokens = 0

    def parse(self, text: str) -> WorkloadRequest:
        record = json.loads(text)
        if not isinstance(record, dict):
            raise ValueError("not a JSON object")
        is_bailian = "chat_id" in record
        at_s = seconds(record["timestamp"], per_s=1.0 if is_bailian else 1e3)
        prompt_tokens = token_count(record["input_length"])
        blocks = tuple(_block_id(block) for block in record.get("hash_ids") or ())
        published = BAILIAN_BLOCK_TOKENS if is_bailian else MOONCAKE_BLOCK_TOKENS
        if len(blocks) > 1 and not self._block_tokens:
            self._block_tokens = _block_size(prompt_tokens, len(blocks), published=published)
        block_tokens = self._block_tokens or published
        if len(blocks) > max(1, -(-prompt_tokens // block_tokens)):
            raise ValueError(
                f"{len(blocks)} blocks of {block_tokens} tokens for a prompt of {prompt_tokens}"
            )
        return requested(
            at_s,
            prompt_tokens,
            token_count(record["output_length"]),
            blocks=blocks,
            block_tokens=block_tokens,
        )


def _block_id(value: object) -> int:
    """An id of 64 bits; hashes may be signed, and floats where a table was between."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -(1 << 63) <= value < 1 << 64:
        raise ValueError(f"hash id {value!r}: must be a whole number of 64 bits")
    return value % (1 << 64)


def _block_size(prompt_tokens: int, count: int, *, published: int) -> int:
    """The size of which a prompt has `count` blocks, its last, cut one named or not."""
    if count <= -(-prompt_tokens // published):
        return published
    smaller = [published >> power for power in range(1, published.bit_length())]
    for size in smaller:
        if count == -(-prompt_tokens // size):
            return size
    for size in smaller:
        if count == prompt_tokens // size:
            return size
    raise ValueError(
        f"{count} blocks for a prompt of {prompt_tokens} tokens: a block of {published}, or of a"
        " smaller power of two, does not make so many"
    )
