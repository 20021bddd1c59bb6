"""An input file, read by lines in bounded memory.

Owns numbering and byte offsets. Refuses to hold a line longer than the limit: its bytes
are passed over, and only its length is told.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_SKIP_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the input.

    Args:
        number: from 1.
        offset: of its first byte.
        length: in bytes, without its end-of-line.
        end_offset: of the byte after its end-of-line.
        content: None where it is longer than the limit.
    """

    number: int
    offset: int
    length: int
    end_offset: int
    content: bytes | None


def read_lines(file: BinaryIO, *, offset: int, number: int, max_line_bytes: int) -> Iterator[Line]:
    r"""Yields the lines from a place on.

    Args:
        file: seekable.
        offset: of the first line's first byte.
        number: of the first line.
        max_line_bytes: longest line whose content is held, without its "\n".
    """
    file.seek(offset)
    while raw := file.readline(max_line_bytes + 1):
        length = len(raw)
        is_ended = raw.endswith(b"\n")
        content: bytes | None = raw[:-1] if is_ended else raw
        if not is_ended and length > max_line_bytes:
            content = None
            while not is_ended and (raw := file.readline(_SKIP_BYTES)):
                length += len(raw)
                is_ended = raw.endswith(b"\n")
        end_offset = offset + length
        yield Line(
            number=number,
            offset=offset,
            length=length - is_ended,
            end_offset=end_offset,
            content=content,
        )
        offset, number = end_offset, number + 1
