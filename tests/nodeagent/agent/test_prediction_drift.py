"""Predictions of an engine that changed its pace: offline work held, and let go."""

from collections.abc import AsyncIterator

import pytest
from agent_kit import AgentUnderTest, make_items, until
from aiohttp.test_utils import TestServer
from controlplane_fake import FakeControlPlane
from engine_fake import FakeEngine

from nodeagent import telemetry as telemetry_module
from nodeagent.engine.client import EngineClient
from nodeagent.fits import FittedModels
from nodeagent.telemetry import Telemetry
from planner.batching.state import Budgets
from planner.latency.predictor import default_model
from planner.rollout.drift_hold import DriftSettings

ENABLED = "slacktide_budget_enabled"
MODEL = "slacktide_model_fingerprint"
HOLD_S = DriftSettings().first_hold_s


@pytest.fixture
def engine() -> FakeEngine:
    engine = FakeEngine()
    engine.iterations = 200
    return engine


@pytest.fixture
async def client(engine: FakeEngine) -> AsyncIterator[EngineClient]:
    async with TestServer(engine.make_app()) as server:
        client = EngineClient(str(server.make_url("")).rstrip("/"))
        yield client
        await client.close()


class Polls:
    """The polls of one replica, a second apart, on a clock of their own."""

    def __init__(self, client: EngineClient) -> None:
        self.telemetry = Telemetry(
            replica="r1",
            identity="tiny|cpu|tp1|fake",
            default=default_model("cpu"),
            models=FittedModels(),
        )
        self.now_s = 0.0
        self._client = client

    async def poll(self, times: int = 1) -> str:
        """Returns why drift holds offline work after them."""
        for _ in range(times):
            self.now_s += 1.0
            await self.telemetry.poll(self._client, budgets=Budgets, now_s=self.now_s)
        return self.telemetry.drift.reason

    async def fit(self) -> None:
        """A refit that is due, and the two polls after which its model is known in force."""
        before = self.telemetry.model
        await self.telemetry.refit(now_s=self.now_s)
        self.now_s += 20.0
        await self.telemetry.refit(now_s=self.now_s)
        assert self.telemetry.model is not before, "the fit was not accepted"
        await self.poll(2)


async def test_default_is_not_judged_and_a_good_fit_never_held(
    client: EngineClient, engine: FakeEngine
) -> None:
    """An engine four times faster than its default has first to run to be fitted."""
    engine.slowdown = 0.25
    polls = Polls(client)
    assert await polls.poll(5) == ""
    await polls.fit()
    assert await polls.poll(20) == ""


async def drifted(client: EngineClient, engine: FakeEngine) -> Polls:
    """A fitted engine that turns half as fast."""
    polls = Polls(client)
    await polls.poll(5)
    await polls.fit()
    engine.slowdown = 2.0
    return polls


async def test_offline_is_held_until_the_engine_is_as_predicted_again(
    client: EngineClient, engine: FakeEngine
) -> None:
    """Held within two polls of the change, released by good polls for the hold's length."""
    polls = await drifted(client, engine)
    assert "replica r1: decode iterations drifted" in await polls.poll(2)
    assert "tiny|cpu|tp1|fake|fit1" in polls.telemetry.drift.reason
    assert await polls.poll(60)
    engine.slowdown = 1.0
    assert await polls.poll(int(HOLD_S) - 1)
    assert await polls.poll(2) == ""


async def test_offline_is_released_when_nothing_runs_to_judge_by(
    client: EngineClient, engine: FakeEngine
) -> None:
    """An idle engine is not held for ever; if it is as wrong as before, it is held again."""
    polls = await drifted(client, engine)
    assert await polls.poll(2)
    engine.iterations = 0
    assert await polls.poll(int(HOLD_S) - 2)
    assert await polls.poll(2) == ""
    engine.iterations = 200
    assert await polls.poll(2)


async def test_offline_is_released_when_a_refit_is_in_force(
    client: EngineClient, engine: FakeEngine
) -> None:
    """Its first polls are judged by the new model alone, and it holds."""
    polls = await drifted(client, engine)
    assert await polls.poll(10)
    await polls.fit()
    assert await polls.poll(0) == ""
    assert await polls.poll(20) == ""


async def test_agent_holds_offline_work_on_drift_and_releases_it_after_a_refit(
    serving: AgentUnderTest, control_plane: FakeControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole agent: a model fitted and sent, an engine that gets twice as slow, its
    budgets cut and the reason reported, nothing pulled; online goes on; and after a refit
    offline work runs again, without a hand on it.
    """
    monkeypatch.setattr(telemetry_module, "_FIRST_FIT_INTERVAL_S", 1.0)
    monkeypatch.setattr(telemetry_module, "_REFIT_INTERVAL_S", 3600.0)
    await serving.generate("busy")
    await serving.seen_until(lambda seen: any(MODEL in update for update in seen["updates"]))
    await until(lambda: (r := control_plane.replica()) and r.offline_admitted)

    await serving.generate("twice")
    await serving.seen_until(lambda seen: seen["updates"][-1].get(ENABLED) == 0)
    await until(lambda: (r := control_plane.replica()) and "drifted" in r.offline_refusal)
    report = control_plane.replica()
    assert report is not None
    assert report.offline_refusal.startswith("predictions: replica r1: decode iterations")
    assert not report.offline_admitted
    pulls = control_plane.pulls
    control_plane.pending.extend(make_items(3))
    assert len(await serving.generate()) == 4

    monkeypatch.setattr(telemetry_module, "_REFIT_INTERVAL_S", 1.0)
    assert control_plane.pulls == pulls
    await serving.seen_until(lambda seen: seen["updates"][-1].get(ENABLED) == 1)
    await until(lambda: len(control_plane.results) == 3)
    await until(lambda: (r := control_plane.replica()) and r.offline_admitted)
