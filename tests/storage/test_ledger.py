"""The ledger of rounds: what is in force, what each round said, and how much is kept."""

from dataclasses import replace
from pathlib import Path

import alembic.command
import alembic.config
import pytest
import sqlalchemy as sa

from planner.model import Placement
from storage import database as database_module
from storage import plans
from storage.batch_records import NewBatch
from storage.batches import BatchStore
from storage.database import Database
from storage.plan_records import (
    FLEET_TARGET,
    FreezeRecord,
    PinRecord,
    PlanOutcome,
    PlanRecord,
    TenantRecord,
)
from storage.store import FleetStore
from tests.storage.examples import ALLOCATION, DEPLOYMENT, NODE, PLAN, SLO_CLASS_SPEC


def note(store: FleetStore, outcome: PlanOutcome, **fields: object) -> PlanRecord:
    """Appends an entry whose plan names another placement for each round."""
    with store.write() as state:
        placed = Placement(
            replica=f"chat-{state.state.round}", deployment="chat", node="n1", devices=(0,)
        )
        return state.append_plan(
            replace(PLAN, placements=(placed,)),
            epoch=1,
            trigger="test",
            solve_s=0.5,
            outcome=outcome,
            **fields,  # type: ignore[arg-type]
        )


def test_plan_in_force_stays_when_later_rounds_change_nothing(store: FleetStore) -> None:
    """Only a round that makes placements is in force and raises the revision."""
    first = note(store, PlanOutcome.APPLIED, inputs_hash="ab")
    for outcome in (PlanOutcome.UNCHANGED, PlanOutcome.FROZEN, PlanOutcome.REFUSED):
        note(store, outcome)
    failed = note(store, PlanOutcome.FAILED, failure="it hung", refused_groups=(2, 3))
    state = store.state()
    assert (state.round, state.plan_round, state.revision) == (5, 1, 1)
    assert store.view().plan == first
    read = store.get_plan(5)
    assert read is not None
    assert (read.failure, read.refused_groups) == ("it hung", (2, 3))
    assert read.plan.placements == first.plan.placements, "those that stayed in force"
    assert read.plan.moves == failed.plan.moves, "what it would have done"
    assert note(store, PlanOutcome.PARTLY_APPLIED) == store.view().plan


def test_pages_are_read_without_placements_when_asked(store: FleetStore) -> None:
    """Newest first, with all but where things go; or only rounds worth a look."""
    for outcome in (PlanOutcome.APPLIED, PlanOutcome.UNCHANGED, PlanOutcome.FAILED):
        note(store, outcome)
    shown = store.list_plans(before=None, limit=10, is_whole=False)
    assert [one.round for one in shown] == [3, 2, 1]
    assert all(one.plan.placements == () for one in shown)
    assert all(one.plan.terms == PLAN.terms for one in shown)
    notable = store.list_plans(
        before=3, limit=10, outcomes=frozenset(PlanOutcome) - {PlanOutcome.UNCHANGED}
    )
    assert [one.round for one in notable] == [1]


def test_rounds_are_numbered_on_when_old_ones_are_pruned(store: FleetStore) -> None:
    """Rounds and placements are bounded; what is in force and what is kept stays."""
    outcomes = [PlanOutcome.APPLIED, PlanOutcome.APPLIED, PlanOutcome.UNCHANGED] * 4
    for outcome in outcomes:
        note(store, outcome)
    with store.write() as state:
        gone = plans.prune(state.connection, newest=12, kept={1, 11}, rounds=9, placements=4)
    left = [one.round for one in store.list_plans(before=None, limit=50, is_whole=False)]
    # Rounds up to 3 are too old, 4 and 5 lie behind the newest four with placements.
    assert left == [12, 11, 10, 9, 8, 7, 6, 1]
    assert gone == 4
    orphan = store.get_plan(6)
    assert orphan is not None and orphan.plan.placements == (), "of round 5, which is gone"
    assert note(store, PlanOutcome.APPLIED).round == 13


def test_ledger_prunes_itself_when_rounds_go_on(
    store: FleetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without anybody asking, at every so many rounds."""
    monkeypatch.setattr("storage.transaction.PRUNE_EVERY", 5)
    monkeypatch.setattr(plans.prune, "__kwdefaults__", {"rounds": 3, "placements": 2})
    note(store, PlanOutcome.APPLIED)
    for _ in range(9):
        note(store, PlanOutcome.UNCHANGED)
    left = [one.round for one in store.list_plans(before=None, limit=50)]
    assert left == [10, 9, 8, 1]
    assert store.view().plan == store.get_plan(1)


def test_holds_are_read_back_when_set(store: FleetStore) -> None:
    """Pins, freezes and tenants come back; repeats change nothing; a deletion releases."""
    pin = PinRecord(deployment="chat", node="n1", replicas=2, reason="drill", create_s=1.0)
    freeze = FreezeRecord(target="deployments/chat", reason="r", create_s=2.0)
    tenant = TenantRecord(id="acme", weight=2.0, max_offline_work=500.0)
    for create_s in (1.0, 5.0):
        with store.write() as state:
            assert state.put_pin(replace(pin, create_s=create_s)) == pin
            state.freeze(replace(freeze, create_s=create_s + 1.0))
            state.put_tenant(tenant)
    view = store.view()
    assert (view.pins, view.freezes, view.tenants) == ((pin,), (freeze,), (tenant,))
    assert view.state.revision == 1
    assert not view.is_frozen
    with store.write() as state:
        state.release_holds("chat")
        state.freeze(FreezeRecord(target=FLEET_TARGET))
        assert state.remove_tenant("acme")
        assert not state.remove_pin(deployment="chat", node="n1")
    view = store.view()
    assert (view.pins, view.tenants, view.is_frozen) == ((), (), True)
    with store.write() as state:
        assert state.thaw(FLEET_TARGET)
        assert not state.thaw(FLEET_TARGET)
    assert store.view().freezes == ()


def test_node_and_allocation_keep_what_placement_needs_when_stored(store: FleetStore) -> None:
    """Operator's labels, host memory, warm models, classes."""
    node = replace(
        NODE,
        labels=(("group", "b"), ("zone", "a")),
        operator_labels=(("group", "a"), ("host-memory-bytes", "1024")),
        host_memory_bytes=2048,
        warm_models=("large", "tiny"),
    )
    spec = replace(DEPLOYMENT.spec, slo_classes=(SLO_CLASS_SPEC,), node_groups=("a",))
    deployment = replace(DEPLOYMENT, spec=spec)
    allocation = replace(
        ALLOCATION, allocation=replace(ALLOCATION.allocation, slo_class="offline-only")
    )
    with store.write() as state:
        state.put_node(node)
        state.put_deployment(deployment)
        state.put_allocation(allocation)
    view = store.view()
    assert (view.nodes, view.deployments, view.allocations) == (
        (node,),
        (deployment,),
        (allocation,),
    )
    assert (node.planned.group, node.planned.host_memory_bytes) == ("a", 1024)


def test_backlog_is_told_apart_when_tenants_share_a_deployment(store: FleetStore) -> None:
    """One entry a deployment and tenant, and the same sums."""
    from storage.offline_facts import StoredFleet
    from tests.storage.test_batch_store import chunk

    with store.write() as state:
        state.put_deployment(DEPLOYMENT)
    batches = BatchStore(store.database)
    for number, tenant in enumerate(("default", "acme", "acme")):
        new = NewBatch(
            id=f"b{number}",
            request_id=f"r{number}",
            deployment="chat",
            input_uri="file:///x",
            create_s=1.0,
            tenant=tenant,
        )
        assert batches.create(new, StoredFleet()) is not None
        batches.add_chunk(new.id, chunk(10), now_s=2.0)
    by_tenant = batches.tenant_backlog()
    assert {key: one.items for key, one in by_tenant.items()} == {
        ("chat", "acme"): 20,
        ("chat", "default"): 10,
    }
    assert sum(one.items for one in by_tenant.values()) == batches.backlog()["chat"].items


def test_first_ledger_is_read_when_its_database_is_migrated(tmp_path: Path) -> None:
    """Its newest entry is the plan in force, with the placements it kept in its body."""
    url = f"sqlite:///{tmp_path}/state.db"
    engine = sa.create_engine(url, connect_args={"check_same_thread": False})
    sa.event.listen(engine, "connect", database_module._on_sqlite_connect)
    sa.event.listen(engine, "begin", database_module._on_sqlite_begin)
    config = alembic.config.Config()
    config.set_main_option("script_location", str(database_module._MIGRATIONS))
    config.attributes["engine"] = engine
    alembic.command.upgrade(config, "0002")
    placed = '{"replica": "chat-a", "deployment": "chat", "node": "n1", "devices": [0]}'
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE fleet SET round = 7, revision = 9")
        connection.exec_driver_sql(
            "INSERT INTO plans VALUES"
            " (7, 8, 1, 'feasible', 'greedy', 1.5, 1.0, 'old', 0.1, 3.0, ?)",
            ('{"terms": [], "misfits": [], "placements": [' + placed + "]}",),
        )
        connection.exec_driver_sql(
            "INSERT INTO nodes VALUES ('n1', 'a:1', 'n1', '', '', 1, '', '{}', 1, 0, '', NULL, '')"
        )
    engine.dispose()
    store = FleetStore(Database.open(url))
    view = store.view()
    assert view.plan is not None
    assert (view.plan.round, view.plan.outcome) == (7, PlanOutcome.APPLIED)
    assert [one.replica for one in view.plan.plan.placements] == ["chat-a"]
    assert (view.nodes[0].operator_labels, view.nodes[0].warm_models) == ((), ())
    assert note(store, PlanOutcome.UNCHANGED).round == 8
    assert [one.replica for one in store.get_plan(8).plan.placements] == ["chat-a"]  # type: ignore[union-attr]
    store.database.close()
