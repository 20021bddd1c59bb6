"""When rounds run, and what one does.

Owns triggers, the debounce and the interval. Refuses to decide placements. Invariants:
one round at a time; a failed solve leaves what runs as it is and is logged as an alert;
a newer leader ends the loop.
"""

import asyncio
import logging
import time

from slacktide.wire.errors import Refusal

from controlplane.feed import StateFeed
from controlplane.rounds.apply import Committed, commit_plan
from controlplane.rounds.outcome import RoundLog, RoundOutcome
from controlplane.rounds.snapshot import Demand, build_snapshot
from controlplane.rounds.solver import Solved, Solver
from controlplane.stored import stored
from controlplane.telemetry import Telemetry
from planner.model import Plan, PlanStatus, Snapshot
from planner.placement.greedy import greedy
from storage.batches import BatchStore
from storage.records import FleetView
from storage.store import FleetStore

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
    ) -> None:
        self._store = store
        self._batches = batches
        self._feed = feed
        self._telemetry = telemetry
        self._solver = solver
        self._log = log
        self._epoch = epoch
        self._interval_s = interval_s
        self._budget_s = budget_s
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
            if done is not None and done.refused_groups:
                await asyncio.sleep(DEBOUNCE_S)
                self.request("state moved on during the round")

    async def round(self, trigger: str) -> Committed | None:
        """One round; None where there is nothing to place.

        Raises:
            Refusal: the store could not, or STALE_EPOCH.
        """
        view = await self._feed.refresh()
        if not view.allocations and all(one.is_deleted for one in view.deployments):
            return None
        demand = await self.demand(view)
        snapshot = build_snapshot(view, demand)
        solved = await self._solver.solve(snapshot, budget_s=self._budget_s)
        if solved.failure:
            _log.error(
                "solver_alert failure=%r incumbent=%s", solved.failure, solved.plan is not None
            )
        plan = solved.plan or await _fallback(snapshot)
        if plan is None:
            self._log.note(_kept(solved, snapshot, trigger))
            return None
        last = view.plan.plan.misfits if view.plan else ()
        committed = await stored(
            self._store.run,
            lambda state: commit_plan(
                state,
                plan,
                demand=demand,
                trigger=trigger,
                solve_s=solved.solve_s,
                last_misfits=last,
            ),
            epoch=self._epoch,
        )
        self._log.note(committed.outcome)
        _log_round(committed, plan)
        await self._feed.refresh()
        return committed

    async def demand(self, view: FleetView) -> Demand:
        """What is wanted now: observed online work, and the backlog of batches."""
        now_s = time.monotonic()
        return Demand(
            online_work={
                one.id: self._telemetry.online_work(
                    (record.allocation.replica for record in view.of_deployment(one.id)),
                    now_s=now_s,
                )
                for one in view.deployments
            },
            backlog=await stored(self._batches.backlog),
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
    """Greedy's plan where the solver gave none; None where greedy fails too."""
    try:
        return await asyncio.to_thread(greedy, snapshot)
    except Exception:  # noqa: BLE001 - the loop outlives any defect of a decision
        _log.exception("greedy_alert revision=%d", snapshot.revision)
        return None


def _kept(solved: Solved, snapshot: Snapshot, trigger: str) -> RoundOutcome:
    return RoundOutcome(
        trigger=trigger,
        base_revision=snapshot.revision,
        status=PlanStatus.KEPT_INCUMBENT,
        failure=solved.failure,
        solve_s=solved.solve_s,
    )


def _log_round(committed: Committed, plan: Plan) -> None:
    record, outcome = committed.record, committed.outcome
    if record is None:
        _log.info(
            "round_kept trigger=%r status=%s refused_groups=%d solve_s=%.3f",
            outcome.trigger,
            outcome.status.value,
            len(committed.refused_groups),
            outcome.solve_s,
        )
        return
    _log.info(
        "plan_applied round=%d trigger=%r status=%s solver=%s objective=%.6g gap=%.4f"
        " moves=%d misfits=%d solve_s=%.3f",
        record.round,
        outcome.trigger,
        outcome.status.value,
        plan.solver,
        plan.objective,
        plan.gap,
        len(record.plan.moves),
        len(plan.misfits),
        outcome.solve_s,
    )
