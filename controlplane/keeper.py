"""What the leader does between rounds: leases, removals, drain deadlines.

Owns committing what follows from time and from reports without a new plan. Refuses to
place anything. Invariants: `dues` is a pure function of committed state, lapsed leases
and time, so any leader, also one just started, comes to the same; everything is
committed under the leader's epoch.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from slacktide.wire.errors import Refusal

from controlplane.feed import StateFeed
from controlplane.observed import GONE, lease_end
from controlplane.sessions import Sessions
from controlplane.stored import stored
from controlplane.telemetry import Telemetry
from planner.model import Desired, ReplicaState
from planner.reconcile.moves import releasable
from storage.batches import BatchStore
from storage.records import AllocationRecord, FleetView
from storage.store import FleetStore, FleetTransaction

_log = logging.getLogger(__name__)

TICK_S = 0.25
RETRY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dues:
    """What is due now, by id."""

    lost_nodes: tuple[str, ...] = ()
    released: tuple[str, ...] = ()  # removals whose condition holds
    taken_back: tuple[str, ...] = ()  # removals whose condition can no longer hold
    evicted: tuple[str, ...] = ()  # replicas of nodes whose drain deadline passed
    retired: tuple[str, ...] = ()  # wanted stopped, and stopped or lost

    def __bool__(self) -> bool:
        """Whether anything is due."""
        return any((self.lost_nodes, self.released, self.taken_back, self.evicted, self.retired))


def dues(view: FleetView, *, lapsed: tuple[str, ...], now_s: float) -> Dues:
    """Decides what is due.

    Args:
        view: the committed state.
        lapsed: nodes whose lease ran out.
        now_s: Unix seconds, against which drain deadlines are held.
    """
    overdue = {
        node.id
        for node in view.nodes
        if node.drain_deadline_s is not None and node.drain_deadline_s <= now_s
    }
    evicted = {
        one.allocation.replica
        for one in view.allocations
        if one.allocation.node in overdue and not one.is_released
    }
    ended = {
        one.allocation.replica
        for one in view.allocations
        if one.allocation.state in (ReplicaState.DRAINING, ReplicaState.STOPPED)
    }  # by its agent's own doing: nothing is left to wait for
    ready = (set(releasable(one.allocation for one in view.allocations)) | ended) - evicted
    desired = {one.allocation.replica: one.allocation for one in view.allocations}
    waiting = {
        one.allocation.replica: one.allocation.after
        for one in view.allocations
        if one.allocation.desired is Desired.STOPPED
        and one.allocation.after
        and one.allocation.replica not in evicted
    }
    return Dues(
        lost_nodes=tuple(
            node.id for node in view.nodes if node.is_ready and node.id in set(lapsed)
        ),
        released=tuple(replica for replica in waiting if replica in ready),
        taken_back=tuple(
            replica
            for replica, after in waiting.items()
            if replica not in ready
            and any(
                other not in desired
                or desired[other].desired is Desired.STOPPED
                or desired[other].state is ReplicaState.LOST
                for other in after
            )
        ),
        evicted=tuple(sorted(evicted)),
        retired=tuple(
            one.allocation.replica
            for one in view.allocations
            if one.is_released and one.allocation.state in (ReplicaState.STOPPED, ReplicaState.LOST)
        ),
    )


class FleetKeeper:
    """Commits what is due, at every change of state and at least every `TICK_S`.

    Args:
        store: fleet state.
        batches: where items of lost replicas go back.
        feed: the newest view.
        sessions: leases.
        telemetry: forgets what is gone.
        epoch: the leader's.
        request_round: asks for a round, with what triggers it.
    """

    def __init__(
        self,
        *,
        store: FleetStore,
        batches: BatchStore,
        feed: StateFeed,
        sessions: Sessions,
        telemetry: Telemetry,
        epoch: int,
        request_round: Callable[[str], None],
    ) -> None:
        self._store = store
        self._batches = batches
        self._feed = feed
        self._sessions = sessions
        self._telemetry = telemetry
        self._epoch = epoch
        self._request_round = request_round

    async def run(self) -> None:
        """Runs until the feed closes, or this leader is superseded.

        Raises:
            Refusal: STALE_EPOCH, another leader took over.
        """
        while not self._feed.is_closed:
            revision = self._feed.view.state.revision
            try:
                await self.tend()
            except Refusal as refusal:
                if refusal.reason == "STALE_EPOCH":
                    raise
                _log.error("tend_failed reason=%s message=%s", refusal.reason, refusal)
                await asyncio.sleep(RETRY_S)
            except Exception:  # noqa: BLE001 - leases outlive any defect of one decision
                _log.exception("tend_alert revision=%d", revision)
                await asyncio.sleep(RETRY_S)
            await self._feed.after(revision, timeout_s=TICK_S)

    async def tend(self) -> Dues:
        """Commits what is due once.

        Raises:
            Refusal: the store could not, or STALE_EPOCH.
        """
        lapsed = self._sessions.lapsed(now_s=time.monotonic())
        self._telemetry.prune(now_s=time.monotonic())
        if not dues(self._feed.view, lapsed=lapsed, now_s=time.time()):
            for node in lapsed:  # marked lost before
                self._sessions.drop(node)
            return Dues()
        done = await stored(
            self._store.run, lambda state: self._commit(state, lapsed), epoch=self._epoch
        )
        for node in done.lost_nodes:
            self._sessions.drop(node)
            _log.warning("node_lost node=%s lease_s=%g", node, self._sessions.lease_s)
        for event in ("released", "taken_back", "evicted", "retired"):
            if replicas := getattr(done, event):
                _log.info("removals_%s replicas=%s", event, ",".join(replicas))
        self._telemetry.forget(done.retired)
        await self._feed.refresh()
        if done:
            self._request_round(
                f"node {done.lost_nodes[0]} lost" if done.lost_nodes else "removals went on"
            )
        return done

    def _commit(self, state: FleetTransaction, lapsed: tuple[str, ...]) -> Dues:
        view = state.view()
        due = dues(view, lapsed=lapsed, now_s=time.time())
        for record in view.allocations:
            after = self._after(record, due)
            if after is None:
                state.retire_allocation(record.allocation.replica)
            else:
                state.put_allocation(after)
            ended = record.allocation.state if after is None else after.allocation.state
            if after is None or (ended in GONE and ended != record.allocation.state):
                end = lease_end(ended, node=view.node(record.allocation.node))
                self._batches.return_replica_items(
                    state.connection, record.allocation.replica, end=end
                )
        for node in view.nodes:
            if node.id in due.lost_nodes:
                state.put_node(replace(node, is_ready=False))
                end = lease_end(ReplicaState.LOST, node=node)
                self._batches.return_node_items(state.connection, node.id, end=end)
        return due

    def _after(self, record: AllocationRecord, due: Dues) -> AllocationRecord | None:
        """The allocation once what is due is done; None when it retires."""
        one = record.allocation
        if one.replica in due.retired:
            return None
        if one.replica in due.taken_back:
            one = replace(one, desired=Desired.RUNNING, after=())
        if one.replica in due.released or one.replica in due.evicted:
            one = replace(one, desired=Desired.STOPPED, after=())
        message = record.message
        if one.node in due.lost_nodes and one.state is not ReplicaState.STOPPED:
            one = replace(one, state=ReplicaState.LOST)
            message = f"node {one.node}: its lease lapsed"
        return replace(record, allocation=one, message=message)
