"""BatchStore: batches and their items, in transactions."""

from collections.abc import Mapping

from sqlalchemy.engine import Connection

from storage.batch_records import Backlog
from storage.database import Database


class BatchStore(Database):
    """Batches and items. `BatchStore(fleet_store.engine)` shares an open database."""

    def return_node_items(self, connection: Connection | None, node: str) -> int:
        """Returns to pending everything leased to a node (its lease lapsed, it drained).

        Args:
            connection: the caller's writing transaction, None for one of its own.
            node: bare id.

        Returns:
            How many items went back.
        """
        raise NotImplementedError

    def return_replica_items(self, connection: Connection | None, replica: str) -> int:
        """Returns to pending everything leased to a replica that is LOST or stopped."""
        raise NotImplementedError

    def backlog(self) -> Mapping[str, Backlog]:
        """Offline work left, by deployment."""
        raise NotImplementedError
