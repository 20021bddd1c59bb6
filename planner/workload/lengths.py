"""Lengths of offline work, read from lines.

Owns the table that Vidur publishes its lengths in: CSV with the columns
`num_prefill_tokens` and `num_decode_tokens` among others (Agrawal et al., MLSys 2024).
Refuses files and arrival times: every request is there at 0. Invariants: as in `lines`.
"""

from collections.abc import Iterable, Iterator

from planner.workload.lines import (
    Columns,
    TraceError,
    first_of,
    numbered,
    parsed,
    requested,
    split_header,
    token_count,
)
from planner.workload.request import WorkloadRequest

LENGTH_COLUMNS = ("num_prefill_tokens", "num_decode_tokens")


def stream_lengths(
    lines: Iterable[str], *, max_context_tokens: int | None = None
) -> Iterator[WorkloadRequest]:
    """Reads a table of lengths as it goes.

    Args:
        lines: of the file, the header first.
        max_context_tokens: of prompt and output together; None: any length.

    Raises:
        TraceError: A column is missing, a line is malformed or has a negative count, or a
            request is longer than the context.
    """
    rows = numbered(lines)
    number, header = first_of(rows)
    columns = Columns(_names(number, header), LENGTH_COLUMNS)

    def parse(text: str) -> WorkloadRequest:
        prompt, output = columns.values(text)
        return requested(0.0, token_count(prompt), token_count(output))

    for _, _, request in parsed(
        rows, parse, expects=f"columns {header[:80]}", max_context_tokens=max_context_tokens
    ):
        yield request


def _names(number: int, header: str) -> list[str]:
    names = split_header(number, header)
    if not set(LENGTH_COLUMNS) <= set(names):
        raise TraceError(
            f"line {number}: {header[:80]!r} is no header of a table of lengths; it needs the"
            f" columns {', '.join(LENGTH_COLUMNS)}"
        )
    return names
