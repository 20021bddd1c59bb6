"""What rounds expect of demand: bounded, steadied, kept across restarts and leaders."""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slacktide.v1 import replica_pb2
from slacktide.wire.errors import Refusal

from controlplane.feed import StateFeed
from controlplane.rounds.demand import Demand, demand_records, online_wanted
from controlplane.rounds.demandwatch import STORE_EVERY, DemandWatch
from controlplane.rounds.forecasts import (
    INTERVAL_S,
    MOST_OVER_PEAK,
    Asked,
    Forecasts,
)
from controlplane.rounds.snapshot import build_snapshot
from controlplane.telemetry import Telemetry
from planner.model import Allocation, Device, ReplicaState, Slo
from storage.database import Database
from storage.forecast_records import ForecastRecord
from storage.records import (
    AllocationRecord,
    DeploymentRecord,
    DeploymentSpec,
    EngineSpec,
    NodeRecord,
    SloClassSpec,
)
from storage.store import FleetStore

ENGINE = EngineSpec(model="tiny", weights_bytes=1000, kv_bytes_per_token=1)
CHAT = DeploymentRecord(
    id="chat",
    generation=1,
    spec=DeploymentSpec(
        engine=ENGINE, slo=Slo(ttft_ms=500.0, itl_ms=100.0), min_replicas=1, max_replicas=4
    ),
)
ASKED = {"chat": Asked(expected_work=0.0, ahead_s=70.0)}
BEGIN = 100_000_000  # an interval of 2017

WORK = st.floats(min_value=0.0, max_value=1e6)


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), WORK), max_size=25), st.sampled_from([0.0, 300.0]))
def test_bound_is_within_reason_whatever_was_seen(
    seen: list[float | None], expected: float
) -> None:
    """Never beyond half as much again as the highest interval."""
    asked = {"chat": replace(ASKED["chat"], expected_work=expected)}
    forecasts = Forecasts()
    for step, work in enumerate(seen):
        forecasts.observe(BEGIN + step, {} if work is None else {"chat": work}, asked)
        (outlook,) = forecasts.outlooks(BEGIN + step + 1, asked).values()
        peak = max((one for one in seen[: step + 1] if one is not None), default=0.0)
        assert 0.0 <= outlook.bound <= MOST_OVER_PEAK * peak + 1e-6


def test_nothing_is_expected_when_nothing_was_seen() -> None:
    """A cold start plans for the spec's word alone; so does one that sees no traffic."""
    asked = {"chat": replace(ASKED["chat"], expected_work=700.0)}
    forecasts = Forecasts()
    assert forecasts.outlooks(BEGIN, asked)["chat"].bound == 0.0
    for step in range(10):
        forecasts.observe(BEGIN + step, {"chat": 0.0}, asked)
    assert forecasts.outlooks(BEGIN + 10, asked)["chat"].bound == 0.0


def test_steady_load_is_expected_to_stay_and_quiet_ends_it() -> None:
    """The bound is near a steady load; it goes when the load has gone, in minutes."""
    forecasts = Forecasts()
    for step in range(60):
        forecasts.observe(BEGIN + step, {"chat": 400.0 + 10.0 * (step % 3)}, ASKED)
        bound = forecasts.outlooks(BEGIN + step + 1, ASKED)["chat"].bound
    assert 410.0 <= bound <= 520.0
    bounds = []
    for step in range(60, 72):
        forecasts.observe(BEGIN + step, {"chat": 0.0}, ASKED)
        bounds.append(forecasts.outlooks(BEGIN + step + 1, ASKED)["chat"].bound)
    assert bounds[3] < 300.0, "a minute"
    assert bounds[11] < 100.0, "three"


def test_bound_stays_when_it_only_trembles() -> None:
    """It rises at once and falls only by a fifth, so that rounds see the same demand."""
    forecasts = Forecasts()
    bounds = []
    for step in range(240):
        work = 500.0 + 40.0 * ((step * 7919) % 13 - 6) / 6
        forecasts.observe(BEGIN + step, {"chat": work}, ASKED)
        bounds.append(forecasts.outlooks(BEGIN + step + 1, ASKED)["chat"].bound)
    falls = [now for before, now in pairwise(bounds[40:]) if now < before]
    assert len(falls) <= 1
    assert min(bounds[40:]) >= 500.0


def test_an_interval_counts_once_when_clocks_go_back() -> None:
    """What a leader before saw, or this one, is not taken in again."""
    forecasts = Forecasts()
    for index in (BEGIN, BEGIN + 5, BEGIN + 5, BEGIN + 2):
        forecasts.observe(index, {"chat": 100.0}, ASKED)
    assert forecasts.last_index("chat") == BEGIN + 5
    assert forecasts.outlooks(BEGIN, ASKED)["chat"].bound >= 100.0


def test_forecast_goes_on_when_it_was_stored_between() -> None:
    """The stored form, through JSON, makes the same outlooks for the same intervals."""
    whole, first = Forecasts(), Forecasts()
    for step in range(30):
        for each in (whole, first):
            each.observe(BEGIN + step, {"chat": 100.0 + step}, ASKED)
            each.outlooks(BEGIN + step + 1, ASKED)
    second = Forecasts()
    assert second.restore(first.stored(ASKED), ASKED) == []
    for step in range(30, 40):
        for each in (whole, second):
            each.observe(BEGIN + step, {"chat": 50.0}, ASKED)
    assert second.outlooks(BEGIN + 40, ASKED) == whole.outlooks(BEGIN + 40, ASKED)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "null",
        "{",
        '{"version": 99}',
        '{"version": 1}',
        '{"version": 1, "peak": 1e999, "last": 0, "bound": 0, "forecast": {}}',
        '{"version": 1, "peak": 1, "last": 0, "bound": 0, "forecast": {"work": {"version": 7}}}',
        '{"version": 1, "peak": "x", "last": 0, "bound": 0, "forecast": {"work": 3}}',
        "[" * 100_000,
    ],
)
def test_forecast_begins_anew_when_its_state_cannot_be_read(body: str) -> None:
    """Told, and never an exception; other deployments go on."""
    asked = {**ASKED, "code": ASKED["chat"]}
    known = Forecasts()
    known.observe(BEGIN, {"code": 200.0}, asked)
    forecasts = Forecasts()
    (problem,) = forecasts.restore([("chat", body), *known.stored({"code"})], asked)
    assert problem.startswith("deployment chat: ")
    assert forecasts.last_index("code") == BEGIN
    forecasts.observe(BEGIN + 1, {"chat": 10.0}, asked)
    assert forecasts.last_index("chat") == BEGIN + 1


def test_bound_is_never_below_what_is_observed_when_placed_for() -> None:
    """Online first: the most of expected, observed and forecast, and the ledger says all."""
    view_of = {"chat": CHAT}
    for observed, forecast, placed in ((320.0, 100.0, 350.0), (20.0, 410.0, 450.0)):
        demand = Demand(online_work={"chat": observed}, forecast={"chat": forecast})
        view = _view(view_of)
        (planned,) = build_snapshot(view, demand).deployments
        assert planned.online_work == placed
        (record,) = demand_records(view, demand)
        assert (record.observed, record.forecast, record.placed) == (observed, forecast, placed)


def _view(deployments: dict[str, DeploymentRecord]) -> object:
    from storage.records import FleetState, FleetView

    return FleetView(state=FleetState(), deployments=tuple(deployments.values()))


class Fleet:
    """A store with one replica that runs, and a watch over it as a leader has it."""

    def __init__(self, store: FleetStore) -> None:
        self.store = store
        self.telemetry = Telemetry()
        self.lead("cp-a")

    def lead(self, leader: str) -> None:
        self.epoch = self.store.acquire_epoch(leader, now_s=1.0)
        self.watch = DemandWatch(
            store=self.store,
            feed=StateFeed(self.store, self.store.view()),
            telemetry=self.telemetry,
            epoch=self.epoch,
            round_interval_s=10.0,
        )

    async def serve(
        self,
        intervals: int,
        *,
        first: int,
        work: float | None,
        classes: Mapping[str, float] | None = None,
    ) -> None:
        """So many intervals, a look each second; None: the agent is silent."""
        for second in range(int(intervals * INTERVAL_S)):
            now_s = first * INTERVAL_S + second + 0.5
            if work is not None:
                load = replica_pb2.ReplicaLoad(
                    online_work=work,
                    online_work_by_class=[
                        replica_pb2.ClassWork(slo_class=id_, online_work=part)
                        for id_, part in (classes or {}).items()
                    ],
                )
                report = replica_pb2.ReplicaReport(replica="replicas/chat-a", load=load)
                self.telemetry.record({"chat-a": report}, now_s=now_s)
            await self.watch.look(now_s=now_s, monotonic_s=now_s)
        await self.watch.look(
            now_s=(first + intervals) * INTERVAL_S, monotonic_s=(first + intervals) * INTERVAL_S
        )


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """One node, one deployment, one replica."""
    database = Database.open(f"sqlite:///{tmp_path}/state.db")
    store = FleetStore(database)
    device = Device(index=0, device_type="cpu", memory_bytes=1 << 30)
    with store.write() as state:
        state.put_node(NodeRecord(id="n1", devices=(device,), failure_domain="n1"))
        state.put_deployment(CHAT)
        running = Allocation(
            replica="chat-a",
            deployment="chat",
            node="n1",
            devices=(0,),
            state=ReplicaState.RUNNING,
        )
        state.put_allocation(AllocationRecord(allocation=running, engine=ENGINE, round=1))
    yield Fleet(store)
    database.close()


async def test_forecast_survives_when_the_control_plane_restarts(fleet: Fleet) -> None:
    """A new leader expects the load before it has heard of anybody; the old one stores no more."""
    await fleet.serve(STORE_EVERY, first=BEGIN, work=600.0)
    known = fleet.watch.bounds["chat"]
    assert known >= 600.0
    old = fleet.watch
    fleet.lead("cp-b")
    await fleet.watch.load(now_s=(BEGIN + STORE_EVERY) * INTERVAL_S)
    assert fleet.watch.bounds == {"chat": pytest.approx(known)}
    await fleet.serve(1, first=BEGIN + STORE_EVERY, work=600.0)
    old._since_stored = 1
    with pytest.raises(Refusal, match="epoch"):
        await old.store()
    revision = fleet.store.state().revision
    await fleet.watch.store()
    (record,) = fleet.store.list_forecasts()
    assert json.loads(record.body)["forecast"]["work"]["last_index"] == BEGIN + STORE_EVERY
    assert fleet.store.state().revision == revision


async def test_silence_is_no_zero_when_an_agent_is_not_heard(fleet: Fleet) -> None:
    """Its intervals are missing; what it served is still expected."""
    await fleet.serve(8, first=BEGIN, work=500.0)
    await fleet.serve(4, first=BEGIN + 8, work=None)
    # Its last report holds for most of one more interval.
    assert fleet.watch._forecasts.last_index("chat") == BEGIN + 8
    assert fleet.watch.bounds["chat"] >= 500.0
    await fleet.serve(30, first=BEGIN + 12, work=0.0)
    assert fleet.watch._forecasts.last_index("chat") == BEGIN + 41
    assert fleet.watch.bounds["chat"] < 200.0


async def test_corrupt_state_is_told_of_when_a_leader_starts(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    """One error line that names the deployment; the leader goes on and stores anew."""
    with fleet.store.write() as state:
        state.put_forecasts(
            [ForecastRecord(deployment="chat", body="{oops", update_s=1.0)], deployments={"chat"}
        )
    with caplog.at_level(logging.INFO):
        await fleet.watch.load(now_s=BEGIN * INTERVAL_S)
    (told,) = [one for one in caplog.records if "forecast_begun_anew" in one.message]
    assert told.levelno == logging.ERROR
    assert "deployment chat" in told.message
    await fleet.serve(STORE_EVERY, first=BEGIN, work=100.0)
    (record,) = fleet.store.list_forecasts()
    assert json.loads(record.body)["version"] == 1


async def test_forecast_is_dropped_when_its_deployment_is_deleted(fleet: Fleet) -> None:
    """At the next store."""
    await fleet.serve(STORE_EVERY, first=BEGIN, work=100.0)
    assert len(fleet.store.list_forecasts()) == 1
    with fleet.store.write() as state:
        state.put_deployment(replace(CHAT, is_deleted=True))
    await fleet.watch._feed.refresh()
    await fleet.serve(STORE_EVERY, first=BEGIN + STORE_EVERY, work=100.0)
    assert fleet.store.list_forecasts() == ()
    assert fleet.watch.bounds == {}


TIGHT, LOOSE = (
    SloClassSpec(id=id_, slo=Slo(ttft_ms=500.0, itl_ms=100.0), expected_online_work=work)
    for id_, work in (("tight", 100.0), ("loose", 300.0))
)
CLASSED = replace(CHAT, spec=replace(CHAT.spec, slo_classes=(TIGHT, LOOSE)))


def test_classes_are_placed_for_as_agents_tell_them() -> None:
    """Each by its own observation and forecast; the untold rest is the tightest's."""
    demand = Demand(
        online_work={"chat": 900.0, "chat/tight": 500.0, "chat/loose": 250.0},
        forecast={"chat": 2000.0, "chat/tight": 560.0},
    )
    assert online_wanted(CLASSED, demand) == {
        "tight": 560.0 + 900.0 - (560.0 + 300.0),
        "loose": 300.0,
    }
    untold = Demand(online_work={"chat": 900.0}, forecast={"chat": 2000.0})
    assert online_wanted(CLASSED, untold) == {"tight": 500.0, "loose": 1500.0}
    records = demand_records(_view({"chat": CLASSED}), demand)
    assert [(one.slo_class, one.observed, one.placed) for one in records] == [
        ("tight", 500.0, 600.0),
        ("loose", 250.0, 300.0),
    ]


async def test_classes_are_forecast_when_agents_tell_them(fleet: Fleet) -> None:
    """The whole and each class have a forecast; an agent that tells no class leaves them out."""
    with fleet.store.write() as state:
        state.put_deployment(CLASSED)
    await fleet.watch._feed.refresh()
    await fleet.serve(4, first=BEGIN, work=600.0, classes={"tight": 450.0, "loose": 150.0})
    assert set(fleet.watch.bounds) == {"chat", "chat/tight", "chat/loose"}
    assert fleet.watch.bounds["chat/tight"] >= 450.0 > fleet.watch.bounds["chat/loose"] >= 150.0
    await fleet.serve(4, first=BEGIN + 4, work=600.0)
    last = fleet.watch._forecasts.last_index
    assert (last("chat"), last("chat/tight")) == (BEGIN + 7, BEGIN + 3)
