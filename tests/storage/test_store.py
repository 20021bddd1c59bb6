"""FleetStore: revisions, epochs, request ids, and what is read back."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from planner.model import ReplicaState
from storage.database import Database
from storage.errors import RequestReusedError, StaleEpochError
from storage.records import GatewayRecord
from storage.store import FleetStore
from storage.tables import metadata
from tests.storage.examples import ALLOCATION, DEPLOYMENT, NODE, PLAN


def test_state_is_read_back_when_it_was_committed(store: FleetStore) -> None:
    """Nodes, deployments, allocations and the plan in force come back as they went in."""
    with store.write() as state:
        state.put_node(NODE)
        state.put_deployment(DEPLOYMENT)
        state.put_allocation(ALLOCATION)
        record = state.append_plan(PLAN, epoch=0, trigger="test", solve_s=0.5)
    view = store.view()
    assert (view.nodes, view.deployments, view.allocations) == (
        (NODE,),
        (DEPLOYMENT,),
        (ALLOCATION,),
    )
    assert view.plan == record == store.get_plan(1)
    assert view.state.revision == 1
    assert view.state.round == 1


def test_node_is_replaced_when_it_registers_with_other_devices(store: FleetStore) -> None:
    """An agent that comes back with fewer devices leaves none of the old ones behind."""
    with store.write() as state:
        state.put_node(NODE)
    smaller = replace(NODE, devices=NODE.devices[:1], drain_deadline_s=12.5, labels=())
    with store.write() as state:
        state.put_node(smaller)
    assert store.get_node("n1") == smaller


def test_revision_rises_by_one_when_a_transaction_changes_many_rows(store: FleetStore) -> None:
    """A revision names one commit, however many rows it touched."""
    with store.write() as state:
        state.put_node(NODE)
        state.put_node(replace(NODE, id="n2"))
    assert store.state().revision == 1


def test_revision_stays_when_what_is_put_equals_what_is_stored(store: FleetStore) -> None:
    """Repeating what is known wakes nobody."""
    for _ in range(2):
        with store.write() as state:
            state.put_node(NODE)
            state.put_deployment(DEPLOYMENT)
    assert store.state().revision == 1


def test_revision_stays_when_a_gateway_is_noted(store: FleetStore) -> None:
    """Who watches routes is no state."""
    seen = GatewayRecord(id="g1", version="0.1.0", address="127.0.0.1:7401", seen_s=10.0)
    store.note_gateway(seen)
    store.note_gateway(replace(seen, seen_s=20.0))
    assert store.list_gateways(since_s=15.0) == (replace(seen, seen_s=20.0),)
    assert store.list_gateways(since_s=25.0) == ()
    assert store.state().revision == 0


def test_nothing_is_kept_when_the_work_fails(store: FleetStore) -> None:
    """A transaction is whole or not at all, its revision included."""
    with pytest.raises(RuntimeError), store.write() as state:
        state.put_node(NODE)
        raise RuntimeError
    assert store.view().nodes == ()
    assert store.state().revision == 0


def test_write_is_refused_when_another_leader_took_over(store: FleetStore) -> None:
    """The fence: nothing of a superseded leader reaches the state."""
    first = store.acquire_epoch("cp-a", now_s=1000.5)
    second = store.acquire_epoch("cp-b", now_s=1000.5)
    assert second == first + 1
    with pytest.raises(StaleEpochError, match="cp-b"), store.write(epoch=first) as state:
        state.put_node(NODE)
    assert store.view().nodes == ()
    with store.write(epoch=second) as state:
        state.put_node(NODE)
    assert store.view().nodes == (NODE,)


def test_epoch_is_higher_when_the_database_is_new_or_restored(store: FleetStore) -> None:
    """Agents and gateways keep the highest epoch they saw, also of a database that is gone.

    It grows with every leader whatever the clock says, and is never behind the clock.
    """
    old = store.acquire_epoch("cp", now_s=1000.9)  # made at 1000
    assert old == 1000
    assert store.acquire_epoch("cp", now_s=1000.9) == 1001
    assert store.acquire_epoch("cp", now_s=10.0) == 1002, "the clock went back"
    assert store.acquire_epoch("cp", now_s=5000.0) == 5000, "a backup of long ago was restored"


def test_request_is_answered_the_same_when_it_is_repeated(store: FleetStore) -> None:
    """The answer lies beside the change, and another request may not take its id."""
    with store.write() as state:
        assert state.answered("r1", method="Apply", fingerprint=b"f") is None
        state.remember("r1", method="Apply", fingerprint=b"f", response=b"answer")
    with store.write() as state:
        assert state.answered("r1", method="Apply", fingerprint=b"f") == b"answer"
        with pytest.raises(RequestReusedError, match="r1"):
            state.answered("r1", method="Apply", fingerprint=b"g")
    assert store.forget_requests(before_s=float(2**40)) == 1
    assert store.state().revision == 0


def test_kill_switch_keeps_its_time_when_set_twice(store: FleetStore) -> None:
    """A repeat is no change."""
    with store.write() as state:
        first = state.set_kill_switch(engaged=True, reason="drill")
    with store.write() as state:
        again = state.set_kill_switch(engaged=True, reason="again")
    assert first.kill_switch
    assert first.kill_switch_change_s == again.kill_switch_change_s
    assert store.state().revision == 1


def test_ledger_is_listed_newest_first_when_paged(store: FleetStore) -> None:
    """Every entry appears once over its pages."""
    for _ in range(3):
        with store.write() as state:
            state.append_plan(PLAN, epoch=0, trigger="test", solve_s=0.0)
    assert [one.round for one in store.list_plans(before=None, limit=2)] == [3, 2]
    assert [one.round for one in store.list_plans(before=2, limit=2)] == [1]


def test_allocation_is_gone_when_retired(store: FleetStore) -> None:
    """Retiring removes the row and raises the revision; states move before that."""
    with store.write() as state:
        state.put_node(NODE)
        state.put_deployment(DEPLOYMENT)
        state.put_allocation(ALLOCATION)
    lost = replace(ALLOCATION, allocation=replace(ALLOCATION.allocation, state=ReplicaState.LOST))
    with store.write() as state:
        state.put_allocation(lost)
    assert store.get_allocation("chat-aaaaaa") == lost
    with store.write() as state:
        state.retire_allocation("chat-aaaaaa")
    assert store.get_allocation("chat-aaaaaa") is None
    assert store.state().revision == 3


def test_deployment_is_hidden_when_deleted(store: FleetStore) -> None:
    """`get_deployment` answers for live ones; the row stays for its generation."""
    with store.write() as state:
        state.put_deployment(replace(DEPLOYMENT, is_deleted=True))
    assert store.get_deployment("chat") is None
    assert len(store.view().deployments) == 1


def test_schema_matches_the_tables_when_migrated(store: FleetStore) -> None:
    """The migrations make exactly the tables the code declares."""
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    database: Database = store.database
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    assert sa.inspect(database.engine).get_table_names()
