"""When rounds run, and what one does.

Owns triggers, the debounce and the interval. Refuses to decide placements. Invariants:
one round at a time; every round is in the ledger; a failed solve leaves what runs as it
is and is logged as an alert; a newer leader ends the loop.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from slacktide.wire.errors import Refusal

from controlplane.feed import StateFeed
from controlplane.rounds.apply import Committed, Round, commit_plan, note_failure
from controlplane.rounds.outcome import RoundLog
from controlplane.rounds.returning import return_step
from controlplane.rounds.snapshot import (
    Demand,
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
        forecast: bounds of the online work to come, by deployment.
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
        self.settings = settings or PlacementSettings()
        self._forecast = forecast
        self._triggers: dict[str, None] = {}  # ordered, without repeats
        self._wanted = asyncio.Event()

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
        demand = await self.demand(view)
        snapshot = build_snapshot(view, demand, self.settings)
        solved = await self._solver.solve(snapshot, budget_s=self.budget_s)
        plan = solved.plan or await _fallback(snapshot)
        round_ = Round(
            trigger=trigger,
            demand=demand,
            settings=self.settings,
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

    async def _commit(self, work: Callable[[FleetTransaction], Committed]) -> Committed:
        committed = await stored(self._store.run, work, epoch=self._epoch)
        self._log.note(committed.outcome)
        _log_round(committed)
        await self._feed.refresh()
        return committed

    async def demand(self, view: FleetView) -> Demand:
        """What is wanted: online work observed and forecast, and the backlog of batches."""
        now_s = time.monotonic()
        return Demand(
            online_work={
                one.id: self._telemetry.online_work(
                    (record.allocation.replica for record in view.of_deployment(one.id)),
                    now_s=now_s,
                )
                for one in view.deployments
            },
            forecast=self._forecast(),
            backlog=await stored(self._batches.tenant_backlog),
            now_s=time.time(),
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
