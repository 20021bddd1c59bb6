"""BatchStore: batches and their items, in transactions.

Owns which reads and writes belong together. Refuses decisions (`planner.dispatch`) and
content: rows say where bodies and results lie, the object store holds them. Invariants:
see `tables.batches`, `item_intake`, `item_leases` and `item_returns`. Methods block: call
them off the event loop. Times are Unix seconds and arguments.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from planner.dispatch.admission import pull_refusal
from planner.dispatch.pick import Candidate, Pick
from storage import batch_rows, item_intake, item_leases, item_returns
from storage import fleet as fleet_rows
from storage.batch_records import (
    Backlog,
    BatchRecord,
    BatchState,
    FinishedItem,
    FleetLookup,
    IntakeChunk,
    LeasedItem,
    LeaseEnd,
    LeaseKey,
    Lessee,
    NewBatch,
    NewSegment,
    Outcome,
    RetryLimits,
)
from storage.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """What a pull came to.

    `refusal` says why nothing was leased, None where items were looked for.
    """

    items: tuple[LeasedItem, ...] = ()
    refusal: str | None = None
    returned: int = 0
    settled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What a commit came to: leases that did not stand, batches ready for their files."""

    superseded: tuple[LeaseKey, ...] = ()
    settled: tuple[str, ...] = ()


class BatchStore:
    """Batches, items and segments of one database.

    Args:
        database: open, shared with the other stores.
        limits: when an item stops being tried.
    """

    def __init__(self, database: Database, *, limits: RetryLimits | None = None) -> None:
        self.database = database
        self.limits = limits or RetryLimits()

    def create(self, new: NewBatch, fleet: FleetLookup) -> BatchRecord | None:
        """Stores a batch; a repeat of its request_id answers with the first.

        Returns:
            None where no such deployment exists.

        Raises:
            RequestReusedError: the request_id belongs to another submission.
        """
        with self.database.transaction() as connection:
            repeated = batch_rows.repeated(connection, new)
            if repeated is not None:
                return repeated
            _refuse_reuse(connection, new.request_id, method="CreateBatch")
            if not fleet.has_deployment(connection, new.deployment):
                return None
            batch_rows.insert(connection, new)
            _remember(connection, new.request_id, method="CreateBatch", now_s=new.create_s)
            return batch_rows.get(connection, new.id)

    def get(self, batch: str) -> BatchRecord | None:
        """The batch of that id."""
        with self.database.read() as connection:
            return batch_rows.get(connection, batch)

    def list_page(
        self, *, limit: int, before: tuple[float, str] | None = None
    ) -> tuple[BatchRecord, ...]:
        """Batches, newest first, older than (create_s, id)."""
        with self.database.read() as connection:
            return batch_rows.page(connection, limit=limit, before=before)

    def in_states(self, *states: BatchState) -> tuple[BatchRecord, ...]:
        """Batches in any of those states, oldest first."""
        with self.database.read() as connection:
            return batch_rows.in_states(connection, states)

    def request_cancel(self, batch: str, *, request_id: str, now_s: float) -> BatchRecord | None:
        """Makes a batch CANCELLING unless all its lines are decided; safe to repeat.

        Raises:
            RequestReusedError: the request_id belongs to another request.
        """
        method = f"CancelBatch {batch}"
        with self.database.transaction() as connection:
            is_known = _refuse_reuse(connection, request_id, method=method)
            batch_rows.request_cancel(connection, batch)
            found = batch_rows.get(connection, batch)
            if found is not None and not is_known:
                _remember(connection, request_id, method=method, now_s=now_s)
            return found

    def note(self, batch: str, message: str) -> None:
        """Sets what an operator should know of a batch that is not over."""
        with self.database.transaction() as connection:
            batch_rows.note(connection, batch, message)

    def fail(self, batch: str, message: str, *, now_s: float) -> bool:
        """Ends a batch whose input cannot be read."""
        with self.database.transaction() as connection:
            return batch_rows.fail(connection, batch, message, now_s=now_s)

    def add_chunk(self, batch: str, chunk: IntakeChunk, *, now_s: float) -> bool:
        """See `item_intake.add_chunk`."""
        with self.database.transaction() as connection:
            return item_intake.add_chunk(connection, batch, chunk, now_s=now_s)

    def cancel_some(self, batch: str, *, limit: int) -> int:
        """See `item_returns.cancel_some`."""
        with self.database.transaction() as connection:
            return item_returns.cancel_some(connection, batch, limit=limit)

    def pull(
        self,
        lessee: Lessee,
        fleet: FleetLookup,
        *,
        held: Collection[LeaseKey],
        epoch: int,
        choose: Callable[[Sequence[Candidate]], Sequence[Pick]],
        max_bytes: int,
        excluding: Collection[str] = (),
    ) -> Pull:
        """Takes back what the replica no longer holds, then leases what `choose` picks.

        Args:
            lessee: who pulls.
            fleet: asked in the same transaction.
            held: leases the replica still works on.
            epoch: fencing epoch the node last saw; a higher one than ours means that
                this control plane is behind, and nothing is done.
            choose: picks among candidates, `planner.dispatch.pick`.
            max_bytes: of all bodies together.
            excluding: batches to take nothing from.
        """
        with self.database.transaction() as connection:
            facts = fleet.offline_facts(connection, node=lessee.node, replica=lessee.replica)
            if facts is not None and epoch > facts.epoch:
                return Pull(refusal=pull_refusal(facts, epoch=epoch))
            dropped = set(item_leases.held_by(connection, lessee)) - set(held)
            returned, settled = item_returns.give_back(connection, sorted(dropped), lessee)
            refusal = pull_refusal(facts, epoch=epoch)
            leased: tuple[LeasedItem, ...] = ()
            if facts is not None and refusal is None:
                candidates = item_leases.candidates(
                    connection, facts.deployment, excluding=excluding
                )
                picks = choose(candidates)
                leased = item_leases.lease(
                    connection, lessee, picks, max_bytes=max_bytes, limits=self.limits
                )
            return Pull(items=leased, refusal=refusal, returned=returned, settled=settled)

    def standing(self, lessee: Lessee, keys: Collection[LeaseKey]) -> frozenset[LeaseKey]:
        """Those leases that stand now; a hint, since they may lapse at once."""
        with self.database.read() as connection:
            return frozenset(keys) & frozenset(
                item_leases.held_by(connection, Lessee(node=lessee.node, replica=lessee.replica))
            )

    def commit(
        self, lessee: Lessee, outcomes: Sequence[Outcome], *, segment: NewSegment | None
    ) -> Commit:
        """See `item_leases.commit`; `segment` must be durable before."""
        with self.database.transaction() as connection:
            superseded, settled = item_leases.commit(
                connection, lessee, outcomes, segment=segment, limits=self.limits
            )
            return Commit(superseded=superseded, settled=settled)

    def return_items(self, lessee: Lessee, keys: Sequence[LeaseKey]) -> Commit:
        """Makes leases of a replica pending again; those that do not stand are named."""
        with self.database.transaction() as connection:
            standing = set(item_leases.held_by(connection, lessee))
            _, settled = item_returns.give_back(
                connection, [key for key in keys if key in standing], lessee
            )
            superseded = tuple(key for key in keys if key not in standing)
            return Commit(superseded=superseded, settled=settled)

    def unlease(self, lessee: Lessee, keys: Sequence[LeaseKey]) -> None:
        """Undoes leases that were never handed out; they do not count as attempts."""
        with self.database.transaction() as connection:
            item_returns.unlease(connection, keys, lessee)

    def return_node_items(self, connection: Connection | None, node: str, *, end: LeaseEnd) -> int:
        """Returns to pending everything leased to a node (its lease lapsed, it drained).

        Args:
            connection: the caller's writing transaction, None for one of its own.
            node: bare id.
            end: LOST where the node went unasked.

        Returns:
            How many items went back.
        """
        with self._writing(connection) as ours:
            return item_returns.give_back_all(ours, node=node, end=end, limits=self.limits)[0]

    def return_replica_items(
        self, connection: Connection | None, replica: str, *, end: LeaseEnd
    ) -> int:
        """Returns to pending everything leased to a replica. As `return_node_items`."""
        with self._writing(connection) as ours:
            return item_returns.give_back_all(ours, replica=replica, end=end, limits=self.limits)[0]

    def finished_items(
        self, batch: str, *, after_line: int, limit: int
    ) -> tuple[FinishedItem, ...]:
        """Decided items in line order, from the line after `after_line`."""
        with self.database.read() as connection:
            return batch_rows.finished_items(connection, batch, after_line=after_line, limit=limit)

    def publish(self, batch: str, *, output_uri: str, error_uri: str, now_s: float) -> bool:
        """Names the files of a batch whose every line is decided, and ends it.

        Returns:
            False if another control plane has, and these files are to be thrown away.
        """
        with self.database.transaction() as connection:
            return batch_rows.publish(
                connection, batch, output_uri=output_uri, error_uri=error_uri, now_s=now_s
            )

    def backlog(self) -> Mapping[str, Backlog]:
        """Offline work left, by deployment; deployments without any are absent."""
        with self.database.read() as connection:
            return batch_rows.backlog(connection)

    def tenant_backlog(self) -> Mapping[tuple[str, str], Backlog]:
        """Offline work left, by deployment and tenant."""
        with self.database.read() as connection:
            return batch_rows.tenant_backlog(connection)

    @contextmanager
    def _writing(self, connection: Connection | None) -> Iterator[Connection]:
        if connection is not None:
            yield connection
            return
        with self.database.transaction() as own:
            yield own


def _refuse_reuse(connection: Connection, request_id: str, *, method: str) -> bool:
    """Whether the request_id was used for just this before; raises where for another."""
    known = fleet_rows.answered(connection, request_id=request_id, method=method, fingerprint=b"")
    return known is not None


def _remember(connection: Connection, request_id: str, *, method: str, now_s: float) -> None:
    """Keeps the request_id; the answer is the batch itself."""
    fleet_rows.remember(
        connection,
        request_id=request_id,
        method=method,
        fingerprint=b"",
        response=b"",
        create_s=now_s,
    )
