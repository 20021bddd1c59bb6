"""Leases, commits and losses in any order: every item is decided once, none is lost."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from sqlalchemy.engine import Connection

from planner.dispatch.admission import OfflineFacts
from planner.dispatch.pick import pick
from planner.model import Desired, ReplicaState, Stage
from storage import item_leases
from storage.batch_records import (
    BatchState,
    IntakeChunk,
    LeaseEnd,
    LeaseKey,
    Lessee,
    NewBatch,
    NewItem,
    NewSegment,
    Outcome,
    RetryLimits,
)
from storage.batches import BatchStore
from storage.database import Database
from storage.tables.batches import items

LINES = 6
LIMITS = RetryLimits(max_failures=3, max_losses=4)
LESSEES = tuple(
    Lessee(node=node, replica=replica)
    for node, replica in (("n1", "r1"), ("n1", "r2"), ("n2", "r3"))
)


class OpenFleet:
    """A fleet without a closed gate but the kill switch."""

    def __init__(self) -> None:
        self.is_killed = False

    def has_deployment(self, connection: Connection, deployment: str) -> bool:
        return True

    def offline_facts(self, connection: Connection, *, node: str, replica: str) -> OfflineFacts:
        return OfflineFacts(
            epoch=1,
            is_killed=self.is_killed,
            is_node_ready=True,
            is_node_closed=False,
            deployment="chat",
            stage=Stage.ACTIVE,
            desired=Desired.RUNNING,
            state=ReplicaState.RUNNING,
        )


class ItemMachine(RuleBasedStateMachine):
    """The store against what agents and control planes may do, on a real SQLite file."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        shutil.copy(self.template, self.folder / "state.db")
        self.fleet = OpenFleet()
        self.store = self.opened()
        self.leases: list[tuple[Lessee, LeaseKey]] = []  # every one ever granted
        self.sent: dict[tuple[str, int], LeaseKey] = {}  # (segment, offset) -> execution
        self.decided: dict[int, tuple[object, ...]] = {}
        self.segments = 0
        self.losses: Counter[int] = Counter()

    def opened(self) -> BatchStore:
        return BatchStore(Database.open(f"sqlite:///{self.folder}/state.db"), limits=LIMITS)

    def teardown(self) -> None:
        self.finish()
        self.store.database.close()
        shutil.rmtree(self.folder)

    @initialize()
    def submit(self) -> None:
        new = NewBatch(id="b", request_id="r", deployment="chat", input_uri="u", create_s=0.0)
        self.store.create(new, self.fleet)
        lines = [
            NewItem(
                line=line,
                custom_id=f"c{line}",
                url="/v1/completions",
                body_offset=line * 10,
                body_length=10,
                estimated_prompt_tokens=1,
                estimated_output_tokens=1,
            )
            for line in range(1, LINES + 1)
        ]
        chunk = IntakeChunk(from_offset=0, to_offset=99, to_line=LINES, items=lines, is_last=True)
        assert self.store.add_chunk("b", chunk, now_s=0.0)
        assert not self.store.add_chunk("b", chunk, now_s=0.0)

    @rule(
        lessee=st.sampled_from(LESSEES),
        forgets=st.sets(st.integers(0, 7)),
        max_items=st.integers(0, 4),
    )
    def pull(self, lessee: Lessee, forgets: set[int], max_items: int) -> None:
        """An agent pulls and names all it holds, or forgets some of it."""
        mine = [key for holder, key in self.leases if holder == lessee]
        held = [key for index, key in enumerate(mine) if index % 8 not in forgets]
        got = self.store.pull(
            lessee,
            self.fleet,
            held=held,
            epoch=1,
            choose=lambda found: pick(found, now_s=1.0, max_items=max_items),
            max_bytes=1 << 20,
        )
        assert len(got.items) <= max_items
        if self.fleet.is_killed:
            assert not got.items
        for one in got.items:
            assert all(key != one.key for _, key in self.leases), "an attempt was granted twice"
            assert one.key.line not in self.decided
            self.leases.append((lessee, one.key))

    @precondition(lambda self: self.leases)
    @rule(
        picked=st.lists(st.integers(0, 1 << 16), min_size=1, max_size=4),
        is_success=st.booleans(),
        is_retryable=st.booleans(),
    )
    def commit(self, picked: list[int], is_success: bool, is_retryable: bool) -> None:
        """Results of any lease ever granted arrive: in time, late, or again."""
        lessee = self.leases[picked[0] % len(self.leases)][0]
        mine = [key for holder, key in self.leases if holder == lessee]
        self.send(lessee, {mine[index % len(mine)] for index in picked}, is_success, is_retryable)

    @precondition(lambda self: self.leases)
    @rule(picked=st.integers(0, 1 << 16))
    def return_item(self, picked: int) -> None:
        lessee, key = self.leases[picked % len(self.leases)]
        self.store.return_items(lessee, [key])

    @rule(node=st.sampled_from(("n1", "n2")), end=st.sampled_from(LeaseEnd))
    def end_node(self, node: str, end: LeaseEnd) -> None:
        self.note_losses(end, lambda lessee: lessee.node == node)
        self.store.return_node_items(None, node, end=end)

    @rule(replica=st.sampled_from(("r1", "r3")), end=st.sampled_from(LeaseEnd))
    def end_replica(self, replica: str, end: LeaseEnd) -> None:
        self.note_losses(end, lambda lessee: lessee.replica == replica)
        with self.store.database.transaction() as connection:
            self.store.return_replica_items(connection, replica, end=end)

    @rule()
    def toggle_kill_switch(self) -> None:
        self.fleet.is_killed = not self.fleet.is_killed

    @rule()
    def restart(self) -> None:
        self.store.database.close()
        self.store = self.opened()

    @invariant()
    def counts_are_those_of_the_items(self) -> None:
        """The batch's row, its items and the decisions seen before agree."""
        batch = self.store.get("b")
        if batch is None:
            return
        with self.store.database.read() as connection:
            rows = connection.execute(sa.select(items)).all()
        states = Counter(row.state for row in rows)
        assert (batch.pending, batch.leased, batch.succeeded, batch.failed) == tuple(
            states[name] for name in ("pending", "leased", "succeeded", "failed")
        )
        assert batch.total == len(rows) == LINES
        is_over = batch.pending + batch.leased == 0
        assert batch.state is (BatchState.FINALIZING if is_over else BatchState.IN_PROGRESS)
        for row in rows:
            if row.state not in ("succeeded", "failed"):
                assert row.line not in self.decided, "a decided item was undone"
                continue
            decision = (row.state, row.segment, row.segment_offset, row.error_code)
            assert self.decided.setdefault(row.line, decision) == decision, "decided twice"
            if row.segment is not None:
                assert self.sent[row.segment, row.segment_offset].line == row.line
            else:
                assert row.error_code == "attempts_exhausted"
                assert self.losses[row.line] >= LIMITS.max_losses, "blamed for what it was not"

    @invariant()
    def suspects_run_alone(self) -> None:
        """An item that may stop what runs it has no neighbour in its replica but older ones."""
        with self.store.database.read() as connection:
            rows = connection.execute(sa.select(items).where(items.c.state == "leased")).all()
        for replica in {row.replica for row in rows}:
            held = [row for row in rows if row.replica == replica]
            if any(row.failures + row.losses >= LIMITS.alone_after for row in held):
                assert len(held) == 1

    def note_losses(self, end: LeaseEnd, is_gone: Callable[[Lessee], bool]) -> None:
        if end is LeaseEnd.LOST:
            for lessee in filter(is_gone, LESSEES):
                with self.store.database.read() as connection:
                    held = item_leases.held_by(connection, lessee)
                self.losses.update(key.line for key in held)

    def send(
        self, lessee: Lessee, keys: set[LeaseKey], is_success: bool, is_retryable: bool
    ) -> None:
        self.segments += 1
        segment = NewSegment(id=f"s{self.segments}", uri="s", size_bytes=0, create_s=0.0)
        standing = self.store.standing(lessee, keys)
        before = dict(self.decided)
        outcomes = []
        for offset, key in enumerate(sorted(keys)):
            self.sent[segment.id, offset] = key
            outcomes.append(
                Outcome(
                    key=key,
                    is_success=is_success,
                    is_retryable=is_retryable,
                    offset=offset,
                    length=1,
                )
            )
        commit = self.store.commit(lessee, outcomes, segment=segment)
        assert not set(commit.superseded) & standing
        for key in keys - standing - set(commit.superseded):
            assert key.line in before, "neither accepted now nor before, yet not superseded"

    def finish(self) -> None:
        """From any state on, one willing agent brings the batch to its end."""
        self.fleet.is_killed = False
        for _ in range(LINES * 2):
            batch = self.store.get("b")
            if batch is None or batch.is_settled:
                break
            seen = len(self.leases)
            for node in ("n1", "n2"):
                self.store.return_node_items(None, node, end=LeaseEnd.RETURNED)
            self.pull(LESSEES[0], set(), 4)
            new = {key for _, key in self.leases[seen:]}
            if new:
                self.send(LESSEES[0], new, is_success=True, is_retryable=False)
        self.counts_are_those_of_the_items()
        assert self.store.get("b") is None or len(self.decided) == LINES


def test_items_are_decided_once_when_anything_happens_in_any_order(tmp_path: Path) -> None:
    """At least once executed, exactly once committed, never lost."""
    Database.open(f"sqlite:///{tmp_path}/template.db").close()
    ItemMachine.template = tmp_path / "template.db"
    machine = ItemMachine.TestCase
    machine.settings = settings(
        max_examples=25,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    machine("runTest").runTest()
