"""A real engine under coefficients that are wrong: the agent holds offline work, and lets go."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Engine, Prompt, running_engine, settled, state_of, wait_for

from nodeagent.assignment import DesiredReplica
from nodeagent.engine.client import EngineClient
from nodeagent.fits import FittedModels
from nodeagent.latencies import Latencies
from nodeagent.models.tiny import TinyOptions, make_tiny
from nodeagent.offline.gate import NodeFacts, OfflineGate
from nodeagent.plugin_contract import MeasuredIteration
from nodeagent.sglang_plugin.cpu_platform import declare_vision_operators
from nodeagent.telemetry import Telemetry
from planner.latency.predictor import default_model
from planner.latency.sample import IterationSample
from planner.model import ReplicaState, Slo, Stage

pytestmark = pytest.mark.engine

_IDENTITY = "tiny|cpu|tp1|test"
_DEFAULT = default_model("cpu")
_WITHIN_S = 90.0
_REFIT_S = 20.0


def chats(count: int, *, new_tokens: int, mark: str) -> list[Prompt]:
    """Online requests that end one after the other, so that a fit sees all row counts."""
    return [
        Prompt(
            rid=f"{mark}-{i:03d}",
            ids=tuple(range(i, i + 30)),
            new_tokens=new_tokens * (i + 1) // count,
            offline=False,
        )
        for i in range(count)
    ]


def iterations_of(engine: Engine) -> list[MeasuredIteration]:
    """Decodes of the engine, as it measured them."""
    engine.generate_all(chats(4, new_tokens=400, mark="fit"))
    return [s for s in settled(engine).samples if s.shape.is_decode_only]


def fitted_three_times_too_fast(samples: list[MeasuredIteration]) -> FittedModels:
    """What the agent would have fitted had the engine been so much faster."""
    models = FittedModels()
    faster = [IterationSample(shape=s.shape, measured_ms=s.measured_ms / 3.0) for s in samples]
    models.refit(_IDENTITY, faster, default=_DEFAULT)
    assert models.fitted(_IDENTITY) is not None, "the fit of the falsified samples was refused"
    return models


class AgentSide:
    """Telemetry and gate of one replica, as its agent wires them, on this engine."""

    def __init__(self, client: EngineClient, models: FittedModels) -> None:
        slo = Slo(ttft_ms=60_000.0, itl_ms=10_000.0)
        desired = DesiredReplica(
            id="r1",
            deployment="chat",
            model="tiny",
            slo=slo,
            device_indices=(0,),
            stage=Stage.ACTIVE,
        )
        self.telemetry = Telemetry(
            replica="r1", identity=_IDENTITY, default=_DEFAULT, models=models
        )
        self.gate = OfflineGate(
            desired=lambda: desired,
            state=lambda: ReplicaState.RUNNING,
            node_facts=lambda: NodeFacts(is_lease_held=True, kill_switch=False, is_cordoned=False),
            telemetry=self.telemetry,
            latencies=Latencies(slo),
            client=lambda: client,
            window=4,
        )
        self._client = client

    async def poll(self) -> str:
        """Polls once; returns why offline work may not run."""
        now_s = time.monotonic()
        await self.telemetry.poll(self._client, budgets=self.gate.budgets, now_s=now_s)
        refusal = self.gate.refuse()
        return refusal.reason if refusal else ""

    async def poll_until(self, holds: Callable[[str], object]) -> str:
        """Polls until something holds of the reason; returns it."""
        async with asyncio.timeout(_WITHIN_S):
            while not holds(reason := await self.poll()):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.2)
        return reason

    async def poll_while(self, lasts: Callable[[], bool]) -> None:
        """Polls as long as something lasts."""
        async with asyncio.timeout(_WITHIN_S):
            while lasts():
                await self.poll()
                await asyncio.sleep(0.2)

    async def refit(self) -> None:
        """The refit that is due after an interval."""
        await self.telemetry.refit(now_s=0.0)
        await self.telemetry.refit(now_s=_REFIT_S)


async def hold_and_release(engine: Engine, models: FittedModels) -> None:
    client = EngineClient(f"http://127.0.0.1:{engine.port}")
    agent = AgentSide(client, models)
    batch = Prompt(rid="bat-000", ids=tuple(range(40)), new_tokens=1200, offline=True)
    try:
        await agent.poll_until(lambda reason: not reason)
        offline = asyncio.create_task(asyncio.to_thread(engine.generate, batch))
        online = asyncio.create_task(
            asyncio.to_thread(engine.generate_all, chats(4, new_tokens=800, mark="onl"))
        )
        reason = await agent.poll_until(lambda reason: "drifted" in reason)
        assert reason.startswith(
            "predictions: replica r1: decode iterations drifted"
            f" from latency model {_IDENTITY}|fit1:"
        )
        held = state_of(engine)
        assert not held.budgets.enabled
        await agent.poll_while(lambda: not online.done())
        later = state_of(engine)
        assert later.counters.offline_output_tokens == held.counters.offline_output_tokens
        assert not offline.done()

        await agent.refit()
        fitted = models.fitted(_IDENTITY)
        assert fitted is not None
        assert fitted.identity == f"{_IDENTITY}|fit2"
        await agent.poll_until(lambda reason: not reason)
        released = await asyncio.to_thread(
            wait_for,
            engine,
            lambda s: s.counters.offline_output_tokens > later.counters.offline_output_tokens,
        )
        assert released.budgets.enabled
    finally:
        engine.call("/abort_request", {"rid": "", "abort_all": True})
        await client.close()


def test_offline_is_held_until_refitted_when_coefficients_are_wrong(tmp_path: Path) -> None:
    """Predictions a third of what is measured: offline rows stop while online ones go on,
    and run again once a fit of the true durations is in force.
    """
    declare_vision_operators()
    model = make_tiny(tmp_path, options=TinyOptions())
    with running_engine(
        model, tmp_path / "engine.log", flags=("--max-total-tokens=8192",)
    ) as engine:
        models = fitted_three_times_too_fast(iterations_of(engine))
        asyncio.run(hold_and_release(engine, models))
        assert settled(engine).fault == ""
