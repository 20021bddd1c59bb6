"""BatchStore beyond leases: schema, submission, backlog, and the fleet's gates."""

import functools
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from planner.dispatch.admission import pull_refusal
from planner.dispatch.pick import pick
from planner.model import Desired, ReplicaState, Stage
from storage.batch_records import (
    Backlog,
    BatchState,
    IntakeChunk,
    LeaseEnd,
    LeaseKey,
    Lessee,
    NewBatch,
    NewItem,
    NewSegment,
    Outcome,
)
from storage.batches import BatchStore, Pull
from storage.database import Database
from storage.errors import RequestReusedError
from storage.offline_facts import StoredFleet
from storage.store import FleetStore
from storage.tables import metadata
from tests.storage.examples import ALLOCATION, DEPLOYMENT, NODE

FLEET = StoredFleet()
LESSEE = Lessee(node=NODE.id, replica=ALLOCATION.allocation.replica)
NEW = NewBatch(
    id="b1",
    request_id="00000000-0000-0000-0000-000000000001",
    deployment=DEPLOYMENT.id,
    input_uri="file:///in.jsonl",
    create_s=100.0,
    deadline_after_s=50.0,
)


@pytest.fixture
def batches(store: FleetStore) -> BatchStore:
    with store.write() as state:
        state.put_node(NODE)
        state.put_deployment(replace(DEPLOYMENT, spec=replace(DEPLOYMENT.spec, stage=Stage.ACTIVE)))
        running = replace(
            ALLOCATION.allocation, state=ReplicaState.RUNNING, desired=Desired.RUNNING
        )
        state.put_allocation(replace(ALLOCATION, allocation=running))
    return BatchStore(store.database)


def chunk(lines: int) -> IntakeChunk:
    return IntakeChunk(
        from_offset=0,
        to_offset=1000,
        to_line=lines,
        is_last=True,
        items=[
            NewItem(
                line=line,
                custom_id=f"c{line}",
                url="/v1/completions",
                body_offset=0,
                body_length=10,
                estimated_prompt_tokens=10,
                estimated_output_tokens=30,
            )
            for line in range(1, lines + 1)
        ],
    )


def pull(
    store: BatchStore,
    *,
    max_items: int,
    max_bytes: int = 1000,
    lessee: Lessee = LESSEE,
    held: Collection[LeaseKey] = (),
) -> Pull:
    return store.pull(
        lessee,
        FLEET,
        held=held,
        epoch=0,
        choose=functools.partial(pick, now_s=102.0, max_items=max_items),
        max_bytes=max_bytes,
    )


def refusal(store: BatchStore, *, replica: str = LESSEE.replica) -> str | None:
    with store.database.transaction() as connection:
        facts = FLEET.offline_facts(connection, node=LESSEE.node, replica=replica)
    return pull_refusal(facts, epoch=0)


def test_schema_is_that_of_the_migrations_when_a_database_is_new(tmp_path: Path) -> None:
    """The tables in code and the tables migrations make are the same."""
    database = Database.open(f"sqlite:///{tmp_path}/state.db")
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    database.close()


def test_gates_are_read_from_the_fleet_when_a_replica_pulls(
    store: FleetStore, batches: BatchStore
) -> None:
    """Node, allocation, deployment and the fleet's row each close the gate."""
    assert refusal(batches) is None
    assert refusal(batches, replica="other") == "UNKNOWN_REPLICA"
    for changed, reason in (
        (replace(NODE, is_cordoned=True), "NODE_CORDONED"),
        (replace(NODE, drain_deadline_s=9.0), "NODE_CORDONED"),
        (replace(NODE, is_ready=False), "NODE_NOT_READY"),
    ):
        with store.write() as state:
            state.put_node(changed)
        assert refusal(batches) == reason
    with store.write() as state:
        state.put_node(NODE)
        state.put_allocation(
            replace(
                ALLOCATION,
                allocation=replace(ALLOCATION.allocation, state=ReplicaState.DRAINING),
            )
        )
    assert refusal(batches) == "REPLICA_NOT_RUNNING"
    with store.write() as state:
        state.put_deployment(replace(DEPLOYMENT, spec=replace(DEPLOYMENT.spec, stage=Stage.SHADOW)))
    assert refusal(batches) == "STAGE_WITHOUT_OFFLINE"
    with store.write() as state:
        state.set_kill_switch(engaged=True, reason="test")
    assert refusal(batches) == "KILL_SWITCH"


def test_batch_is_created_once_when_the_request_repeats(
    store: FleetStore, batches: BatchStore
) -> None:
    """The same submission is found again, another one under its id is refused."""
    first = batches.create(NEW, FLEET)
    again = batches.create(replace(NEW, id="b2", create_s=200.0), FLEET)
    assert first is not None and first == again
    assert (first.state, first.deadline_s) == (BatchState.VALIDATING, 150.0)
    with pytest.raises(RequestReusedError):
        batches.create(replace(NEW, input_uri="file:///other"), FLEET)
    other = replace(NEW, id="b3", request_id="r3")
    assert batches.create(replace(other, deployment="none"), FLEET) is None
    with store.write() as state:
        state.put_deployment(replace(DEPLOYMENT, is_deleted=True))
    assert batches.create(other, FLEET) is None


def test_backlog_is_measured_when_enough_items_are_finished(batches: BatchStore) -> None:
    """Intake's estimate holds until real sizes are known; leased items still count."""
    assert batches.backlog() == {}
    batches.create(NEW, FLEET)
    assert batches.backlog() == {}
    batches.add_chunk("b1", chunk(20), now_s=101.0)
    assert batches.backlog() == {
        DEPLOYMENT.id: Backlog(items=20, prompt_tokens=200, output_tokens=600, due=((150.0, 800),))
    }
    pulled = pull(batches, max_items=18)
    assert len(pulled.items) == 18
    outcomes = [
        Outcome(
            key=item.key,
            is_success=True,
            is_retryable=False,
            offset=0,
            length=1,
            prompt_tokens=5,
            output_tokens=7,
        )
        for item in pulled.items[:16]
    ]
    segment = NewSegment(id="s", uri="u", size_bytes=1, create_s=103.0)
    assert batches.commit(LESSEE, outcomes, segment=segment).superseded == ()
    assert batches.backlog() == {
        DEPLOYMENT.id: Backlog(items=4, prompt_tokens=20, output_tokens=28, due=((150.0, 48),))
    }


def test_bodies_bound_a_pull_when_they_are_large(batches: BatchStore) -> None:
    """As many as fit, at least one."""
    batches.create(NEW, FLEET)
    batches.add_chunk("b1", chunk(5), now_s=101.0)
    for max_bytes, expected in ((25, 2), (1, 1)):
        batches.return_node_items(None, LESSEE.node, end=LeaseEnd.RETURNED)
        pulled = pull(batches, max_items=5, max_bytes=max_bytes)
        assert [item.key.line for item in pulled.items] == list(range(1, expected + 1))


def test_cancel_waits_for_intake_when_lines_are_still_read(batches: BatchStore) -> None:
    """A cancelled batch is read to its end, so that every line gets its error line."""
    batches.create(NEW, FLEET)
    cancelled = batches.request_cancel("b1", request_id="r2", now_s=101.0)
    assert cancelled is not None and cancelled.state is BatchState.CANCELLING
    batches.add_chunk("b1", chunk(5), now_s=101.0)
    assert batches.cancel_some("b1", limit=3) == 3
    assert not batches.publish("b1", output_uri="o", error_uri="e", now_s=102.0)
    assert batches.cancel_some("b1", limit=3) == 2
    assert batches.publish("b1", output_uri="o", error_uri="e", now_s=102.0)
    assert not batches.publish("b1", output_uri="p", error_uri="q", now_s=103.0)
    batch = batches.get("b1")
    assert batch is not None
    assert (batch.state, batch.output_uri, batch.failed) == (BatchState.CANCELLED, "o", 5)


def test_item_is_never_given_up_when_it_is_only_handed_back(batches: BatchStore) -> None:
    """Drains, kill switches and dropped leases are not the item's doing, however many."""
    batches.create(NEW, FLEET)
    batches.add_chunk("b1", chunk(1), now_s=101.0)
    for turn in range(30):
        [item] = pull(batches, max_items=5).items
        assert item.key.attempt == turn + 1, "the attempt fences, so it always grows"
        match turn % 3:
            case 0:
                batches.return_items(LESSEE, [item.key])
            case 1:
                batches.return_node_items(None, LESSEE.node, end=LeaseEnd.RETURNED)
            case _:
                pull(batches, max_items=0)  # holds nothing any more
    batch = batches.get("b1")
    assert batch is not None and (batch.pending, batch.failed) == (1, 0)


def test_suspect_runs_alone_when_it_was_lost_before(batches: BatchStore) -> None:
    """Two executions lost together make suspects: each runs alone, after all the others."""
    batches.create(NEW, FLEET)
    batches.add_chunk("b1", chunk(4), now_s=101.0)
    for _ in range(2):
        assert [one.key.line for one in pull(batches, max_items=2).items] == [1, 2]
        batches.return_node_items(None, LESSEE.node, end=LeaseEnd.LOST)
    rest = pull(batches, max_items=2)
    assert [one.key.line for one in rest.items] == [3, 4]
    held = [one.key for one in rest.items]
    assert pull(batches, max_items=2, held=held).items == (), "they would be neighbours"
    batches.commit(
        LESSEE,
        [
            Outcome(key=key, is_success=True, is_retryable=False, offset=index, length=1)
            for index, key in enumerate(held)
        ],
        segment=NewSegment(id="s", uri="u", size_bytes=2, create_s=103.0),
    )
    [first] = pull(batches, max_items=2).items
    assert first.key.line == 1
    assert pull(batches, max_items=2, held=[first.key]).items == (), "it stays alone"
    for _ in range(3):
        batches.return_node_items(None, LESSEE.node, end=LeaseEnd.LOST)
        pulled = pull(batches, max_items=2)
    assert [one.key.line for one in pulled.items] == [2], "line 1 is an error line, line 2 not"
    [decided, *_] = batches.finished_items("b1", after_line=0, limit=5)
    assert (decided.line, decided.error_code) == (1, "attempts_exhausted")


def test_unlease_leaves_no_trace_when_bodies_could_not_be_read(batches: BatchStore) -> None:
    """The attempt is given again, since nobody ever saw it."""
    batches.create(NEW, FLEET)
    batches.add_chunk("b1", chunk(1), now_s=101.0)
    for _ in range(30):  # more than the limit of attempts
        pulled = pull(batches, max_items=5)
        [item] = pulled.items
        assert item.key.attempt == 1
        batches.unlease(LESSEE, [item.key])
    batch = batches.get("b1")
    assert batch is not None and (batch.pending, batch.leased) == (1, 0)


def test_items_are_leased_once_when_replicas_pull_and_commit_at_once(
    store: FleetStore, batches: BatchStore
) -> None:
    """Two control planes on one database never hand an item to two replicas."""
    lessees = [replace(LESSEE, replica=f"r{number}") for number in range(4)]
    for lessee in lessees:
        with store.write() as state:
            placed = replace(
                ALLOCATION.allocation,
                replica=lessee.replica,
                state=ReplicaState.RUNNING,
                desired=Desired.RUNNING,
            )
            state.put_allocation(replace(ALLOCATION, allocation=placed))
    batches.create(NEW, FLEET)
    batches.add_chunk("b1", chunk(60), now_s=101.0)

    def work(lessee: Lessee) -> list[int]:
        lines: list[int] = []
        while pulled := pull(batches, max_items=3, lessee=lessee).items:
            segment = NewSegment(
                id=f"{lessee.replica}-{len(lines)}", uri="u", size_bytes=1, create_s=103.0
            )
            outcomes = [
                Outcome(key=one.key, is_success=True, is_retryable=False, offset=0, length=1)
                for one in pulled
            ]
            assert batches.commit(lessee, outcomes, segment=segment).superseded == ()
            lines += [one.key.line for one in pulled]
        return lines

    with ThreadPoolExecutor(len(lessees)) as threads:
        done = list(threads.map(work, lessees))
    assert sorted(line for lines in done for line in lines) == list(range(1, 61))
    batch = batches.get("b1")
    assert batch is not None
    assert (batch.state, batch.succeeded) == (BatchState.FINALIZING, 60)
