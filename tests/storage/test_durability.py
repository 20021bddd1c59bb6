"""What is acknowledged survives SIGKILL; what cannot be written says so and harms nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from storage.database import Database
from storage.errors import NewerDatabaseError, StorageFullError, StorageUnavailableError
from storage.store import FleetStore
from tests.storage.examples import NODE

_CHILD = """
import sys, time
from dataclasses import replace
from storage.database import Database
from storage.store import FleetStore
from tests.storage.examples import NODE

store = FleetStore(Database.open(sys.argv[1]))
for index in range(1, 1000):
    with store.write() as state:
        state.put_node(replace(NODE, id=f"n{index}"))
    print(index, flush=True)
"""


def test_commits_survive_when_the_process_is_killed(tmp_path: Path) -> None:
    """Every commit a process has acknowledged is there after its SIGKILL, none half."""
    url = f"sqlite:///{tmp_path}/state.db"
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, url], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert child.stdout is not None
    acknowledged = 0
    while acknowledged < 5:
        acknowledged = int(child.stdout.readline())
    os.kill(child.pid, signal.SIGKILL)
    acknowledged = max([acknowledged, *map(int, child.stdout.read().split())])
    child.wait()
    store = FleetStore(Database.open(url))
    view = store.view()
    assert len(view.nodes) >= acknowledged
    assert view.state.revision == len(view.nodes)
    assert all(len(node.devices) == 2 for node in view.nodes)


def test_database_is_refused_when_a_newer_release_wrote_it(tmp_path: Path) -> None:
    """An unknown schema revision is one clear error, and the file stays as it is."""
    url = f"sqlite:///{tmp_path}/state.db"
    database = Database.open(url)
    with database.transaction() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    with pytest.raises(NewerDatabaseError, match="9999"):
        Database.open(url)


def test_write_says_full_when_the_disk_is_and_goes_on_after(tmp_path: Path) -> None:
    """A full disk is StorageFullError with nothing written; space made, writes go on."""
    database = Database.open(f"sqlite:///{tmp_path}/state.db")
    store = FleetStore(database)

    @sa.event.listens_for(database.engine, "connect")
    def cap(connection: object, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")  # type: ignore[attr-defined]

    with database.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    database.engine.dispose()
    with pytest.raises(StorageFullError, match="Free space"):
        for index in range(1000):
            with store.write() as state:
                state.remember(f"r{index}", method="m", fingerprint=b"", response=b"x" * 4096)
    pages += 1000
    database.engine.dispose()
    with store.write() as state:
        state.put_node(NODE)
    assert store.view().nodes == (NODE,)


def test_write_says_unavailable_when_the_database_is_read_only(tmp_path: Path) -> None:
    """A read-only database refuses writes with one sentence and still answers reads."""
    path = tmp_path / "state.db"
    Database.open(f"sqlite:///{path}").close()
    database = Database.open(f"sqlite:///{path}")

    @sa.event.listens_for(database.engine, "connect")
    def forbid(connection: object, _record: object) -> None:
        connection.execute("PRAGMA query_only=ON")  # type: ignore[attr-defined]

    database.engine.dispose()
    store = FleetStore(database)
    with pytest.raises(StorageUnavailableError, match="writable"), store.write() as state:
        state.put_node(NODE)
    assert store.view().nodes == ()


def test_open_says_unavailable_when_the_folder_is_missing(tmp_path: Path) -> None:
    """The error names the database and what to do."""
    with pytest.raises(StorageUnavailableError, match="unable to open"):
        Database.open(f"sqlite:///{tmp_path}/none/state.db")


_DIES_AT_STATEMENT = """
import os, signal, sys
import sqlalchemy as sa
from storage.database import Database

left = int(sys.argv[2])

@sa.event.listens_for(sa.engine.Engine, "after_cursor_execute")
def die(connection, cursor, statement, *_):
    global left
    if statement.lstrip().split()[0] in ("CREATE", "INSERT", "UPDATE"):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

Database.open(sys.argv[1]).close()
print("whole")
"""


@pytest.mark.parametrize("statements", [1, 2, 3, 8, 14, 20])
def test_first_start_goes_on_when_one_was_killed_in_its_migrations(
    tmp_path: Path, statements: int
) -> None:
    """SIGKILL after any statement of the migrations leaves a database that opens."""
    url = f"sqlite:///{tmp_path}/state.db"
    child = subprocess.run(
        [sys.executable, "-c", _DIES_AT_STATEMENT, url, str(statements)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path.cwd(),
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    store = FleetStore(Database.open(url))
    with store.write() as state:
        state.put_node(NODE)
    assert store.view().nodes == (NODE,)
    store.database.close()


def test_database_is_migrated_once_when_several_processes_start_at_once(tmp_path: Path) -> None:
    """Each of them opens it."""
    url = f"sqlite:///{tmp_path}/state.db"
    code = "import sys; from storage.database import Database; Database.open(sys.argv[1]).close()"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, url], stderr=subprocess.PIPE, text=True, cwd=Path.cwd()
        )
        for _ in range(3)
    ]
    for child in children:
        _, said = child.communicate(timeout=60)
        assert child.returncode == 0, said
