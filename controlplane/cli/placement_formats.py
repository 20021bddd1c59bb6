"""Ways in which `slacktide placement` shows an answer, and how it asks before it changes one.

Owns the formats beyond those of every command, rounds as people write them, and consent.
Refuses to ask off a terminal: there a command that would ask wants --yes.
"""

import sys
from enum import StrEnum
from typing import Annotated

import typer
from google.protobuf.message import Message

from controlplane.cli.failures import CommandError, ExitCode
from controlplane.cli.output import Format, show_message

_INT64_DIGITS = 19


class WideFormat(StrEnum):
    """Ways to show an answer that a terminal may be too narrow for."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


class PictureFormat(StrEnum):
    """The same, and the picture."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    HTML = "html"


WideOption = Annotated[
    WideFormat, typer.Option("-o", "--output", help="How to show the answer.", show_default=True)
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
ReasonOption = Annotated[str, typer.Option(help="Why, for whoever looks next.")]


def shown_as_data(answer: Message, form: WideFormat | PictureFormat) -> bool:
    """Shows the answer whole where JSON or YAML is wanted, and says whether it was."""
    if form.value not in (Format.JSON, Format.YAML):
        return False
    show_message(answer, Format(form.value))
    return True


def plain(form: WideFormat) -> Format:
    """The format for an answer that has nothing more to show in a wide one."""
    return Format.TABLE if form is WideFormat.WIDE else Format(form.value)


def round_name(given: str) -> str:
    """plans/{round} for a round's number.

    Raises:
        CommandError: not a number.
    """
    number = given.removeprefix("plans/")
    if not (number.isascii() and number.isdigit() and len(number) < _INT64_DIGITS):
        raise CommandError(
            f"plan {given[:40]!r}: expected the number of a round, e.g. 12;"
            " next: slacktide placement history"
        )
    return f"plans/{int(number)}"


def consent(question: str, *, yes: bool) -> None:
    """Returns once the operator agrees.

    Raises:
        CommandError: they do not, or nobody can be asked.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CommandError(f"{question} Nobody can be asked off a terminal; add --yes")
    if not typer.confirm(question, err=True):
        raise CommandError("nothing was changed", ExitCode.DIFFERENT)
