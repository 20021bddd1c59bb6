"""What can go wrong in storage.

StorageError
├── NewerDatabaseError        the schema comes from a newer release
├── StorageFullError          the disk, or the database's quota, is full
├── StorageUnavailableError   the database cannot be reached, read or written now
├── StaleEpochError           another leader took over; the write was refused
└── RequestReusedError        a request_id came back with other content
"""

import sqlalchemy as sa


class StorageError(Exception):
    """Root of the tree."""


class NewerDatabaseError(StorageError):
    """The database's schema comes from a newer release than this one."""


class StorageFullError(StorageError):
    """Nothing can be written until space is made."""


class StorageUnavailableError(StorageError):
    """The database cannot be reached, read or written now."""


class StaleEpochError(StorageError):
    """Another leader holds a higher epoch; nothing was written."""

    def __init__(self, *, held: int, current: int, leader: str) -> None:
        super().__init__(
            f"epoch {held}: superseded by epoch {current} of leader {leader};"
            " this process leads no longer and nothing was written"
        )
        self.held = held
        self.current = current


class RequestReusedError(StorageError):
    """A request_id came back with another method or other content."""

    def __init__(self, *, request_id: str, method: str) -> None:
        super().__init__(
            f"request_id {request_id}: was used before for another {method} request;"
            " make a new UUID for every new request"
        )


_FULL = ("database or disk is full", "disk full", "no space left", "disk quota exceeded")


def translated(error: sa.exc.SQLAlchemyError, url: str) -> StorageError:
    """The storage error a driver's error stands for."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    text = str(cause).strip().partition("\n")[0]
    if any(one in text.lower() for one in _FULL):
        return StorageFullError(
            f"database {url}: {text}; nothing was written. Free space on its disk and retry"
        )
    return StorageUnavailableError(
        f"database {url}: {text}; nothing was written. Check that it is reachable and writable"
    )
