"""The fleet's state: one facade over the subjects, one place where revisions are made.

Owns transactions on fleet state. Refuses decisions, and every write under a stale epoch.
Invariants: a transaction that changed state raises the revision by exactly one, in that
transaction; one that changed nothing leaves it; what a request_id answered once it
answers again. Methods block: call them off the event loop.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy.engine import Connection

from planner.model import Plan
from storage import allocations, deployments, fleet, nodes, plans
from storage.database import Database
from storage.errors import StaleEpochError
from storage.records import (
    AllocationRecord,
    DeploymentRecord,
    FleetState,
    FleetView,
    GatewayRecord,
    NodeRecord,
    PlanRecord,
)

T = TypeVar("T")


class FleetTransaction:
    """One writing transaction. Made by `FleetStore.write`.

    `connection` lets another subject (batches) write in the same transaction.
    """

    def __init__(self, connection: Connection, state: FleetState) -> None:
        self.connection = connection
        self.state = state
        self.is_changed = False

    def view(self) -> FleetView:
        """The state as this transaction sees it, without the plan in force."""
        return _view(self.connection)

    def node(self, id_: str) -> NodeRecord | None:
        """The node of that id."""
        return nodes.get(self.connection, id_)

    def deployment(self, id_: str) -> DeploymentRecord | None:
        """The deployment of that id, deleted ones included."""
        return deployments.get(self.connection, id_)

    def allocation(self, replica: str) -> AllocationRecord | None:
        """The allocation of that replica."""
        return allocations.get(self.connection, replica)

    def allocations_on(self, node: str) -> tuple[AllocationRecord, ...]:
        """The allocations of a node, by replica id."""
        return allocations.listed(self.connection, node=node)

    def allocations_of(self, deployment: str) -> tuple[AllocationRecord, ...]:
        """The allocations of a deployment, by replica id."""
        return allocations.listed(self.connection, deployment=deployment)

    def put_node(self, node: NodeRecord) -> None:
        """Creates or replaces a node; one equal to what is stored changes nothing."""
        if nodes.get(self.connection, node.id) != node:
            nodes.put(self.connection, node)
            self.is_changed = True

    def put_deployment(self, deployment: DeploymentRecord) -> None:
        """Creates or replaces a deployment; an equal one changes nothing."""
        if deployments.get(self.connection, deployment.id) != deployment:
            deployments.put(self.connection, deployment)
            self.is_changed = True

    def put_allocation(self, allocation: AllocationRecord) -> None:
        """Creates or replaces an allocation; an equal one changes nothing."""
        if allocations.get(self.connection, allocation.allocation.replica) != allocation:
            allocations.put(self.connection, allocation)
            self.is_changed = True

    def retire_allocation(self, replica: str) -> None:
        """Removes an allocation whose replica is gone for good."""
        allocations.remove(self.connection, replica)
        self.is_changed = True

    def append_plan(self, plan: Plan, *, epoch: int, trigger: str, solve_s: float) -> PlanRecord:
        """Writes the next entry of the ledger and returns it with its round."""
        record = PlanRecord(
            round=self.state.round + 1,
            epoch=epoch,
            trigger=trigger,
            solve_s=solve_s,
            create_s=time.time(),
            plan=plan,
        )
        plans.append(self.connection, record)
        fleet.set_round(self.connection, record.round)
        self.is_changed = True
        return record

    def set_kill_switch(self, *, engaged: bool, reason: str) -> FleetState:
        """Stops or allows all offline work; a repeat keeps the time of the change."""
        if self.state.kill_switch != engaged:
            fleet.set_kill_switch(
                self.connection, engaged=engaged, reason=reason, change_s=time.time()
            )
            self.is_changed = True
        return fleet.state(self.connection)

    def answered(self, request_id: str, *, method: str, fingerprint: bytes) -> bytes | None:
        """What this request was answered before, or None.

        Raises:
            RequestReusedError: the id belongs to another request.
        """
        return fleet.answered(
            self.connection, request_id=request_id, method=method, fingerprint=fingerprint
        )

    def remember(
        self, request_id: str, *, method: str, fingerprint: bytes, response: bytes
    ) -> None:
        """Keeps the answer of a request with the change it made."""
        fleet.remember(
            self.connection,
            request_id=request_id,
            method=method,
            fingerprint=fingerprint,
            response=response,
            create_s=time.time(),
        )


class FleetStore:
    """Nodes, deployments, allocations, plans, requests and settings of one database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @contextmanager
    def write(self, *, epoch: int | None = None) -> Iterator[FleetTransaction]:
        """A writing transaction on fleet state.

        Args:
            epoch: the leader's epoch for what only a leader may write; None for what any
                control plane may write for a client.

        Raises:
            StaleEpochError: another leader took a higher epoch; nothing is written.
            StorageFullError, StorageUnavailableError: nothing is written.
        """
        with self.database.transaction() as connection:
            state = fleet.state(connection, lock=True)
            if epoch is not None and epoch != state.epoch:
                raise StaleEpochError(held=epoch, current=state.epoch, leader=state.leader)
            transaction = FleetTransaction(connection, state)
            yield transaction
            if transaction.is_changed:
                fleet.bump_revision(connection)

    def run(self, work: Callable[[FleetTransaction], T], *, epoch: int | None = None) -> T:
        """Runs `work` in one `write` transaction and returns what it returns."""
        with self.write(epoch=epoch) as transaction:
            return work(transaction)

    def acquire_epoch(self, leader: str, *, now_s: float) -> int:
        """Makes this process the leader; every lower epoch is refused from now on.

        Args:
            leader: its id.
            now_s: Unix seconds. An epoch is at least that, so that a database made anew,
                or restored from a backup, is not taken for a leader of the past by
                those who remember the old one (ADR 0007).
        """
        with self.database.transaction() as connection:
            state = fleet.state(connection, lock=True)
            epoch = max(state.epoch + 1, int(now_s))
            fleet.set_leader(connection, leader=leader, epoch=epoch)
            fleet.bump_revision(connection)
            return epoch

    def state(self) -> FleetState:
        """The row about the whole fleet; cheap, polled for the revision."""
        with self.database.read() as connection:
            return fleet.state(connection)

    def view(self) -> FleetView:
        """The whole committed state at one revision, with the plan in force."""
        with self.database.read() as connection:
            return _view(connection)

    def get_node(self, id_: str) -> NodeRecord | None:
        """The node of that id."""
        with self.database.read() as connection:
            return nodes.get(connection, id_)

    def get_deployment(self, id_: str) -> DeploymentRecord | None:
        """The deployment of that id that is not deleted."""
        with self.database.read() as connection:
            found = deployments.get(connection, id_)
        return None if found is None or found.is_deleted else found

    def get_allocation(self, replica: str) -> AllocationRecord | None:
        """The allocation of that replica."""
        with self.database.read() as connection:
            return allocations.get(connection, replica)

    def get_plan(self, round_: int) -> PlanRecord | None:
        """The ledger's entry of that round."""
        with self.database.read() as connection:
            return plans.get(connection, round_)

    def list_plans(self, *, before: int | None, limit: int) -> tuple[PlanRecord, ...]:
        """Entries of the ledger, newest first, of rounds lower than `before`."""
        with self.database.read() as connection:
            return plans.listed(connection, before=before, limit=limit)

    def note_gateway(self, gateway: GatewayRecord) -> None:
        """Remembers that a gateway watches; no change of state."""
        with self.database.transaction() as connection:
            fleet.note_gateway(connection, gateway)

    def list_gateways(self, *, since_s: float) -> tuple[GatewayRecord, ...]:
        """Gateways seen since then, by id."""
        with self.database.read() as connection:
            return fleet.gateways_since(connection, since_s)

    def forget_requests(self, *, before_s: float) -> int:
        """Drops answers older than that; returns how many."""
        with self.database.transaction() as connection:
            return fleet.forget_requests(connection, before_s)


def _view(connection: Connection) -> FleetView:
    state = fleet.state(connection)
    return FleetView(
        state=state,
        nodes=nodes.listed(connection),
        deployments=deployments.listed(connection),
        allocations=allocations.listed(connection),
        plan=plans.get(connection, state.round) if state.round else None,
    )
