"""Online work observed at fixed intervals, and the forecasts that come of it.

Owns the samples of an interval, when forecasts are made and when they are stored. Refuses to
forecast (`forecasts`) and to place. Invariants: intervals are those of the wall clock,
whatever rounds do; an interval counts only where most of it was observed and every running
replica was heard of, so that silence is never taken for no load; forecasting and storing
leave the event loop; what is stored is stored under the leader's epoch, and what the last
leader stored is where this one goes on.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from slacktide.wire.errors import Refusal

from controlplane.feed import StateFeed
from controlplane.rounds.demand import expected_work, key_of
from controlplane.rounds.forecasts import INTERVAL_S, Asked, Forecasts, Outlook
from controlplane.rounds.snapshot import DEFAULT_LOAD_S
from controlplane.stored import stored
from controlplane.telemetry import Telemetry
from planner.model import Desired, ReplicaState
from storage.forecast_records import ForecastRecord
from storage.records import FleetView
from storage.store import FleetStore

_log = logging.getLogger(__name__)

SAMPLE_S = 1.0
STORE_EVERY = 4
"""Intervals between two stores: a crash loses a minute, which then counts as missing. A
forecast is 36 kB; a hundred take 0.15 s of a core to write, and 0.07 s an interval to make."""
_LEAST_SHARE = 0.5  # of an interval's samples
_NEVER = -1


class DemandWatch:
    """The leader's forecasts.

    Args:
        store: keeps forecasts.
        feed: which replicas there are.
        telemetry: what they report.
        epoch: the leader's.
        round_interval_s: longest time between two rounds: a new replica waits for one, too.
    """

    def __init__(
        self,
        *,
        store: FleetStore,
        feed: StateFeed,
        telemetry: Telemetry,
        epoch: int,
        round_interval_s: float,
    ) -> None:
        self._store = store
        self._feed = feed
        self._telemetry = telemetry
        self._epoch = epoch
        self._round_interval_s = round_interval_s
        self._forecasts = Forecasts()
        self._turn = asyncio.Lock()
        self._index = _NEVER
        self._looks = 0
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._since_stored = 0
        self.outlooks: Mapping[str, Outlook] = {}

    @property
    def bounds(self) -> dict[str, float]:
        """What is to be placed for at the least, by `demand.key_of`, engine-ms per second."""
        return {deployment: one.bound for deployment, one in self.outlooks.items()}

    async def load(self, *, now_s: float) -> None:
        """Goes on where the last leader's forecasts ended.

        Args:
            now_s: Unix seconds.

        Raises:
            Refusal: the store cannot be read.
        """
        records = await stored(self._store.list_forecasts)
        asked = self._asked(self._feed.view)
        async with self._turn:
            problems = await asyncio.to_thread(
                self._forecasts.restore, [(one.deployment, one.body) for one in records], asked
            )
            for problem in problems:
                _log.error("forecast_begun_anew %s", problem)
            self.outlooks = await asyncio.to_thread(
                self._forecasts.outlooks, int(now_s // INTERVAL_S), asked
            )
        _log.info("forecasts_loaded deployments=%d", len(records) - len(problems))

    async def run(self) -> None:
        """Watches until cancelled or superseded.

        Raises:
            Refusal: STALE_EPOCH, another leader took over.
        """
        while True:
            await asyncio.sleep(SAMPLE_S)
            try:
                await self.look(now_s=time.time(), monotonic_s=time.monotonic())
            except Refusal as refusal:
                if refusal.reason == "STALE_EPOCH":
                    raise
                _log.error("forecast_not_stored reason=%s message=%s", refusal.reason, refusal)
            except Exception:  # noqa: BLE001 - rounds outlive any defect of a forecast
                _log.exception("forecast_alert index=%d", self._index)

    async def look(self, *, now_s: float, monotonic_s: float) -> None:
        """Takes one sample; ends the interval before where a new one has begun.

        Args:
            now_s: Unix seconds.
            monotonic_s: as telemetry counts.

        Raises:
            Refusal: forecasts cannot be stored; they stand all the same.
        """
        index = int(now_s // INTERVAL_S)
        if index != self._index:
            ended, work = self._index, self._means()
            self._index, self._looks, self._sums, self._counts = index, 0, {}, {}
            if ended != _NEVER:
                await self._end(ended, work, first=index)
        self._looks += 1
        for deployment, work_now in self._observed(monotonic_s).items():
            self._sums[deployment] = self._sums.get(deployment, 0.0) + work_now
            self._counts[deployment] = self._counts.get(deployment, 0) + 1

    async def store(self) -> None:
        """Stores what is not stored yet.

        Raises:
            Refusal: the store could not, or STALE_EPOCH.
        """
        async with self._turn:
            await self._store_now()

    async def _end(self, index: int, work: Mapping[str, float], *, first: int) -> None:
        asked = self._asked(self._feed.view)
        async with self._turn:
            outlooks = await asyncio.to_thread(self._advance, index, work, asked, first)
            before, self.outlooks = self.outlooks, outlooks
            for deployment, one in outlooks.items():
                known = before.get(deployment)
                if one.bound != (known.bound if known else 0.0):
                    _log.info(
                        "demand_forecast deployment=%s observed=%s mean=%.1f upper=%.1f"
                        " peak=%.1f bound=%.1f",
                        deployment,
                        f"{work[deployment]:.1f}" if deployment in work else "missing",
                        one.mean,
                        one.upper,
                        one.peak,
                        one.bound,
                    )
            self._since_stored += 1
            if self._since_stored >= STORE_EVERY:
                await self._store_now()

    def _advance(
        self, index: int, work: Mapping[str, float], asked: Mapping[str, Asked], first: int
    ) -> dict[str, Outlook]:
        self._forecasts.observe(index, work, asked)
        return self._forecasts.outlooks(first, asked)

    async def _store_now(self) -> None:
        if self._since_stored == 0:
            return
        asked = self._asked(self._feed.view)
        forecasts = self._forecasts

        def work() -> None:
            now_s = time.time()
            records = [
                ForecastRecord(deployment=deployment, body=body, update_s=now_s)
                for deployment, body in forecasts.stored(asked)
            ]
            with self._store.write(epoch=self._epoch) as state:
                state.put_forecasts(records, deployments=asked.keys())

        await stored(work)
        self._since_stored = 0

    def _means(self) -> dict[str, float]:
        """Of the interval that ends, where most of it was observed."""
        least = _LEAST_SHARE * INTERVAL_S / SAMPLE_S
        return {
            deployment: self._sums[deployment] / count
            for deployment, count in self._counts.items()
            if count >= least and count >= _LEAST_SHARE * self._looks
        }

    def _observed(self, monotonic_s: float) -> dict[str, float]:
        """Work now by deployment, of those whose running replicas were all heard of."""
        running: dict[str, list[str]] = defaultdict(list)
        for record in self._feed.view.allocations:
            one = record.allocation
            if one.desired is Desired.RUNNING and one.state is ReplicaState.RUNNING:
                running[one.deployment].append(one.replica)
        classes = {one.id: one.spec.slo_classes for one in self._feed.view.deployments}
        found = {}
        for deployment, replicas in running.items():
            works = self._telemetry.reported_works(replicas, now_s=monotonic_s)
            if works is None:
                continue
            found[deployment] = works[""]
            if len(works) > 1 or works[""] == 0.0:  # else an agent that tells no classes
                found |= {
                    key_of(deployment, one.id): works.get(one.id, 0.0)
                    for one in classes.get(deployment, ())
                }
        return found

    def _asked(self, view: FleetView) -> dict[str, Asked]:
        """Of every deployment, and of each of its SLO classes."""
        asked = {}
        for one in view.deployments:
            if one.is_deleted:
                continue
            whole = Asked(
                expected_work=expected_work(one.spec),
                ahead_s=(one.spec.load_s or DEFAULT_LOAD_S) + self._round_interval_s,
            )
            asked[one.id] = whole
            for each in one.spec.slo_classes:
                own = replace(whole, expected_work=each.expected_online_work)
                asked[key_of(one.id, each.id)] = own
        return asked
