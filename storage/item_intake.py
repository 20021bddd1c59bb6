"""Writing a chunk of an input's lines: SQL only.

Invariants: a chunk and the place where the next one begins are one transaction, and the
chunk is taken only if it begins where the last one ended; so intake killed at any point,
or run twice at once, stores every line once.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from storage.batch_counts import CountChanges
from storage.batch_records import BatchState, IntakeChunk, ItemState, NewItem, RefusedLine
from storage.tables.batches import batches, items

_SLICE = 500  # below SQLite's oldest limit of 999 variables


def add_chunk(connection: Connection, batch: str, chunk: IntakeChunk, *, now_s: float) -> bool:
    """Stores a chunk; after the last one decides how the batch goes on.

    Returns:
        False if the batch has gone on meanwhile and nothing was written.
    """
    taken = connection.execute(
        sa.update(batches)
        .where(
            batches.c.id == batch,
            batches.c.intake_offset == chunk.from_offset,
            ~batches.c.is_intake_done,
            batches.c.state.in_((BatchState.VALIDATING.value, BatchState.CANCELLING.value)),
        )
        .values(
            intake_offset=chunk.to_offset,
            intake_line=chunk.to_line,
            is_intake_done=chunk.is_last,
        )
    )
    if not taken.rowcount:
        return False
    accepted, refused = _without_duplicates(connection, batch, chunk)
    _insert(connection, batch, accepted, refused)
    changes = CountChanges()
    changes.add(batch, "pending", len(accepted))
    changes.add(batch, "failed", len(refused))
    changes.add(batch, "valid_items", len(accepted))
    for name in ("estimated_prompt_tokens", "estimated_output_tokens"):
        changes.add(batch, name, sum(getattr(item, name) for item in accepted))
    changes.write(connection)
    if chunk.is_last:
        _decide(connection, batch, now_s=now_s)
    return True


def _without_duplicates(
    connection: Connection, batch: str, chunk: IntakeChunk
) -> tuple[Sequence[NewItem], Sequence[RefusedLine]]:
    """The chunk with every repeated custom_id refused; the first line keeps it."""
    lines: list[NewItem | RefusedLine] = [*chunk.items, *chunk.refused]
    lines.sort(key=lambda one: one.line)
    first_line = _known(connection, batch, [x.custom_id for x in lines if x.custom_id is not None])
    accepted: list[NewItem] = []
    refused: list[RefusedLine] = []
    for one in lines:
        first = one.line
        if one.custom_id is not None:
            first = first_line.setdefault(one.custom_id, one.line)
        match one:
            case NewItem() if first == one.line:
                accepted.append(one)
            case RefusedLine() if first == one.line:
                refused.append(one)
            case RefusedLine():
                refused.append(
                    RefusedLine(line=one.line, custom_id=None, code=one.code, message=one.message)
                )
            case _:
                refused.append(
                    RefusedLine(
                        line=one.line,
                        custom_id=None,
                        code="duplicate_custom_id",
                        message=f"line {one.line}: its custom_id is that of line {first};"
                        " give every line its own",
                    )
                )
    return accepted, refused


def _known(connection: Connection, batch: str, custom_ids: Sequence[str]) -> dict[str, int]:
    known: dict[str, int] = {}
    for at in range(0, len(custom_ids), _SLICE):
        rows = connection.execute(
            sa.select(items.c.custom_id, items.c.line).where(
                items.c.batch == batch, items.c.custom_id.in_(custom_ids[at : at + _SLICE])
            )
        )
        known.update((row.custom_id, row.line) for row in rows)
    return known


def _insert(
    connection: Connection,
    batch: str,
    accepted: Sequence[NewItem],
    refused: Sequence[RefusedLine],
) -> None:
    if accepted:
        connection.execute(
            sa.insert(items),
            [
                {
                    "batch": batch,
                    "line": one.line,
                    "custom_id": one.custom_id,
                    "url": one.url,
                    "body_offset": one.body_offset,
                    "body_length": one.body_length,
                    "state": ItemState.PENDING.value,
                }
                for one in accepted
            ],
        )
    if refused:
        connection.execute(
            sa.insert(items),
            [
                {
                    "batch": batch,
                    "line": one.line,
                    "custom_id": one.custom_id,
                    "state": ItemState.FAILED.value,
                    "error_code": one.code,
                    "error_message": one.message,
                }
                for one in refused
            ],
        )


def _decide(connection: Connection, batch: str, *, now_s: float) -> None:
    """VALIDATING goes to IN_PROGRESS, or to FAILED without a valid line."""
    row = connection.execute(
        sa.select(batches.c.state, batches.c.valid_items, batches.c.failed).where(
            batches.c.id == batch
        )
    ).one()
    if row.state != BatchState.VALIDATING.value:
        return  # cancelled meanwhile: its items become error lines
    if row.valid_items:
        changed: dict[str, object] = {"state": BatchState.IN_PROGRESS.value, "start_s": now_s}
    else:
        changed = {
            "state": BatchState.FAILED.value,
            "end_s": now_s,
            "message": _no_valid_line(connection, batch, lines=row.failed),
        }
    connection.execute(sa.update(batches).where(batches.c.id == batch).values(**changed))


def _no_valid_line(connection: Connection, batch: str, *, lines: int) -> str:
    first = connection.execute(
        sa.select(items.c.error_message)
        .where(items.c.batch == batch)
        .order_by(items.c.line)
        .limit(1)
    ).scalar()
    if first is None:
        return f"batch {batch}: the input holds no line; submit one request per line"
    return f"batch {batch}: none of {lines} lines is valid; the first: {first}"
