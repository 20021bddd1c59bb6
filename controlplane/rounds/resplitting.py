"""Between rounds: work split anew over what runs, within seconds of a change of load.

Owns when. Refuses to add or remove a replica: `planner.placement.resplit` only adjusts, and
where that does not do, a round is asked for. Invariants: what is committed goes the way of
any plan, verified and in the ledger, its trigger `load: …`; it is committed to the very
revision it was made from, or not at all; at most one try in `EVERY_S`, and none twice for
the same load; the solving is off the event loop. A round under way is not held up: where it
commits shares of older demand after all, the load has departed again and is seen again.
"""

import asyncio
import logging
import time

from slacktide.wire.errors import Refusal

from controlplane.feed import StateFeed
from controlplane.rounds.apply import Committed, Round
from controlplane.rounds.demand import key_of, online_wanted
from controlplane.rounds.departures import Departure, Departures, split_for_of
from controlplane.rounds.loop import RoundLoop
from controlplane.rounds.snapshot import build_snapshot, inputs_hash
from planner.placement.resplit import resplit
from storage.records import FleetView

_log = logging.getLogger(__name__)

LOOK_S = 1.0
EVERY_S = 5.0


class Resplitter:
    """The fast path of a leader.

    Args:
        feed: the newest view.
        rounds: knows the demand, what it split for last, and the way to commit.
    """

    def __init__(self, *, feed: StateFeed, rounds: RoundLoop) -> None:
        self._feed = feed
        self._rounds = rounds
        self._departures = Departures()
        self._tried: dict[str, float] = {}
        self._tried_of = 0  # the round whose shares were found wanting
        self._not_before_s = 0.0

    async def run(self) -> None:
        """Looks until cancelled or superseded.

        Raises:
            Refusal: STALE_EPOCH, another leader took over.
        """
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look(now_s=time.monotonic())
            except Refusal as refusal:
                if refusal.reason == "STALE_EPOCH":
                    raise
                _log.error("resplit_failed reason=%s message=%s", refusal.reason, refusal)
            except Exception:  # noqa: BLE001 - rounds go on without it
                _log.exception("resplit_alert revision=%d", self._feed.view.state.revision)

    async def look(self, *, now_s: float) -> Committed | None:
        """One look; what was committed, None where nothing had to be or could be.

        Args:
            now_s: Monotonic seconds.

        Raises:
            Refusal: the store could not, or STALE_EPOCH.
        """
        view = self._feed.view
        if view.plan is None or view.is_frozen or view.state.rollback_round:
            return None
        found = self._departures.look(self._split_for(), self._wanted(view, now_s=now_s))
        if not found or now_s < self._not_before_s:
            return None
        self._not_before_s = now_s + EVERY_S
        return await self._resplit(view, found)

    async def _resplit(self, view: FleetView, found: tuple[Departure, ...]) -> Committed | None:
        trigger = f"load: {', '.join(map(str, found))}"
        demand, settings = await self._rounds.demand(view), self._rounds.settings
        snapshot = build_snapshot(view, demand, settings)
        started_s = time.monotonic()
        plan = await asyncio.to_thread(resplit, snapshot)
        if plan is None:
            self._give_up(found)
            self._rounds.request(trigger)
            _log.info("resplit_none trigger=%r revision=%d", trigger, snapshot.revision)
            return None
        round_ = Round(
            trigger=trigger,
            demand=demand,
            settings=settings,
            inputs_hash=await asyncio.to_thread(inputs_hash, snapshot),
            solve_s=time.monotonic() - started_s,
        )
        committed = await self._rounds.commit_at(plan, round_)
        if committed is None:
            self._not_before_s = 0.0  # the state moved on: look at the new one
            return None
        if not committed.is_applied:
            self._give_up(found)
        if plan.misfits or not committed.is_applied:
            self._rounds.request(trigger)
        return committed

    def _split_for(self) -> dict[str, float]:
        record = self._rounds.split_record
        if record is not None and record.round != self._tried_of:
            self._tried, self._tried_of = {}, record.round
        return {**split_for_of(record), **self._tried}

    def _wanted(self, view: FleetView, *, now_s: float) -> dict[str, float]:
        demand = self._rounds.online(view, now_s=now_s)
        placed = {one.allocation.deployment for one in view.allocations}
        return {
            key_of(one.id, slo_class): work
            for one in view.deployments
            if not one.is_deleted and one.id in placed
            for slo_class, work in online_wanted(one, demand).items()
        }

    def _give_up(self, found: tuple[Departure, ...]) -> None:
        """Until a round has come out, or these have departed further."""
        self._tried |= {one.key: one.wanted for one in found}
