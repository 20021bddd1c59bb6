"""Leasing items, committing their results, taking them back: SQL only.

Invariants: a lease is (item, attempt, node) and `attempt` grows with each; a result is
committed only while its lease stands, so an item is decided once; whatever ends a lease
without a result makes the item pending again, until `RetryLimits` makes it an error line.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
)
from storage.tables.batches import batches, items, segments

_SLICE = 500  # below SQLite's oldest limit of 999 variables

# A literal, no parameter: that is how SQLite sees that a partial index serves.
_IS_LEASED = items.c.state == sa.literal(ItemState.LEASED.value, literal_execute=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryLimits:
    """When an item stops being tried.

    Args:
        max_failures: results that said retryable; the last one becomes the error line.
        max_attempts: leases, however they ended. Stops an item that kills engines or
            nodes: its leases are lost, and no failure is ever reported.
    """

    max_failures: int = 3
    max_attempts: int = 20


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
            pending=row.pending,
            leased=row.leased,
            item_tokens=max(
                1.0,
                (row.estimated_prompt_tokens + row.estimated_output_tokens)
                / max(1, row.valid_items),
            ),
        )
        for row in rows
    )


def lease(
    connection: Connection, lessee: Lessee, picks: Sequence[Pick], *, max_bytes: int
) -> tuple[LeasedItem, ...]:
    """Leases what was picked, in line order, while the bodies fit `max_bytes`.

    The first item is leased whatever its size.
    """
    changes = CountChanges()
    leased: list[LeasedItem] = []
    room = max_bytes
    is_full = False
    for one in picks:
        chosen: list[LeasedItem] = []
        for row in _pending(connection, one):
            is_full = row.body_length > room and bool(leased or chosen)
            if is_full:
                break
            room -= row.body_length
            chosen.append(_leased_item(row))
        _set_leased(connection, lessee, one.batch, [item.key.line for item in chosen])
        changes.move(one.batch, before=ItemState.PENDING, after=ItemState.LEASED, items=len(chosen))
        leased += chosen
        if is_full:
            break
    changes.write(connection)
    return tuple(leased)


def held_by(connection: Connection, lessee: Lessee) -> tuple[LeaseKey, ...]:
    """Every lease of a replica on a node."""
    rows = connection.execute(
        sa.select(items.c.batch, items.c.line, items.c.attempt).where(
            _IS_LEASED,
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
    segment: NewSegment,
    limits: RetryLimits,
) -> tuple[tuple[LeaseKey, ...], tuple[str, ...]]:
    """Decides items by results that are durable in `segment`.

    Returns:
        Leases that did not stand any more, and batches that went to FINALIZING. A repeat
        of a result that was committed is neither an error nor superseded.
    """
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
        elif row.state == ItemState.LEASED.value:
            _decide(connection, one, row, segment=segment.id, limits=limits, changes=changes)
        elif row.state == ItemState.PENDING.value or row.segment is None:
            superseded.append(one.key)
    return tuple(superseded), changes.write(connection)


def give_back(
    connection: Connection, keys: Sequence[LeaseKey], lessee: Lessee, *, limits: RetryLimits
) -> tuple[int, tuple[str, ...]]:
    """Makes those leases of a replica pending again.

    Returns:
        How many stood, and batches that went to FINALIZING.
    """
    held = sa.and_(items.c.node == lessee.node, items.c.replica == lessee.replica)
    changes = CountChanges()
    count = 0
    for batch, attempt in sorted({(key.batch, key.attempt) for key in keys}):
        lines = [k.line for k in keys if (k.batch, k.attempt) == (batch, attempt)]
        for at in range(0, len(lines), _SLICE):
            these = sa.and_(
                held,
                items.c.batch == batch,
                items.c.attempt == attempt,
                items.c.line.in_(lines[at : at + _SLICE]),
            )
            count += _release(connection, these, limits=limits, changes=changes)
    return count, changes.write(connection)


def give_back_all(
    connection: Connection,
    *,
    node: str | None = None,
    replica: str | None = None,
    limits: RetryLimits,
) -> tuple[int, tuple[str, ...]]:
    """Makes everything pending again that a node, or a replica, holds. As `give_back`."""
    if (node is None) == (replica is None):
        raise ValueError("give_back_all: name either a node or a replica")
    these = items.c.node == node if node is not None else items.c.replica == replica
    changes = CountChanges()
    count = _release(connection, these, limits=limits, changes=changes)
    return count, changes.write(connection)


def unlease(connection: Connection, keys: Sequence[LeaseKey], lessee: Lessee) -> None:
    """Takes leases back that were never handed out, as if they had not been made."""
    changes = CountChanges()
    for key in sorted(keys):
        undone = connection.execute(
            sa.update(items)
            .where(
                items.c.batch == key.batch,
                items.c.line == key.line,
                items.c.attempt == key.attempt,
                items.c.node == lessee.node,
                _IS_LEASED,
            )
            .values(state=ItemState.PENDING.value, attempt=key.attempt - 1, node=None, replica=None)
        )
        changes.move(
            key.batch, before=ItemState.LEASED, after=ItemState.PENDING, items=undone.rowcount
        )
    changes.write(connection)


def cancel_some(connection: Connection, batch: str, *, limit: int) -> int:
    """Makes up to `limit` undecided items of a cancelled batch error lines."""
    lines = sa.select(items.c.line).where(
        items.c.batch == batch,
        items.c.state.in_((ItemState.PENDING.value, ItemState.LEASED.value)),
    )
    rows = connection.execute(
        lines.add_columns(items.c.state).order_by(items.c.line).limit(limit).with_for_update()
    ).all()
    changes = CountChanges()
    for at in range(0, len(rows), _SLICE):
        connection.execute(
            sa.update(items)
            .where(
                items.c.batch == batch,
                items.c.line.in_([row.line for row in rows[at : at + _SLICE]]),
            )
            .values(
                state=ItemState.FAILED.value,
                error_code="batch_cancelled",
                error_message="the batch was cancelled before this line finished",
            )
        )
    for state, count in Counter(ItemState(row.state) for row in rows).items():
        changes.move(batch, before=state, after=ItemState.FAILED, items=count)
    changes.write(connection)
    return len(rows)


def _pending(connection: Connection, one: Pick) -> Sequence[Row[tuple[object, ...]]]:
    return connection.execute(
        sa.select(items, batches.c.input_uri, batches.c.deadline_s)
        .join(batches, batches.c.id == items.c.batch)
        .where(items.c.batch == one.batch, items.c.state == ItemState.PENDING.value)
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
    tries_again = (
        not one.is_success
        and one.is_retryable
        and failures < limits.max_failures
        and row.attempt < limits.max_attempts
    )
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


def _release(
    connection: Connection,
    these: sa.ColumnElement[bool],
    *,
    limits: RetryLimits,
    changes: CountChanges,
) -> int:
    leased = sa.and_(_IS_LEASED, these)
    count = 0
    for after, where, values in (
        (
            ItemState.FAILED,
            items.c.attempt >= limits.max_attempts,
            {
                "error_code": "attempts_exhausted",
                "error_message": f"leased {limits.max_attempts} times without a result;"
                " it may stop the engines that run it, see their logs",
            },
        ),
        (ItemState.PENDING, sa.true(), {}),
    ):
        ended = connection.execute(
            sa.update(items)
            .where(leased, where)
            .values(state=after.value, **values)
            .returning(items.c.batch)
        )
        for batch, number in sorted(Counter(row.batch for row in ended).items()):
            changes.move(batch, before=ItemState.LEASED, after=after, items=number)
            count += number
    return count
