"""The counts a batch keeps of its items: SQL only.

Invariant: whoever changes the state of items adds the change here, in the same
transaction, and lets a batch whose every item is decided go on to FINALIZING.
"""

from collections.abc import Iterable, Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from storage.batch_records import BatchState, ItemState
from storage.tables.batches import batches


class CountChanges:
    """Changes of counts by batch, collected through one transaction."""

    def __init__(self) -> None:
        self._changes: dict[str, dict[str, int]] = {}

    def add(self, batch: str, column: str, amount: int) -> None:
        """Adds to a count, or to a sum of tokens."""
        row = self._changes.setdefault(batch, {})
        row[column] = row.get(column, 0) + amount

    def move(self, batch: str, *, before: ItemState, after: ItemState, items: int = 1) -> None:
        """Notes items that went from one state to another."""
        self.add(batch, before.value, -items)
        self.add(batch, after.value, items)

    def write(self, connection: Connection) -> tuple[str, ...]:
        """Writes everything collected.

        Returns:
            Batches that went to FINALIZING by it.
        """
        for batch, row in sorted(self._changes.items()):
            _add(connection, batch, row)
        settled = settle(connection, sorted(self._changes))
        self._changes.clear()
        return settled


def settle(connection: Connection, ids: Iterable[str]) -> tuple[str, ...]:
    """Moves those batches on whose every item is decided; returns their ids."""
    settled: list[str] = []
    for batch in ids:
        moved = connection.execute(
            sa.update(batches)
            .where(
                batches.c.id == batch,
                batches.c.state == BatchState.IN_PROGRESS.value,
                batches.c.is_intake_done,
                batches.c.pending == 0,
                batches.c.leased == 0,
            )
            .values(state=BatchState.FINALIZING.value)
        )
        if moved.rowcount:
            settled.append(batch)
    return tuple(settled)


def _add(connection: Connection, batch: str, row: Mapping[str, int]) -> None:
    changed = {name: batches.c[name] + amount for name, amount in row.items() if amount}
    if changed:
        connection.execute(sa.update(batches).where(batches.c.id == batch).values(**changed))
