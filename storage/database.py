"""The database: engine, transactions, migrations at open.

Owns how a connection is set up and how a transaction begins. Refuses decisions and
domain values. Invariants: SQLite runs in WAL with foreign keys and FULL sync, so what
is committed survives `kill -9`, also during migrations (`migrations.env`); a writing
transaction takes the write lock at its start, so a read inside it is never stale; a
database written by a newer release is refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import alembic.script
import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine import Connection, Engine

from storage.errors import NewerDatabaseError, StorageUnavailableError, translated

_MIGRATIONS = Path(__file__).parent / "migrations"
_WAIT_S = 10
"""For a lock or a connection; then UNAVAILABLE, within the deadlines of callers."""
_KEPT_CONNECTIONS = 8
_MAX_CONNECTIONS = 64
"""More than threads that may wait for a lock, so that readers find one free."""


class Database:
    """One database, SQLite or PostgreSQL. Methods block; call them off the event loop."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def open(cls, url: str) -> "Database":
        """Connects and brings the schema to this release.

        Args:
            url: SQLAlchemy URL, e.g. "sqlite:////var/lib/slacktide/state.db".

        Raises:
            NewerDatabaseError: the schema comes from a newer release.
            StorageUnavailableError: it cannot be reached or written.
            StorageFullError: there is no space for it.
        """
        try:
            engine = sa.create_engine(
                url,
                connect_args=_connect_args(url),
                pool_pre_ping=True,
                pool_size=_KEPT_CONNECTIONS,
                max_overflow=_MAX_CONNECTIONS - _KEPT_CONNECTIONS,
                pool_timeout=_WAIT_S,
            )
        except (sa.exc.ArgumentError, ImportError) as error:
            raise StorageUnavailableError(f"database {url!r}: {error}") from error
        if engine.dialect.name == "sqlite":
            sa.event.listen(engine, "connect", _on_sqlite_connect)
            sa.event.listen(engine, "begin", _on_sqlite_begin)
        database = cls(engine)
        with database._translating():
            _migrate(engine, database.shown_url)
        return database

    @property
    def shown_url(self) -> str:
        """The URL without its password, for messages."""
        return self.engine.url.render_as_string(hide_password=True)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A writing transaction: commits at the end, rolls back on an exception.

        Raises:
            StorageFullError, StorageUnavailableError: nothing was written.
        """
        with self._translating(), self.engine.connect() as raw:
            connection = raw.execution_options(slacktide_writes=True)
            with connection.begin():
                yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view; nothing written in it is kept.

        Raises:
            StorageUnavailableError: the database cannot be read now.
        """
        with (
            self._translating(),
            self.engine.connect() as raw,
            _repeatable(raw) as connection,
            connection.begin() as transaction,
        ):
            yield connection
            transaction.rollback()

    def close(self) -> None:
        """Returns every connection."""
        self.engine.dispose()

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.IntegrityError, sa.exc.ProgrammingError, sa.exc.DataError):
            raise  # a defect of ours, not of the database
        except (sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
            raise translated(error, self.shown_url) from error


@contextmanager
def _repeatable(raw: Connection) -> Iterator[Connection]:
    """A connection whose reads all see one state: SQLite's do, PostgreSQL's when asked."""
    if raw.dialect.name == "postgresql":
        raw.execution_options(isolation_level="REPEATABLE READ")
    yield raw


def _connect_args(url: str) -> dict[str, Any]:
    return {"timeout": _WAIT_S, "check_same_thread": False} if url.startswith("sqlite") else {}


def _on_sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we emit BEGIN ourselves
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "foreign_keys=ON",
        "synchronous=FULL",
        f"busy_timeout={_WAIT_S * 1000}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _on_sqlite_begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("slacktide_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _migrate(engine: Engine, shown_url: str) -> None:
    config = alembic.config.Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["engine"] = engine
    known = {
        s.revision for s in alembic.script.ScriptDirectory.from_config(config).walk_revisions()
    }
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in known:
        raise NewerDatabaseError(
            f"database {shown_url}: schema revision {current} is not known to this release;"
            " it was written by a newer one. Start that release, or restore a backup"
        )
    alembic.command.upgrade(config, "head")
