"""Lines of a workload's file: what they hold, and which one is wrong.

Owns what is the same in every format: blank lines and byte order marks are passed over,
columns are found by name, an error names its line, and what may be a time or a number of
tokens. Refuses files: the caller opens them, and puts the file's name in front of an error.
Invariants: one line is held at a time; whatever the text, a reader gives requests or a
`TraceError`.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence

from planner.workload.request import WorkloadRequest

MOST_TOKENS = 100_000_000
"""A count above is a broken file: ten times the longest context of a public model (Llama 4)."""

LATEST_S = 1e11
"""A time above is in another unit: three thousand years, so an epoch in seconds is below."""

_UNREADABLE = (ValueError, TypeError, LookupError, ArithmeticError, RecursionError, csv.Error)


class TraceError(ValueError):
    """A file that cannot be read; says which line, what it held and what is allowed."""


def numbered(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The lines that hold something, stripped, with their numbers from 1.

    Raises:
        TraceError: The lines are not text.
    """
    number = 0
    try:
        for number, line in enumerate(lines, start=1):
            text = line.removeprefix("\ufeff").strip()
            if text:
                yield number, text
    except UnicodeDecodeError as error:
        raise TraceError(
            f"after line {number}: not text ({error}); unpack the file, or save it as UTF-8"
        ) from error


def first_of(rows: Iterator[tuple[int, str]]) -> tuple[int, str]:
    """The line that tells the format.

    Raises:
        TraceError: There is none.
    """
    first = next(rows, None)
    if first is None:
        raise TraceError("line 1: the file is empty; give one with at least one request")
    return first


def parsed(
    rows: Iterable[tuple[int, str]],
    parse: Callable[[str], WorkloadRequest],
    *,
    expects: str,
    max_context_tokens: int | None,
) -> Iterator[tuple[int, str, WorkloadRequest]]:
    """Reads rows to requests, each with its line.

    Args:
        rows: as `numbered` gives them.
        parse: of one row.
        expects: what a row should hold, for the error.
        max_context_tokens: of prompt and output together; None: any length.

    Raises:
        TraceError: A row cannot be read, or its request is longer than the context.
    """
    for number, text in rows:
        try:
            request = parse(text)
        except _UNREADABLE as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise TraceError(f"{_at(number, text)}: {reason}; expected {expects}") from error
        total_tokens = request.prompt_tokens + request.output_tokens
        if max_context_tokens is not None and total_tokens > max_context_tokens:
            raise TraceError(
                f"{_at(number, text)}: {request.prompt_tokens} prompt and"
                f" {request.output_tokens} output tokens are {total_tokens}, more than the"
                f" context of {max_context_tokens}; --fit-context cuts such requests, a larger"
                " --context-tokens admits them"
            )
        yield number, text, request


def out_of_order(number: int, text: str, *, earlier_s: float) -> TraceError:
    """The error of a line that goes back in time."""
    return TraceError(
        f"{_at(number, text)}: {earlier_s:.6f} s earlier than the request before it; sort the"
        " trace by time"
    )


class Columns:
    """Some columns of a table, wherever they stand: editions differ in the others."""

    def __init__(self, header: Sequence[str], names: Sequence[str]) -> None:
        self._count = len(header)
        self._places = [header.index(name) for name in names]

    def values(self, text: str) -> list[str]:
        """The columns' values, in the order of their names.

        Raises:
            ValueError: The row is not as wide as the header.
            csv.Error: It is no row.
        """
        row = split_row(text)
        if len(row) != self._count:
            raise ValueError(f"{len(row)} columns, not {self._count}")
        return [row[place] for place in self._places]


def split_row(text: str) -> list[str]:
    """The values of a line of CSV, quotes and spaces around them removed.

    Raises:
        csv.Error: It is no row.
    """
    return [value.strip() for value in next(csv.reader([text], skipinitialspace=True), [])]


def split_header(number: int, text: str) -> list[str]:
    """The names of a table's columns.

    Raises:
        TraceError: The line is no row.
    """
    try:
        return split_row(text)
    except csv.Error as error:
        raise TraceError(f"{_at(number, text)}: {error}; expected a row of CSV") from error


def token_count(value: str | float) -> int:
    """A number of tokens; tables that went through floats say 374.0.

    Raises:
        ValueError: It is not a whole number, negative, or too large for any context.
        TypeError: It is no number at all.
    """
    number = float(value)
    if isinstance(value, bool) or not (0 <= number <= MOST_TOKENS and number.is_integer()):
        raise ValueError(f"{value!r} tokens: must be whole, >= 0 and <= {MOST_TOKENS}")
    return int(number)


def seconds(value: str | float, *, per_s: float = 1.0) -> float:
    """A time in seconds.

    Args:
        value: in a unit of which `per_s` make a second.
        per_s: 1000 for milliseconds.

    Raises:
        ValueError: It is not finite, negative, or so late that its unit is another.
        TypeError: It is no number at all.
    """
    at_s = float(value) / per_s
    if isinstance(value, bool) or not 0 <= at_s <= LATEST_S:
        raise ValueError(
            f"time {value!r}: must be finite, >= 0 and <= {LATEST_S * per_s:g}; check its unit"
        )
    return at_s


def requested(
    at_s: float,
    prompt_tokens: int,
    output_tokens: int,
    *,
    blocks: tuple[int, ...] = (),
    block_tokens: int = 0,
) -> WorkloadRequest:
    """A row's request; nothing can be asked for less than one token each way."""
    return WorkloadRequest(
        at_s=at_s,
        prompt_tokens=max(1, prompt_tokens),
        output_tokens=max(1, output_tokens),
        blocks=blocks,
        block_tokens=block_tokens if blocks else 0,
    )


def _at(number: int, text: str) -> str:
    return f"line {number}: {text[:80]!r}"
