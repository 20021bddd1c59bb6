"""Items and segments -> output and error file.

Owns the last step of a batch whose every line is decided. Invariants: lines in input
order, each in exactly one file; the files are durable before one row update publishes
both; killed at any point, it is done again under new names. Refuses to publish while a
segment cannot be read: nothing is left out.
"""

import errno
from collections.abc import Callable
from uuid import uuid4

from controlplane.batches.objects import RESULTS, ObjectStore
from controlplane.batches.ranges import ObjectDamagedError, RangeReader
from controlplane.batches.render import is_record, line_of
from storage.batch_records import BatchRecord, FinishedItem
from storage.batches import BatchStore

_PAGE = 500


def finalise(
    store: BatchStore,
    objects: ObjectStore,
    batch: BatchRecord,
    *,
    now: Callable[[], float],
    is_stopping: Callable[[], bool],
) -> bool:
    """Writes the files of a settled batch and publishes them.

    Args:
        store: rows.
        objects: segments, and where the files go.
        batch: settled.
        now: Unix seconds.
        is_stopping: asked between pages; True gives up without a trace.

    Returns:
        Whether this call published them.

    Raises:
        OSError: a segment cannot be read, or a file cannot be written.
    """
    token = uuid4().hex
    reader = RangeReader(objects)
    lines = 0
    after_line = 0
    with (
        objects.create(f"{RESULTS}/{batch.id}/{token}.output.jsonl") as output,
        objects.create(f"{RESULTS}/{batch.id}/{token}.error.jsonl") as errors,
    ):
        try:
            while page := store.finished_items(batch.id, after_line=after_line, limit=_PAGE):
                for item in page:
                    target = output if item.is_success else errors
                    target.write(line_of(batch.id, item, _record(reader, item)))
                lines += len(page)
                after_line = page[-1].line
                if is_stopping():
                    return False
        finally:
            reader.close()
        if lines != batch.total:
            raise ObjectDamagedError(
                errno.EIO, f"batch {batch.id}: {lines} lines are decided, {batch.total} counted"
            )
        output_uri, error_uri = output.publish(), errors.publish()
    if store.publish(batch.id, output_uri=output_uri, error_uri=error_uri, now_s=now()):
        return True
    objects.remove(output_uri)
    objects.remove(error_uri)
    return False


def _record(reader: RangeReader, item: FinishedItem) -> bytes | None:
    if item.segment_uri is None:
        return None
    record = reader.read(item.segment_uri, offset=item.segment_offset, length=item.segment_length)
    if not is_record(record):
        raise ObjectDamagedError(
            errno.EIO, f"holds no result at byte {item.segment_offset}", item.segment_uri
        )
    return record
