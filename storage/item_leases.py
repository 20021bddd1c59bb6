"""Leasing items and committing their results: SQL only.

Invariants: a lease is (item, attempt, node) and `attempt` grows with each; a result is
committed only while its lease stands, so an item is decided once.
"""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from planner.dispatch.pick import Candidate, Pick
from storage.batch_counts import CountChanges
from storage.batch_records import (
    BatchState,
    ItemState,
    LeasedItem,
    LeaseKey,
    Lessee,
    NewSegment,
    Outcome,
    RetryLimits,
)
from storage.tables.batches import LEASED, batches, items, segments

_SLICE = 500  # below SQLite's oldest limit of 999 variables


def candidates(
    connection: Connection, deployment: str, *, excluding: Iterable[str] = ()
) -> tuple[Candidate, ...]:
    """The batches a replica of the deployment may take items from, and those in flight."""
    rows = connection.execute(
        sa.select(batches)
        .where(
            batches.c.state == BatchState.IN_PROGRESS.value,
            batches.c.deployment == deployment,
            batches.c.id.not_in(sorted(excluding)),
        )
        .order_by(batches.c.create_s, batches.c.id)
    )
    return tuple(
        Candidate(
            batch=row.id,
            tenant=row.tenant,
            create_s=row.create_s,
            deadline_s=row.deadline_s,
            start_s=row.start_s or row.create_s,
            pending=row.pending,
            leased=row.leased,
            done=row.valid_items - row.pending - row.leased,
            item_tokens=max(
                1.0,
                (row.estimated_prompt_tokens + row.estimated_output_tokens)
                / max(1, row.valid_items),
            ),
        )
        for row in rows
    )


def lease(
    connection: Connection,
    lessee: Lessee,
    picks: Sequence[Pick],
    *,
    max_bytes: int,
    limits: RetryLimits,
) -> tuple[LeasedItem, ...]:
    """Leases what was picked, in line order, while the bodies fit `max_bytes`.

    The first item is leased whatever its size. A suspect (`RetryLimits.alone_after`) is
    leased alone: once its batch has nothing else pending, the replica gets no more until
    it holds nothing, then the suspect, then no more until that has ended.
    """
    is_suspect = items.c.failures + items.c.losses >= limits.alone_after
    held, held_suspects = _held_counts(connection, lessee, is_suspect)
    if held_suspects:
        return ()
    leased: list[LeasedItem] = []
    room = max_bytes
    for one in picks:
        rows = _pending(connection, one, ~is_suspect)
        if not rows:
            suspects = _pending(connection, Pick(batch=one.batch, items=1), is_suspect)
            if suspects and not held and not leased:
                leased.append(_leased_item(suspects[0]))
            if suspects:
                break
        for row in rows:
            if row.body_length > room and leased:
                room = 0
                break
            room -= row.body_length
            leased.append(_leased_item(row))
        if room <= 0:
            break
    changes = CountChanges()
    for batch in sorted({item.key.batch for item in leased}):
        lines = [item.key.line for item in leased if item.key.batch == batch]
        _set_leased(connection, lessee, batch, lines)
        changes.move(batch, before=ItemState.PENDING, after=ItemState.LEASED, items=len(lines))
    changes.write(connection)
    return tuple(leased)


def _held_counts(
    connection: Connection, lessee: Lessee, is_suspect: sa.ColumnElement[bool]
) -> tuple[int, int]:
    """Items a replica holds, and how many of them are suspects."""
    row = connection.execute(
        sa.select(sa.func.count(), sa.func.count(sa.case((is_suspect, 1)))).where(
            items.c.state == LEASED,
            items.c.node == lessee.node,
            items.c.replica == lessee.replica,
        )
    ).one()
    return row[0], row[1]


def held_by(connection: Connection, lessee: Lessee) -> tuple[LeaseKey, ...]:
    """Every lease of a replica on a node."""
    rows = connection.execute(
        sa.select(items.c.batch, items.c.line, items.c.attempt).where(
            items.c.state == LEASED,
            items.c.node == lessee.node,
            items.c.replica == lessee.replica,
        )
    )
    return tuple(LeaseKey(batch=row.batch, line=row.line, attempt=row.attempt) for row in rows)


def commit(
    connection: Connection,
    lessee: Lessee,
    outcomes: Sequence[Outcome],
    *,
    segment: NewSegment | None,
    limits: RetryLimits,
) -> tuple[tuple[LeaseKey, ...], tuple[str, ...]]:
    """Decides items by results that are durable in `segment`.

    Args:
        connection: writing.
        lessee: who had the leases.
        outcomes: by lease; their places are in the segment.
        segment: None where no result has content, since no lease stood.
        limits: when a retryable failure becomes an error line.

    Returns:
        Leases that did not stand any more, and batches that went to FINALIZING. A repeat
        of a result that was committed is neither an error nor superseded.
    """
    if segment is not None:
        connection.execute(
            sa.insert(segments).values(
                id=segment.id,
                uri=segment.uri,
                size_bytes=segment.size_bytes,
                create_s=segment.create_s,
            )
        )
    changes = CountChanges()
    superseded: list[LeaseKey] = []
    seen: set[LeaseKey] = set()
    rows = _rows(connection, [one.key for one in outcomes])
    for one in sorted(outcomes, key=lambda outcome: outcome.key):
        row = rows.get((one.key.batch, one.key.line))
        if one.key in seen:
            continue
        seen.add(one.key)
        if row is None or row.attempt != one.key.attempt or row.node != lessee.node:
            superseded.append(one.key)
        elif row.state == ItemState.LEASED.value and segment is not None and one.length:
            _decide(connection, one, row, segment=segment.id, limits=limits, changes=changes)
        elif row.segment is None:
            superseded.append(one.key)
    return tuple(superseded), changes.write(connection)


def _pending(
    connection: Connection, one: Pick, kind: sa.ColumnElement[bool]
) -> Sequence[Row[tuple[object, ...]]]:
    return connection.execute(
        sa.select(items, batches.c.input_uri, batches.c.deadline_s)
        .join(batches, batches.c.id == items.c.batch)
        .where(items.c.batch == one.batch, items.c.state == ItemState.PENDING.value, kind)
        .order_by(items.c.line)
        .limit(one.items)
        .with_for_update(of=items, skip_locked=True)
    ).all()


def _leased_item(row: Row[tuple[object, ...]]) -> LeasedItem:
    return LeasedItem(
        key=LeaseKey(batch=row.batch, line=row.line, attempt=row.attempt + 1),
        custom_id=row.custom_id,
        url=row.url,
        input_uri=row.input_uri,
        body_offset=row.body_offset,
        body_length=row.body_length,
        deadline_s=row.deadline_s,
    )


def _set_leased(connection: Connection, lessee: Lessee, batch: str, lines: list[int]) -> None:
    for at in range(0, len(lines), _SLICE):
        connection.execute(
            sa.update(items)
            .where(items.c.batch == batch, items.c.line.in_(lines[at : at + _SLICE]))
            .values(
                state=ItemState.LEASED.value,
                attempt=items.c.attempt + 1,
                node=lessee.node,
                replica=lessee.replica,
            )
        )


def _rows(
    connection: Connection, keys: Sequence[LeaseKey]
) -> dict[tuple[str, int], Row[tuple[object, ...]]]:
    found: dict[tuple[str, int], Row[tuple[object, ...]]] = {}
    for batch in sorted({key.batch for key in keys}):
        lines = sorted({key.line for key in keys if key.batch == batch})
        for at in range(0, len(lines), _SLICE):
            rows = connection.execute(
                sa.select(items)
                .where(items.c.batch == batch, items.c.line.in_(lines[at : at + _SLICE]))
                .with_for_update()
            )
            found.update(((row.batch, row.line), row) for row in rows)
    return found


def _decide(
    connection: Connection,
    one: Outcome,
    row: Row[tuple[object, ...]],
    *,
    segment: str,
    limits: RetryLimits,
    changes: CountChanges,
) -> None:
    failures = row.failures + (0 if one.is_success else 1)
    tries_again = not one.is_success and one.is_retryable and failures < limits.max_failures
    values: dict[str, object] = {"failures": failures}
    if tries_again:
        after = ItemState.PENDING
    else:
        after = ItemState.SUCCEEDED if one.is_success else ItemState.FAILED
        values |= {
            "segment": segment,
            "segment_offset": one.offset,
            "segment_length": one.length,
        }
        changes.add(one.key.batch, "prompt_tokens", one.prompt_tokens)
        changes.add(one.key.batch, "output_tokens", one.output_tokens)
    connection.execute(
        sa.update(items)
        .where(items.c.batch == one.key.batch, items.c.line == one.key.line)
        .values(state=after.value, **values)
    )
    changes.move(one.key.batch, before=ItemState.LEASED, after=after)
