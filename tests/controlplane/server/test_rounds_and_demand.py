"""A whole control plane: what was forecast before its start, and what load does between rounds."""

import time
from pathlib import Path

import pytest
from slacktide.v1 import replica_pb2

from controlplane.__main__ import _parser
from controlplane.rounds.forecasts import INTERVAL_S, Asked, Forecasts
from storage.database import Database
from storage.forecast_records import ForecastRecord
from storage.plan_records import PlanRecord
from storage.store import FleetStore
from tests.controlplane.server.agent_fake import FakeAgent
from tests.controlplane.server.conftest import Start, deployment, until

ASKED = {"chat": Asked(expected_work=0.0, ahead_s=70.0)}


async def test_first_round_places_for_the_stored_forecast_when_a_leader_starts(
    start: Start, tmp_path: Path
) -> None:
    """No agent has reported any load yet, and the ledger says which demand was which."""
    forecasts = Forecasts()
    now = int(time.time() // INTERVAL_S)
    for index in range(now - 40, now):
        forecasts.observe(index, {"chat": 900.0}, ASKED)
    store = FleetStore(_opened(tmp_path))
    with store.write() as state:
        records = [
            ForecastRecord(deployment=id_, body=body, update_s=1.0)
            for id_, body in forecasts.stored(ASKED)
        ]
        state.put_forecasts(records, deployments={"chat"})
    first = await start()
    await first.apply(deployment(max_replicas=3))  # a forecast of one that is not there is none
    assert first.plane._demand.bounds == {}
    await first.stop()
    running = await start()
    async with FakeAgent(node="n1", port=running.port, devices=3):
        assert len(await running.running("chat", 2)) == 2
        (told,) = (await _newest(store)).demand
        assert (told.deployment, told.observed) == ("chat", 0.0)
        assert 900.0 <= told.forecast <= told.placed < told.forecast + 50.0
    store.database.close()


async def test_round_follows_within_seconds_when_load_rises(start: Start, tmp_path: Path) -> None:
    """Rounds are a minute apart; the load's own trigger brings replicas, and is in the ledger."""
    running = await start(round_interval_s=600.0)
    async with FakeAgent(node="n1", port=running.port, devices=3) as agent:
        await running.apply(deployment(max_replicas=3))
        (only,) = await running.running("chat", 1)
        load = replica_pb2.ReplicaLoad(online_work=20_000.0)
        agent.loads[only.name.removeprefix("replicas/")] = load
        await running.running("chat", 3)
        triggers = [one.trigger for one in await running.plans()]
        assert [one for one in triggers if "load: chat " in one]
        assert not [one for one in triggers if "periodic" in one]


async def test_solver_is_warm_when_a_control_plane_leads(start: Start) -> None:
    """Before anything was there to solve."""
    running = await start()

    async def started() -> bool:
        return running.plane._solver.counts.starts_total == 1

    assert await until(started)
    assert running.plane._solver.counts.solves_total == 0


@pytest.mark.parametrize(
    "flag",
    ["--solver-memory=1MiB", "--solver-cpus=0", "--solver-nice=20", "--solver-overrun=0"],
)
def test_solver_limit_is_refused_when_no_solver_could_run_with_it(
    flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and what is expected."""
    with pytest.raises(SystemExit) as caught:
        _parser().parse_args(["serve", "--state-dir", "x", flag])
    assert caught.value.code == 2
    assert flag.partition("=")[0] in capsys.readouterr().err


def _opened(folder: Path) -> Database:
    (folder / "state").mkdir(exist_ok=True)
    return Database.open(f"sqlite:///{folder}/state/state.db")


async def _newest(store: FleetStore) -> PlanRecord:
    (record,) = store.list_plans(before=None, limit=1)
    return record
