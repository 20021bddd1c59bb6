"""One writing transaction on fleet state, over all its subjects.

Owns what counts as a change. Refuses decisions. Invariant: putting what is stored already
changes nothing, so that it raises no revision.
"""

import time
from collections.abc import Collection, Iterable
from dataclasses import replace

from sqlalchemy.engine import Connection

from planner.model import Plan
from storage import allocations, deployments, fleet, forecasts, holds, nodes, plans
from storage.forecast_records import ForecastRecord, FrontierRecord
from storage.plan_records import (
    DemandRecord,
    FreezeRecord,
    PinRecord,
    PlanOutcome,
    PlanRecord,
    TenantRecord,
)
from storage.records import (
    AllocationRecord,
    DeploymentRecord,
    FleetState,
    FleetView,
    NodeRecord,
)

PRUNE_EVERY = 50
"""Rounds between two prunings of the ledger."""


class FleetTransaction:
    """One writing transaction. Made by `FleetStore.write`.

    `connection` lets another subject (batches) write in the same transaction.
    """

    def __init__(self, connection: Connection, state: FleetState) -> None:
        self.connection = connection
        self.state = state
        self.is_changed = False

    def view(self) -> FleetView:
        """The state as this transaction sees it."""
        return committed_view(self.connection)

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

    def append_plan(
        self,
        plan: Plan,
        *,
        epoch: int,
        trigger: str,
        solve_s: float,
        outcome: PlanOutcome = PlanOutcome.APPLIED,
        inputs_hash: str = "",
        failure: str = "",
        refused_groups: tuple[int, ...] = (),
        demand: tuple[DemandRecord, ...] = (),
    ) -> PlanRecord:
        """Writes the next entry of the ledger and returns it with its round.

        An entry that makes placements becomes the plan in force and changes the state; any
        other only says how a round came out, and raises no revision.
        """
        record = PlanRecord(
            round=self.state.round + 1,
            epoch=epoch,
            trigger=trigger,
            solve_s=solve_s,
            create_s=time.time(),
            plan=plan,
            outcome=outcome,
            inputs_hash=inputs_hash,
            failure=failure,
            refused_groups=refused_groups,
            demand=demand,
            placements_from=None if outcome.makes_placements else self.state.plan_round,
        )
        plans.append(self.connection, record)
        fleet.set_round(self.connection, record.round)
        self.state = replace(self.state, round=record.round)
        if outcome.makes_placements:
            fleet.set_plan_round(self.connection, record.round)
            self.state = replace(self.state, plan_round=record.round)
            self.is_changed = True
        if record.round % PRUNE_EVERY == 0:
            kept = {record.round, self.state.plan_round, self.state.rollback_round}
            plans.prune(self.connection, newest=record.round, kept=kept)
        return record

    def plan(self, round_: int) -> PlanRecord | None:
        """The ledger's entry of that round, with the placements in force after it."""
        return plans.get(self.connection, round_)

    def set_rollback(self, round_: int) -> None:
        """Names the round whose placement rounds return to; 0: none."""
        if self.state.rollback_round != round_:
            fleet.set_rollback_round(self.connection, round_)
            self.state = replace(self.state, rollback_round=round_)
            self.is_changed = True

    def pins(self) -> tuple[PinRecord, ...]:
        """Every pin, by deployment, then node."""
        return holds.pins_listed(self.connection)

    def put_pin(self, pin: PinRecord) -> PinRecord:
        """Creates or replaces a pin; one that says the same keeps its time."""
        known = {(one.deployment, one.node): one for one in self.pins()}
        before = known.get((pin.deployment, pin.node))
        if before is not None and replace(pin, create_s=before.create_s) == before:
            return before
        holds.put_pin(self.connection, pin)
        self.is_changed = True
        return pin

    def remove_pin(self, *, deployment: str, node: str) -> bool:
        """Takes a pin back; says whether there was one."""
        gone = holds.remove_pin(self.connection, deployment=deployment, node=node)
        self.is_changed |= gone
        return gone

    def release_holds(self, deployment: str) -> None:
        """Takes back what holds a deployment that is deleted: its pins and its freeze."""
        self.is_changed |= holds.remove_pins_of(self.connection, deployment)
        self.is_changed |= holds.remove_freeze(self.connection, f"deployments/{deployment}")

    def freezes(self) -> tuple[FreezeRecord, ...]:
        """Every freeze, by target."""
        return holds.freezes_listed(self.connection)

    def freeze(self, freeze: FreezeRecord) -> None:
        """Freezes a target; one frozen before keeps its reason and time."""
        if all(one.target != freeze.target for one in self.freezes()):
            holds.put_freeze(self.connection, freeze)
            self.is_changed = True

    def thaw(self, target: str) -> bool:
        """Takes a freeze back; says whether there was one."""
        gone = holds.remove_freeze(self.connection, target)
        self.is_changed |= gone
        return gone

    def tenant(self, id_: str) -> TenantRecord | None:
        """The tenant of that id."""
        return holds.tenant(self.connection, id_)

    def put_tenant(self, tenant: TenantRecord) -> None:
        """Creates or replaces a tenant; an equal one changes nothing."""
        if holds.tenant(self.connection, tenant.id) != tenant:
            holds.put_tenant(self.connection, tenant)
            self.is_changed = True

    def remove_tenant(self, id_: str) -> bool:
        """Deletes a tenant; says whether there was one."""
        gone = holds.remove_tenant(self.connection, id_)
        self.is_changed |= gone
        return gone

    def put_forecasts(
        self, records: Iterable[ForecastRecord], *, deployments: Collection[str]
    ) -> None:
        """Keeps what was learned of demand; it is no fleet state, so it raises no revision.

        Args:
            records: Of some deployments.
            deployments: All there are; what is kept of any other is dropped.
        """
        forecasts.put(self.connection, records)
        forecasts.keep(self.connection, deployments)

    def put_frontier(self, record: FrontierRecord) -> None:
        """Keeps a frontier; likewise no fleet state."""
        forecasts.put_frontier(self.connection, record)

    def keep_frontiers(
        self, needed: Collection[str], *, now_s: float, kept_s: float
    ) -> tuple[str, ...]:
        """Notes which frontiers are needed, and drops derived ones long not needed.

        Args:
            needed: Keys; none of these is dropped, however old.
            now_s: Unix seconds.
            kept_s: How long a derived one stays after it was last needed.

        Returns:
            Keys of those dropped. Measured ones stay.
        """
        forecasts.need_frontiers(self.connection, needed, now_s=now_s)
        return forecasts.drop_frontiers(self.connection, before_s=now_s - kept_s)

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


def committed_view(connection: Connection) -> FleetView:
    """The whole state as that connection sees it, with the plan in force."""
    state = fleet.state(connection)
    return FleetView(
        state=state,
        nodes=nodes.listed(connection),
        deployments=deployments.listed(connection),
        allocations=allocations.listed(connection),
        plan=plans.get(connection, state.plan_round) if state.plan_round else None,
        pins=holds.pins_listed(connection),
        freezes=holds.freezes_listed(connection),
        tenants=holds.tenants_listed(connection),
    )
