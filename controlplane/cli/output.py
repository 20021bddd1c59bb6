"""How answers are shown.

Owns table, JSON and YAML. Data goes to stdout, progress and notes to stderr. JSON is the
proto-JSON of the answer with every field present, and is a contract; tables are for
people and may change. Off a terminal tables are plain text; NO_COLOR is honoured.
"""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Generic, TypeVar

import typer
import yaml
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table

MessageT = TypeVar("MessageT", bound=Message)


class Format(StrEnum):
    """Ways to show an answer."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


FormatOption = Annotated[
    Format, typer.Option("-o", "--output", help="How to show the answer.", show_default=True)
]


@dataclass(frozen=True, kw_only=True)  # no slots: `Column[Node](…)` could not be made in 3.11
class Column(Generic[MessageT]):
    """One column of a table."""

    header: str
    cell: Callable[[MessageT], str]
    right: bool = False


def show_list(
    answer: Message, rows: Iterable[MessageT], columns: Sequence[Column[MessageT]], form: Format
) -> None:
    """Shows a list; JSON and YAML show `answer` whole."""
    if form is not Format.TABLE:
        show_message(answer, form)
        return
    show_table(
        [column.header for column in columns],
        [[column.cell(row) for column in columns] for row in rows],
        right=[column.right for column in columns],
    )


def show_one(answer: Message, facts: Sequence[tuple[str, str]], form: Format) -> None:
    """Shows one resource as `label  value` lines; empty values are left out."""
    if form is not Format.TABLE:
        show_message(answer, form)
        return
    shown = [(label, value) for label, value in facts if value]
    width = max((len(label) for label, _ in shown), default=0)
    for label, value in shown:
        first, *rest = value.splitlines()
        print(f"{label:<{width}}  {first}")
        for line in rest:
            print(f"{'':<{width}}  {line}")


def show_message(answer: Message, form: Format) -> None:
    """Shows a protobuf message as JSON or YAML."""
    show_mapping(MessageToDict(answer, always_print_fields_with_no_presence=True), form)


def show_mapping(mapping: object, form: Format) -> None:
    """Shows JSON-like data as JSON or YAML."""
    if form is Format.YAML:
        print(yaml.safe_dump(mapping, sort_keys=False, allow_unicode=True), end="")
    else:
        print(json.dumps(mapping, indent=2, ensure_ascii=False))


def show_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[bool] | None = None
) -> None:
    """A table on stdout: coloured on a terminal, aligned plain text elsewhere."""
    aligned = right or [False] * len(headers)
    if not sys.stdout.isatty():
        print("\n".join(plain_lines([[h.upper() for h in headers], *rows], aligned)))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for header, is_right in zip(headers, aligned, strict=True):
        table.add_column(header.upper(), justify="right" if is_right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table)


def plain_lines(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    """Rows as lines, columns two blanks apart."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(right))]
    return [
        "  ".join(
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]


def say(text: str) -> None:
    """One line of progress, or a note, on stderr."""
    print(text, file=sys.stderr, flush=True)
