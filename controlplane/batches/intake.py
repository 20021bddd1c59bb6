"""Input file -> items, chunk by chunk.

Owns turning a batch in VALIDATING (or cancelled before its end) into rows. Invariants:
a chunk is stored in one transaction with the place where the next begins, so a batch is
resumed by looking at its row; memory holds one chunk, whatever a line's length.
"""

from controlplane.batches.lines import Line, read_lines
from controlplane.batches.objects import ObjectStore
from controlplane.batches.parse import parse_line, too_long
from storage.batch_records import BatchRecord, IntakeChunk, NewItem, RefusedLine
from storage.batches import BatchStore

MAX_LINE_BYTES = 8 * 1024 * 1024
"""Half of what a message of the fleet may hold (`slacktide.wire.server`), so that any
body goes through."""
_CHUNK_LINES = 500
_CHUNK_BYTES = 16 * 1024 * 1024


def take_chunk(
    store: BatchStore,
    objects: ObjectStore,
    batch: BatchRecord,
    *,
    now_s: float,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> bool:
    """Reads and stores the next chunk of a batch.

    Returns:
        Whether it was stored; False if another control plane was faster.

    Raises:
        OSError: the input cannot be read.
    """
    items: list[NewItem] = []
    refused: list[RefusedLine] = []
    end_offset, end_line = batch.intake_offset, batch.intake_line
    is_last = True
    with objects.open(batch.input_uri) as file:
        for line in read_lines(
            file, offset=end_offset, number=end_line + 1, max_line_bytes=max_line_bytes
        ):
            match _judged(line, max_line_bytes=max_line_bytes):
                case NewItem() as item:
                    items.append(item)
                case RefusedLine() as refusal:
                    refused.append(refusal)
            end_offset, end_line = line.end_offset, line.number
            if (
                end_line - batch.intake_line >= _CHUNK_LINES
                or end_offset - batch.intake_offset >= _CHUNK_BYTES
            ):
                is_last = False
                break
    chunk = IntakeChunk(
        from_offset=batch.intake_offset,
        to_offset=end_offset,
        to_line=end_line,
        items=items,
        refused=refused,
        is_last=is_last,
    )
    return store.add_chunk(batch.id, chunk, now_s=now_s)


def _judged(line: Line, *, max_line_bytes: int) -> NewItem | RefusedLine | None:
    if line.content is None:
        return too_long(line=line.number, length=line.length, max_line_bytes=max_line_bytes)
    if not line.content.strip():
        return None
    return parse_line(line.content, line=line.number, offset=line.offset)
