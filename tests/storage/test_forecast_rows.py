"""What rounds learned is kept, and is no fleet state."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import alembic.command
import alembic.config
import pytest
import sqlalchemy as sa

from storage import database as database_module
from storage.database import Database
from storage.errors import StaleEpochError
from storage.forecast_records import ForecastRecord, FrontierRecord, FrontierSource
from storage.plan_records import DemandRecord
from storage.store import FleetStore
from tests.storage.examples import PLAN

CHAT = ForecastRecord(deployment="chat", body='{"a": 1}', update_s=1.0)
CODE = ForecastRecord(deployment="code", body="{}", update_s=2.0)


@contextmanager
def migrated(url: str, revision: str) -> Iterator[sa.Connection]:
    """A transaction on a new database of an older schema."""
    engine = sa.create_engine(url, connect_args={"check_same_thread": False})
    sa.event.listen(engine, "connect", database_module._on_sqlite_connect)
    sa.event.listen(engine, "begin", database_module._on_sqlite_begin)
    config = alembic.config.Config()
    config.set_main_option("script_location", str(database_module._MIGRATIONS))
    config.attributes["engine"] = engine
    alembic.command.upgrade(config, revision)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def test_forecasts_are_replaced_and_dropped_without_a_revision(store: FleetStore) -> None:
    """The newest of a deployment stays; those of deleted deployments go."""
    with store.write() as state:
        state.put_forecasts([CHAT, CODE], deployments={"chat", "code"})
    newer = ForecastRecord(deployment="chat", body="[]", update_s=3.0)
    with store.write() as state:
        state.put_forecasts([newer], deployments={"chat", "new"})
    assert store.list_forecasts() == (newer,)
    assert store.state().revision == 0


def test_forecast_of_an_old_leader_is_refused_when_a_new_one_leads(store: FleetStore) -> None:
    """What the new leader stored stays."""
    old = store.acquire_epoch("cp-a", now_s=1.0)
    new = store.acquire_epoch("cp-b", now_s=1.0)
    with store.write(epoch=new) as state:
        state.put_forecasts([CHAT], deployments={"chat"})
    with pytest.raises(StaleEpochError), store.write(epoch=old) as state:
        state.put_forecasts([CODE], deployments={"code"})
    assert store.list_forecasts() == (CHAT,)


def test_frontiers_are_read_back_with_their_source(store: FleetStore) -> None:
    """By key, each of one kind."""
    ours = [
        FrontierRecord(key="a", source=FrontierSource.DERIVED, body="{}", create_s=1.0, need_s=1.0),
        FrontierRecord(
            key="b", source=FrontierSource.MEASURED, body="[]", create_s=2.0, need_s=3.0
        ),
    ]
    for record in (ours[1], ours[0], ours[0]):
        with store.write() as state:
            state.put_frontier(record)
    assert store.list_frontiers() == tuple(ours)
    assert store.state().revision == 0


def test_derived_frontiers_go_when_nobody_has_needed_them_for_long(store: FleetStore) -> None:
    """Those needed stay however old, measured ones stay needed or not."""
    derived, measured = FrontierSource.DERIVED, FrontierSource.MEASURED
    for key, source, need_s in (
        ("edge", derived, 90.0), ("old", derived, 89.9), ("profile", measured, 0.0),
        ("used", derived, 0.0),
    ):  # fmt: skip
        with store.write() as state:
            state.put_frontier(
                FrontierRecord(key=key, source=source, body="{}", create_s=0.0, need_s=need_s)
            )
    with store.write() as state:
        assert state.keep_frontiers({"used", "unknown"}, now_s=100.0, kept_s=10.0) == ("old",)
    needs = {one.key: one.need_s for one in store.list_frontiers()}
    assert needs == {"edge": 90.0, "profile": 0.0, "used": 100.0}
    with store.write() as state:
        assert state.keep_frontiers((), now_s=50.0, kept_s=10.0) == ()  # a clock set back
    assert store.state().revision == 0


def test_stored_frontiers_are_needed_from_their_making_when_migrated(tmp_path: Path) -> None:
    """A database of the fourth schema keeps them, as old as they are."""
    url = f"sqlite:///{tmp_path}/state.db"
    with migrated(url, "0004") as connection:
        connection.exec_driver_sql(
            "INSERT INTO frontiers (key, source, body, create_s) VALUES ('a', 'derived', '{}', 7.0)"
        )
    store = FleetStore(Database.open(url))
    assert store.list_frontiers() == (
        FrontierRecord(key="a", source=FrontierSource.DERIVED, body="{}", create_s=7.0, need_s=7.0),
    )
    store.database.close()


def test_ledger_says_what_was_observed_and_placed_for(store: FleetStore) -> None:
    """Both, and the forecast between them, come back with the round."""
    demand = (DemandRecord(deployment="chat", observed=120.5, forecast=310.0, placed=350.0),)
    with store.write() as state:
        record = state.append_plan(PLAN, epoch=1, trigger="t", solve_s=0.1, demand=demand)
    assert store.get_plan(record.round) == record
    (listed,) = store.list_plans(before=None, limit=1, is_whole=False)
    assert listed.demand == demand


def test_second_schema_is_read_when_its_database_is_migrated(tmp_path: Path) -> None:
    """A ledger written before says nothing of demand, and nothing was learned."""
    url = f"sqlite:///{tmp_path}/state.db"
    with migrated(url, "0003") as connection:
        connection.exec_driver_sql(
            "INSERT INTO plans (round, base_revision, epoch, status, solver, objective, bound,"
            " trigger, solve_s, create_s, body) VALUES"
            " (7, 8, 1, 'feasible', 'greedy', 1.5, 1.0, 'old', 0.1, 3.0, ?)",
            ('{"terms": [], "misfits": [], "placements": []}',),
        )
    store = FleetStore(Database.open(url))
    read = store.get_plan(7)
    assert read is not None and read.demand == ()
    assert (store.list_forecasts(), store.list_frontiers()) == ((), ())
    store.database.close()
