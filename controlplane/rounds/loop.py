"""When rounds run, and what one does.

Owns triggers, the debounce and the interval. Refuses to decide placements. Invariants:
one round at a time; every round is in the ledger; a failed solve leaves what runs as it
is and is logged as an alert; a newer leader ends the loop.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from slacktide.wire.errors import Refusal

from controlplane.feed import StateFeed
from controlplane.rounds.apply import Committed, Round, commit_plan, note_failure
from controlplane.rounds.demand import Demand, key_of
from controlplane.rounds.frontiers import FrontierBook
from controlplane.rounds.outcome import RoundLog, kept_because
from controlplane.rounds.returning import return_step
from controlplane.rounds.snapshot import (
    PlacementSettings,
    build_snapshot,
    inputs_hash,
)
from controlplane.rounds.solver import Solver
from controlplane.stored import stored
from controlplane.telemetry import Telemetry
from planner.model import Plan, Snapshot
from planner.placement.greedy import NODE_BY_NODE_UP_TO, greedy
from storage.batches import BatchStore
from storage.plan_records import PlanOutcome, PlanRecord
from storage.records import FleetView
from storage.store import FleetStore, FleetTransaction

_log = logging.getLogger(__name__)

DEBOUNCE_S = 0.2
RETRY_S = 1.0
"""After a round that a busy state or store refused."""


class RoundLoop:
    """The leader's rounds.

    Args:
        store: fleet state.
        batches: offline work that is left.
        feed: the newest view.
        telemetry: observed online work.
        solver: solves in a process of its own.
        log: where outcomes are noted.
        epoch: the leader's.
        interval_s: longest time between two rounds.
        budget_s: time a solve may take.
        settings: what placement depends on beside the state.
        forecast: bounds of the online work to come, by `demand.key_of`.
        frontiers: what is known of replicas' frontiers.
    """

    def __init__(
        self,
        *,
        store: FleetStore,
        batches: BatchStore,
        feed: StateFeed,
        telemetry: Telemetry,
        solver: Solver,
        log: RoundLog,
        epoch: int,
        interval_s: float,
        budget_s: float,
        settings: PlacementSettings | None = None,
        forecast: Callable[[], Mapping[str, float]] = dict,
        frontiers: Callable[[], FrontierBook] = FrontierBook,
    ) -> None:
        self._store = store
        self._batches = batches
        self._feed = feed
        self._telemetry = telemetry
        self._solver = solver
        self._log = log
        self._epoch = epoch
        self._interval_s = interval_s
        self.budget_s = budget_s
        self._settings = settings or PlacementSettings()
        self._frontiers = frontiers
        self._forecast = forecast
        self._split_record: PlanRecord | None = None
        self._triggers: dict[str, None] = {}  # ordered, without repeats
        self._wanted = asyncio.Event()

    @property
    def settings(self) -> PlacementSettings:
        """What placement depends on beside the state, with what is known of frontiers now."""
        return replace(self._settings, frontiers=self._frontiers())

    def request(self, trigger: str) -> None:
        """Asks for a round soon, e.g. "node n1 lost"; from the event loop only."""
        self._triggers[trigger] = None
        self._wanted.set()

    async def run(self) -> None:
        """Runs until cancelled or superseded.

        Raises:
            Refusal: STALE_EPOCH, another leader took over.
        """
        while True:
            await self._wait()
            triggers, self._triggers = self._triggers, {}
            self._wanted.clear()
            try:
                done = await self.round("; ".join(triggers) or "periodic")
            except Refusal as refusal:
                if refusal.reason == "STALE_EPOCH":
                    raise
                _log.error("round_failed reason=%s message=%s", refusal.reason, refusal)
                await asyncio.sleep(RETRY_S)
                self.request("retry")
                continue
            except Exception:  # noqa: BLE001 - rounds outlive any defect of one decision
                _log.exception("round_alert trigger=%r", "; ".join(triggers))
                await asyncio.sleep(RETRY_S)
                continue
            if done is not None and done.refused_groups and done.is_stale:
                await asyncio.sleep(DEBOUNCE_S)
                self.request("state moved on during the round")

    async def round(self, trigger: str) -> Committed | None:
        """One round; None where there is nothing to place, and so no round.

        Raises:
            Refusal: the store could not, or STALE_EPOCH.
        """
        view = await self._feed.refresh()
        if not view.allocations and all(one.is_deleted for one in view.deployments):
            return None
        if view.state.rollback_round:
            return await self._return(view, trigger)
        demand, settings = await self.demand(view), self.settings
        snapshot = build_snapshot(view, demand, settings)
        solved = await self._solver.solve(snapshot, budget_s=self.budget_s)
        plan = solved.plan or await _fallback(snapshot)
        round_ = Round(
            trigger=trigger,
            demand=demand,
            settings=settings,
            inputs_hash=await asyncio.to_thread(inputs_hash, snapshot),
            solve_s=solved.solve_s,
            failure=solved.failure or ("" if plan else "neither solver nor greedy gave a plan"),
        )
        if plan is None:
            return await self._commit(
                lambda state: note_failure(state, round_, revision=snapshot.revision)
            )
        return await self._commit(lambda state: commit_plan(state, plan, round_))

    async def _return(self, view: FleetView, trigger: str) -> Committed:
        """One round of a rollback: the earlier placement, as near as can be now."""
        round_ = Round(
            trigger=f"rollback to plans/{view.state.rollback_round}; {trigger}",
            demand=await self.demand(view),
            settings=self.settings.without_bound,
            is_ordered=True,
        )
        return await self._commit(lambda state: return_step(state, round_))

    @property
    def split_record(self) -> PlanRecord | None:
        """The newest entry of the ledger whose demand the shares in force are good for."""
        in_force, noted = self._feed.view.plan, self._split_record
        if noted is not None and (in_force is None or noted.round > in_force.round):
            return noted
        return in_force

    async def commit_at(self, plan: Plan, round_: Round) -> Committed | None:
        """Commits a plan to the revision it was made from; None where the state moved on.

        Raises:
            Refusal: the store could not, or STALE_EPOCH.
        """

        def work(state: FleetTransaction) -> Committed | None:
            if state.state.revision != plan.base_revision:
                return None
            return commit_plan(state, plan, round_)

        committed = await stored(self._store.run, work, epoch=self._epoch)
        return await self._noted(committed) if committed else None

    async def _commit(self, work: Callable[[FleetTransaction], Committed]) -> Committed:
        return await self._noted(await stored(self._store.run, work, epoch=self._epoch))

    async def _noted(self, committed: Committed) -> Committed:
        self._log.note(committed.outcome)
        _log_round(committed)
        if committed.is_applied or committed.record.outcome is PlanOutcome.UNCHANGED:
            self._split_record = committed.record
        await self._feed.refresh()
        return committed

    async def demand(self, view: FleetView) -> Demand:
        """What is wanted: online work observed and forecast, and the backlog of batches."""
        online = self.online(view, now_s=time.monotonic())
        backlog = await stored(self._batches.tenant_backlog)
        return replace(online, backlog=backlog, now_s=time.time())

    def online(self, view: FleetView, *, now_s: float) -> Demand:
        """What is wanted online now, without the backlog.

        Args:
            view: The state.
            now_s: Monotonic seconds.
        """
        replicas: dict[str, list[str]] = {one.id: [] for one in view.deployments}
        for record in view.allocations:
            replicas.setdefault(record.allocation.deployment, []).append(record.allocation.replica)
        return Demand(
            online_work={
                key_of(id_, slo_class): work
                for id_, own in replicas.items()
                for slo_class, work in self._telemetry.online_works(own, now_s=now_s).items()
            },
            forecast=self._forecast(),
        )

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._interval_s):
                await self._wanted.wait()
        except TimeoutError:
            return
        await asyncio.sleep(DEBOUNCE_S)


async def _fallback(snapshot: Snapshot) -> Plan | None:
    """Greedy's plan where the solver gave none; None where greedy fails too, or would take long."""
    if len(snapshot.nodes) > NODE_BY_NODE_UP_TO:
        return None
    try:
        return await asyncio.to_thread(greedy, snapshot)
    except Exception:  # noqa: BLE001 - the loop outlives any defect of a decision
        _log.exception("greedy_alert revision=%d", snapshot.revision)
        return None


def _log_round(committed: Committed) -> None:
    record, outcome = committed.record, committed.outcome
    _log.info(
        "round_%s round=%d trigger=%r status=%s solver=%s objective=%.6g gap=%.4f"
        " moves=%d misfits=%d refused_groups=%d solve_s=%.3f failure=%r",
        record.outcome.value,
        record.round,
        outcome.trigger,
        outcome.status.value,
        record.plan.solver,
        record.plan.objective,
        record.plan.gap,
        len(record.plan.moves),
        len(record.plan.misfits),
        len(committed.refused_groups),
        outcome.solve_s,
        record.failure,
    )
    why = kept_because(record)
    if why:
        _log.error(
            "incumbent_kept_alert round=%d trigger=%r misfits=%d reason=%r",
            record.round,
            outcome.trigger,
            len(record.plan.misfits),
            why,
        )
