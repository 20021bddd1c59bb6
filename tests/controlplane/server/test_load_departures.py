"""The fast path: shares follow a load within seconds, and nothing else moves."""

import logging
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from slacktide.v1 import replica_pb2

from controlplane.feed import StateFeed
from controlplane.rounds.apply import Round, commit_plan
from controlplane.rounds.departures import CONFIRMED, Departures, departed
from controlplane.rounds.forecasts import INTERVAL_S, Asked, Forecasts
from controlplane.rounds.loop import RoundLoop
from controlplane.rounds.outcome import RoundLog, kept_because
from controlplane.rounds.resplitting import EVERY_S, Resplitter
from controlplane.rounds.snapshot import build_snapshot
from controlplane.rounds.solver import Solved
from controlplane.telemetry import Telemetry
from planner.model import Device, MoveKind, ReplicaState, Slo, Stage
from planner.placement.greedy import greedy
from storage.batch_records import NewBatch
from storage.batches import BatchStore
from storage.database import Database
from storage.offline_facts import StoredFleet
from storage.plan_records import FLEET_TARGET, FreezeRecord, PlanOutcome
from storage.records import DeploymentRecord, DeploymentSpec, EngineSpec, NodeRecord
from storage.store import FleetStore
from tests.storage.test_batch_store import chunk

ENGINE = EngineSpec(model="tiny", weights_bytes=1000, kv_bytes_per_token=1)


def test_departure_is_told_when_it_lasts_and_is_beyond_the_tolerance() -> None:
    """Twice in a row, in one direction; small or passing differences are none."""
    assert departed({"chat": 400.0}, {"chat": 460.0}) == ()
    assert departed({"chat": 400.0}, {"chat": 300.0}) == ()
    assert [str(one) for one in departed({}, {"chat": 100.0})] == ["chat 0 -> 100"]
    looks = Departures()
    seen = [looks.look({"chat": 400.0}, {"chat": work}) for work in (800.0, 400.0, 800.0, 100.0)]
    assert seen == [(), (), (), ()], "never twice in a row"
    fresh = Departures()
    lasting = [bool(fresh.look({"chat": 400.0}, {"chat": 100.0})) for _ in range(CONFIRMED + 1)]
    assert lasting == [False] * (CONFIRMED - 1) + [True, True]


def test_constant_noisy_load_departs_hardly_ever() -> None:
    """Two hours of a load that trembles by a third: its forecast covers it."""
    drawn = random.Random(3)
    asked = {"chat": Asked(expected_work=0.0, ahead_s=70.0)}
    forecasts, looks = Forecasts(), Departures()
    smoothed, split_for, window = 600.0, {"chat": 0.0}, []
    bound, told = 0.0, 0
    for second in range(7200):
        work = max(0.0, drawn.gauss(600.0, 200.0))
        window = [*window[-9:], work]  # as agents report: over ten seconds
        said = sum(window) / len(window)
        smoothed += (said - smoothed) / 30.0
        if second % INTERVAL_S == 0 and second:
            index = 1000 + int(second // INTERVAL_S)
            forecasts.observe(index, {"chat": said}, asked)
            bound = forecasts.outlooks(index + 1, asked)["chat"].bound
        wanted = {"chat": max(smoothed, bound)}
        if looks.look(split_for, wanted):
            split_for = wanted
            told += second > 600
    assert told <= 4


class _NoSolver:
    """Rounds are not what is tested here."""

    async def solve(self, snapshot: object, *, budget_s: float) -> Solved:
        return Solved(plan=None)


class Fleet:
    """Two nodes, a deployment with two running replicas and a batch, placed for 200."""

    def __init__(self, store: FleetStore) -> None:
        self.store = store
        self.telemetry = Telemetry()
        self.batches = BatchStore(store.database)
        self.epoch = store.acquire_epoch("cp", now_s=1.0)
        self.forecast: dict[str, float] = {}
        self.work = 0.0
        self.now_s = time.monotonic()
        self.feed = StateFeed(store, store.view())
        self.rounds = RoundLoop(
            store=store,
            batches=self.batches,
            feed=self.feed,
            telemetry=self.telemetry,
            solver=_NoSolver(),  # type: ignore[arg-type]
            log=RoundLog(),
            epoch=self.epoch,
            interval_s=60.0,
            budget_s=1.0,
            forecast=lambda: self.forecast,
        )
        self.fast = Resplitter(feed=self.feed, rounds=self.rounds)

    async def place(self, *, work: float) -> None:
        """What a round does, by the greedy."""
        self.report(work)
        demand = await self.rounds.demand(await self.feed.refresh())
        plan = greedy(build_snapshot(self.feed.view, demand))
        round_ = Round(trigger="test", demand=demand)
        await self.rounds._commit(lambda state: commit_plan(state, plan, round_))
        with self.store.write() as state:
            for one in state.view().allocations:
                running = replace(one.allocation, state=ReplicaState.RUNNING)
                state.put_allocation(replace(one, allocation=running))
        await self.feed.refresh()

    def report(self, work: float) -> None:
        """Agents report so much online work in all, as long as they have."""
        self.work = work
        own = [one.allocation.replica for one in self.feed.view.allocations]
        self.telemetry.forget(own)
        load = replica_pb2.ReplicaLoad(online_work=work / max(1, len(own)))
        report = replica_pb2.ReplicaReport(load=load)
        self.telemetry.record(dict.fromkeys(own, report), now_s=self.now_s)

    async def looks(self, count: int) -> list[int]:
        """So many looks, a second apart; those at which something was committed."""
        done = []
        for step in range(count):
            self.now_s += 1.0
            self.report(self.work)
            if await self.fast.look(now_s=self.now_s) is not None:
                done.append(step)
        return done


@pytest.fixture
async def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """On a real store."""
    database = Database.open(f"sqlite:///{tmp_path}/state.db")
    store = FleetStore(database)
    chat = DeploymentRecord(
        id="chat",
        generation=1,
        spec=DeploymentSpec(
            engine=ENGINE,
            slo=Slo(ttft_ms=500.0, itl_ms=100.0),
            min_replicas=2,
            max_replicas=2,
            stage=Stage.ACTIVE,
        ),
    )
    with store.write() as state:
        for id_ in ("n1", "n2"):
            device = Device(index=0, device_type="cpu", memory_bytes=1 << 30)
            state.put_node(NodeRecord(id=id_, devices=(device,), failure_domain=id_))
        state.put_deployment(chat)
    fleet = Fleet(store)
    new = NewBatch(
        id="b1",
        request_id="r1",
        deployment="chat",
        input_uri="file:///x",
        create_s=1.0,
        tenant="default",
    )
    assert fleet.batches.create(new, StoredFleet()) is not None
    fleet.batches.add_chunk(new.id, chunk(3000), now_s=2.0)
    await fleet.feed.refresh()
    await fleet.place(work=0.0)
    await fleet.place(work=200.0)
    yield fleet
    database.close()


async def test_only_shares_change_when_the_load_departs(fleet: Fleet) -> None:
    """Verified, in the ledger as `load`, no replica comes or goes; then it is at rest."""
    before = {one.allocation.replica: one.allocation for one in fleet.store.view().allocations}
    fleet.report(1000.0)
    (_,) = await fleet.looks(CONFIRMED + 3)
    after = {one.allocation.replica: one.allocation for one in fleet.store.view().allocations}
    assert after.keys() == before.keys()
    for replica, one in after.items():
        was = before[replica]
        assert (
            replace(
                one,
                online_share=was.online_share,
                offline_share=was.offline_share,
                latency_budget_ms=was.latency_budget_ms,
            )
            == was
        )
        assert one.offline_share < was.offline_share - 100.0
    record = fleet.store.view().plan
    assert record is not None and record.outcome is PlanOutcome.APPLIED
    assert record.trigger == "load: chat 200 -> 1000"
    assert {move.kind for move in record.plan.moves} == {MoveKind.ADJUST}
    (told,) = record.demand
    assert (told.observed, told.placed) == (1000.0, 1000.0)
    assert await fleet.looks(int(3 * EVERY_S)) == []


async def test_noise_commits_nothing(fleet: Fleet) -> None:
    """A fifth up and down about a load is within the forecast that rounds placed for."""
    fleet.forecast = {"chat": 300.0}
    await fleet.place(work=200.0)
    round_ = fleet.store.state().round
    for step in range(40):
        fleet.report(200.0 + (80.0 if step % 2 else -80.0))
        assert await fleet.looks(1) == []
    assert fleet.store.state().round == round_


async def test_tries_are_limited_when_the_load_leaps_about(fleet: Fleet) -> None:
    """Whatever the load does, at most one commit in so many seconds."""
    times = []
    for second in range(40):
        fleet.report(1000.0 if second // 3 % 2 else 200.0)
        if await fleet.looks(1):
            times.append(second)
    gaps = [later - sooner for sooner, later in pairwise(times)]
    assert len(times) > 2 and min(gaps) >= EVERY_S


async def test_round_is_asked_for_when_shares_cannot_follow(fleet: Fleet) -> None:
    """A replica that is gone has to come anew: no plan of shares, once, and the round knows."""
    with fleet.store.write() as state:
        state.put_node(replace(state.view().nodes[0], is_ready=False))
        for one in state.view().allocations:
            if one.allocation.node == "n1":
                failed = replace(one.allocation, state=ReplicaState.LOST)
                state.put_allocation(replace(one, allocation=failed))
    await fleet.feed.refresh()
    fleet.report(1800.0)
    before = fleet.store.state().round
    done = await fleet.looks(int(4 * EVERY_S))
    assert len(done) <= 1
    assert fleet.store.state().round <= before + 1
    assert [one for one in fleet.rounds._triggers if one.startswith("load: chat")]


async def test_nothing_is_committed_when_the_state_moves_on_or_is_frozen(fleet: Fleet) -> None:
    """A plan is for the revision it was made from; a frozen fleet is left alone."""
    demand = await fleet.rounds.demand(fleet.feed.view)
    plan = greedy(build_snapshot(fleet.feed.view, demand))
    with fleet.store.write() as state:
        state.put_node(replace(state.view().nodes[0], message="x"))
    before = fleet.store.state()
    assert await fleet.rounds.commit_at(plan, Round(trigger="load", demand=demand)) is None
    assert fleet.store.state() == before
    with fleet.store.write() as state:
        state.freeze(FreezeRecord(target=FLEET_TARGET))
    await fleet.feed.refresh()
    fleet.report(1000.0)
    assert await fleet.looks(5) == []


async def test_alert_names_the_reason_when_what_runs_is_kept(
    fleet: Fleet, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round that came to no plan is an error line with its cause; one without change none."""
    with caplog.at_level(logging.INFO):
        await fleet.rounds.round("quiet")  # no solver: the greedy stands in
    assert not [one for one in caplog.records if "incumbent_kept_alert" in one.message]

    def broken(snapshot: object) -> None:
        raise ValueError("no")

    monkeypatch.setattr("controlplane.rounds.loop.greedy", broken)
    done = await fleet.rounds.round("drill")
    assert done is not None
    (told,) = [one for one in caplog.records if "incumbent_kept_alert" in one.message]
    assert told.levelno == logging.ERROR
    assert "neither solver nor greedy gave a plan" in told.message
    assert kept_because(done.record)
    outcomes = Counter(one.outcome for one in fleet.store.list_plans(before=None, limit=50))
    assert outcomes[PlanOutcome.FAILED] == 1


async def test_round_that_was_solving_is_committed_and_the_load_is_seen_again(
    fleet: Fleet,
) -> None:
    """The fast path spoils no plan under way; where that brings old shares back, it comes again."""
    demand = await fleet.rounds.demand(fleet.feed.view)
    older = greedy(build_snapshot(fleet.feed.view, demand))
    fleet.report(1000.0)
    assert await fleet.looks(CONFIRMED + 1) != []
    round_ = Round(trigger="round", demand=demand)
    done = await fleet.rounds._commit(lambda state: commit_plan(state, older, round_))
    assert done.is_applied and done.refused_groups == ()
    assert await fleet.looks(CONFIRMED + int(EVERY_S)) != []
    plan = fleet.store.view().plan
    assert plan is not None and plan.trigger.startswith("load: chat 200 -> 1000")
