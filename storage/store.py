"""The fleet's state: one facade over the subjects, one place where revisions are made.

Owns transactions on fleet state. Refuses decisions, and every write under a stale epoch.
Invariants: a transaction that changed state raises the revision by exactly one, in that
transaction; one that changed nothing leaves it; what a request_id answered once it
answers again. Methods block: call them off the event loop.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TypeVar

from storage import allocations, deployments, fleet, forecasts, nodes, plans
from storage.database import Database
from storage.errors import StaleEpochError
from storage.forecast_records import ForecastRecord, FrontierRecord
from storage.plan_records import PlanOutcome, PlanRecord
from storage.records import (
    AllocationRecord,
    DeploymentRecord,
    FleetState,
    FleetView,
    GatewayRecord,
    NodeRecord,
)
from storage.transaction import FleetTransaction, committed_view

__all__ = ["FleetStore", "FleetTransaction"]

T = TypeVar("T")


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
            return committed_view(connection)

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

    def list_plans(
        self,
        *,
        before: int | None,
        limit: int,
        is_whole: bool = True,
        outcomes: Collection[PlanOutcome] | None = None,
    ) -> tuple[PlanRecord, ...]:
        """Entries of the ledger; see `plans.listed`."""
        with self.database.read() as connection:
            return plans.listed(
                connection, before=before, limit=limit, is_whole=is_whole, outcomes=outcomes
            )

    def list_forecasts(self) -> tuple[ForecastRecord, ...]:
        """What was learned of the deployments' demand, by deployment."""
        with self.database.read() as connection:
            return forecasts.listed(connection)

    def list_frontiers(self) -> tuple[FrontierRecord, ...]:
        """Frontiers that were measured or derived, by key."""
        with self.database.read() as connection:
            return forecasts.frontiers_listed(connection)

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
