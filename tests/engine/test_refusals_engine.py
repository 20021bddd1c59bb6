"""Engines the plugin will not run in: they serve as stock, and the agent hears why."""

import asyncio
import os
from pathlib import Path

import pytest
from harness import Engine, Prompt, running_engine

from nodeagent.engine.client import EngineClient
from nodeagent.fits import FittedModels
from nodeagent.models.tiny import TinyOptions, make_tiny
from nodeagent.plugin_contract import SGLANG_VERSION, parse_refusal
from nodeagent.sglang_plugin.cpu_platform import declare_vision_operators
from nodeagent.telemetry import Telemetry
from planner.batching.state import Budgets
from planner.latency.predictor import default_model
from planner.model import ReplicaState, Stage
from planner.rollout.gate import OfflineFacts, Yielding, offline_refusal

pytestmark = pytest.mark.engine

_ASKED = Prompt(rid="ref-000", ids=tuple(range(40)), new_tokens=8, offline=False)

# Another release of SGLang, as far as its metadata says.
_DRIFT = """
import importlib.metadata as metadata

_version = metadata.version
metadata.version = lambda name: "0.5.22" if name == "sglang" else _version(name)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    declare_vision_operators()
    return make_tiny(tmp_path_factory.mktemp("models"), options=TinyOptions())


def admission_of(engine: Engine) -> str:
    """What the agent's own telemetry and gate say to offline work on this engine."""

    async def poll() -> Telemetry:
        default = default_model("cpu")
        telemetry = Telemetry(replica="r1", identity="test", default=default, models=FittedModels())
        client = EngineClient(f"http://127.0.0.1:{engine.port}")
        try:
            await telemetry.poll(client, budgets=Budgets, now_s=1.0)
        finally:
            await client.close()
        return telemetry

    telemetry = asyncio.run(poll())
    refusal = offline_refusal(
        OfflineFacts(
            state=ReplicaState.RUNNING,
            stage=Stage.ACTIVE,
            is_lease_held=True,
            kill_switch=False,
            is_cordoned=False,
            plugin_refusal=telemetry.refusal,
            telemetry_age_s=0.0,
        )
    )
    assert refusal is not None
    assert refusal.yielding is Yielding.RETURN
    return refusal.reason


def test_engine_serves_stock_when_sglang_is_another_release(model: Path, tmp_path: Path) -> None:
    """The manifest names what differs, the engine answers, and no offline work is admitted."""
    (tmp_path / "sitecustomize.py").write_text(_DRIFT)
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    with running_engine(
        model,
        tmp_path / "drift.log",
        flags=("--max-total-tokens=4096",),
        environment={"PYTHONPATH": path},
    ) as engine:
        assert len(engine.generate(_ASKED)) == 8
        assert engine.state() is None
        refusal = parse_refusal(engine.call("/server_info"))
        assert "sglang 0.5.22" in refusal
        assert SGLANG_VERSION in refusal
        assert admission_of(engine) == f"scheduler plugin refused to run: {refusal}"
        assert not engine.settings({"slacktide_budget_latency_budget_ms": 5.0})


def test_engine_serves_stock_when_option_is_unsupported(model: Path, tmp_path: Path) -> None:
    """The scheduler steps down before anything is set up, with the reason."""
    flags = ("--max-total-tokens=4096", "--prefill-decode-interval=4")
    with running_engine(model, tmp_path / "option.log", flags=flags) as engine:
        assert len(engine.generate(_ASKED)) == 8
        assert engine.state() is None
        assert "prefill-decode-interval" in parse_refusal(engine.call("/server_info"))
        assert "prefill-decode-interval" in admission_of(engine)
