"""Leases that end without a result: SQL only.

Invariant: whatever ends a lease makes the item pending again, until `RetryLimits` or a
cancelled batch makes it an error line. Only a LOST lease counts towards a limit: an item
may be handed back any number of times.
"""

from collections import Counter
from collections.abc import Sequence
from typing import assert_never

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from storage.batch_counts import CountChanges
from storage.batch_records import ItemState, LeaseEnd, LeaseKey, Lessee, RetryLimits
from storage.tables.batches import LEASED, items

_SLICE = 500  # below SQLite's oldest limit of 999 variables


def give_back(
    connection: Connection, keys: Sequence[LeaseKey], lessee: Lessee
) -> tuple[int, tuple[str, ...]]:
    """Makes those leases of a replica pending again: it lives and has let them go.

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
            count += _release(connection, these, changes=changes)
    return count, changes.write(connection)


def give_back_all(
    connection: Connection,
    *,
    node: str | None = None,
    replica: str | None = None,
    end: LeaseEnd,
    limits: RetryLimits,
) -> tuple[int, tuple[str, ...]]:
    """Makes everything pending again that a node, or a replica, holds. As `give_back`."""
    if (node is None) == (replica is None):
        raise ValueError("give_back_all: name either a node or a replica")
    these = items.c.node == node if node is not None else items.c.replica == replica
    changes = CountChanges()
    match end:
        case LeaseEnd.RETURNED:
            count = _release(connection, these, changes=changes)
        case LeaseEnd.LOST:
            count = _lose(connection, these, limits=limits, changes=changes)
        case _:
            assert_never(end)
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
                items.c.state == LEASED,
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


def _lose(
    connection: Connection,
    these: sa.ColumnElement[bool],
    *,
    limits: RetryLimits,
    changes: CountChanges,
) -> int:
    """Ends leases that count as lost; the last one allowed makes an error line."""
    exhausted = _end(
        connection,
        sa.and_(these, items.c.losses + 1 >= limits.max_losses),
        after=ItemState.FAILED,
        changes=changes,
        losses=items.c.losses + 1,
        error_code="attempts_exhausted",
        error_message=f"{limits.max_losses} executions were lost with the engine or node that"
        " ran them; the line may stop what runs it, see the engines' logs",
    )
    return exhausted + _release(connection, these, changes=changes, losses=items.c.losses + 1)


def _release(
    connection: Connection,
    these: sa.ColumnElement[bool],
    *,
    changes: CountChanges,
    **values: object,
) -> int:
    return _end(connection, these, after=ItemState.PENDING, changes=changes, **values)


def _end(
    connection: Connection,
    these: sa.ColumnElement[bool],
    *,
    after: ItemState,
    changes: CountChanges,
    **values: object,
) -> int:
    ended = connection.execute(
        sa.update(items)
        .where(items.c.state == LEASED, these)
        .values(state=after.value, **values)
        .returning(items.c.batch)
    )
    numbers = Counter(row.batch for row in ended)
    for batch, number in sorted(numbers.items()):
        changes.move(batch, before=ItemState.LEASED, after=after, items=number)
    return numbers.total()
