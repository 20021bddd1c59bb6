"""The database: engine, transactions, migrations at open.

Owns how a connection is set up and how a transaction begins. Refuses decisions and
domain values. Invariants: SQLite runs in WAL with foreign keys and FULL sync, so what
is committed survives `kill -9`; a writing transaction takes the write lock at its start,
so a read inside it is never stale; a database written by a newer release is refused.
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

_MIGRATIONS = Path(__file__).parent / "migrations"


class NewerDatabaseError(Exception):
    """The database's schema comes from a newer release than this one."""


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
        """
        engine = sa.create_engine(url, connect_args=_connect_args(url), pool_pre_ping=True)
        if engine.dialect.name == "sqlite":
            sa.event.listen(engine, "connect", _on_sqlite_connect)
            sa.event.listen(engine, "begin", _on_sqlite_begin)
        _migrate(engine, url)
        return cls(engine)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A writing transaction: commits at the end, rolls back on an exception."""
        with self.engine.connect() as raw:
            connection = raw.execution_options(slacktide_writes=True)
            with connection.begin():
                yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view; nothing written in it is kept."""
        with self.engine.connect() as connection, connection.begin() as transaction:
            yield connection
            transaction.rollback()

    def close(self) -> None:
        """Returns every connection."""
        self.engine.dispose()


def _connect_args(url: str) -> dict[str, Any]:
    return {"timeout": 30, "check_same_thread": False} if url.startswith("sqlite") else {}


def _on_sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we emit BEGIN ourselves
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL", "busy_timeout=30000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _on_sqlite_begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("slacktide_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _migrate(engine: Engine, url: str) -> None:
    config = alembic.config.Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["engine"] = engine
    known = {
        s.revision for s in alembic.script.ScriptDirectory.from_config(config).walk_revisions()
    }
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in known:
        shown = sa.engine.make_url(url).render_as_string(hide_password=True)
        raise NewerDatabaseError(
            f"database {shown}: schema revision {current} is not known to this release;"
            " it was written by a newer one. Start that release, or restore a backup"
        )
    alembic.command.upgrade(config, "head")
