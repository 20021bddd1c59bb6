"""What was asked of `slacktide replay`, and how what cannot be is refused.

Owns the values behind the options, whose help says what each is, and putting a file's name in
front of what is wrong in it. Refuses defaults: those are the command's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from controlplane.cli.failures import CommandError

GENERATED, BURST_IDLE = "generated", "burst-idle"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """What was asked for on the command line."""

    trace: str
    hardware: str
    model: str
    tensor_parallel_size: int
    operators: Path | None
    all_reduce: Path | None
    predictor: str
    offline: str
    offline_in_flight: int
    rate: float | None
    rate_scale: float
    length_scale: float
    start_s: float
    duration_s: float | None
    max_requests: int | None
    context_tokens: int | None
    fits_context: bool
    noise_ratio: float
    seed: int

    @property
    def is_generated(self) -> bool:
        """Whether no trace was given."""
        return self.trace in (GENERATED, BURST_IDLE)


@contextmanager
def refusing(path: Path | None = None) -> Iterator[None]:
    """What these inputs cannot be is one clear line, with the file's name."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise CommandError(f"{path}: not a text file ({error.reason})") from error
    except ValueError as error:
        where = "" if path is None else f"{path}: "
        raise CommandError(f"{where}{error}") from error


def opened_again(path: Path) -> TextIO:
    """The text of a file that is read more than once: to check it, then by every replay.

    Raises:
        CommandError: A pipe or a device, which ends with its first reader.
        OSError: It cannot be opened.
    """
    if path.is_fifo() or path.is_char_device() or path.is_socket():
        raise CommandError(f"{path}: a replay reads it again and again; save it to a file first")
    return path.open(encoding="utf-8")
