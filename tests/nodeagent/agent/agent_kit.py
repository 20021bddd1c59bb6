"""One agent in this process, with engines that are real processes of a fake SGLang."""

import asyncio
import json
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio
import psutil
import pytest
from controlplane_fake import FakeControlPlane
from slacktide.v1 import (
    agent_service_pb2,
    deployment_pb2,
    inference_service_pb2,
    inference_service_pb2_grpc,
    item_service_pb2,
    replica_pb2,
)

from nodeagent.agent import Agent
from nodeagent.devices import find_devices
from nodeagent.settings import parse_settings

_FAKE = Path(__file__).parent / "engine_fake.py"


def make_assignment(
    *, revision: int = 1, epoch: int = 1, model: str = "tiny", **changes: Any
) -> agent_service_pb2.NodeAssignment:
    """An assignment of replica r1 of deployment chat; changes are NodeAssignment's fields."""
    stage = changes.pop("stage", deployment_pb2.STAGE_ACTIVE)
    desired = changes.pop("desired", replica_pb2.DESIRED_STATE_RUNNING)
    spec = deployment_pb2.DeploymentSpec(model=model, stage=stage, max_running_requests=4)
    spec.slo.ttft.FromMilliseconds(2000)
    spec.slo.itl.FromMilliseconds(500)
    replica = replica_pb2.Replica(
        name="replicas/r1",
        deployment="deployments/chat",
        node="nodes/n1",
        device_indices=[0],
        desired=desired,
        latency_budget_ms=40.0,
    )
    assigned = agent_service_pb2.AssignedReplica(replica=replica, spec=spec)
    assigned.drain_grace.FromMilliseconds(5000)
    return agent_service_pb2.NodeAssignment(
        epoch=epoch, revision=revision, replicas=[assigned], **changes
    )


def make_items(count: int, prompt: str = "p") -> list[item_service_pb2.Item]:
    """Lines 0 to count - 1 of batch b1, all alike."""
    body = json.dumps({"model": "chat", "prompt": prompt, "max_tokens": 2}).encode()
    return [
        item_service_pb2.Item(
            lease=item_service_pb2.ItemLease(item=f"batches/b1/items/{line}"),
            custom_id=f"c{line}",
            url="/v1/completions",
            body=body,
        )
        for line in range(count)
    ]


async def until(holds: Callable[[], object], *, within_s: float = 20.0) -> None:
    """Waits for a condition of the world outside; fails with what it was."""
    try:
        async with asyncio.timeout(within_s):
            while not holds():  # noqa: ASYNC110 - what is waited for is another process
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"not within {within_s:g} s: {holds.__code__.co_names}")


@dataclass
class AgentUnderTest:
    """A running agent and how to reach it."""

    agent: Agent
    address: str
    state_dir: Path
    stub: inference_service_pb2_grpc.InferenceServiceStub

    def engine_port(self) -> int:
        """Where its one engine listens."""
        for process in psutil.Process().children(recursive=True):
            for word in process.cmdline():
                if word.startswith("--port=") and "reaper" not in " ".join(process.cmdline()):
                    return int(word.partition("=")[2])
        raise AssertionError("no engine runs")

    async def seen(self) -> dict[str, Any]:
        """What the fake engine was asked so far."""
        url = f"http://127.0.0.1:{self.engine_port()}/fake"
        async with aiohttp.ClientSession() as http, http.get(url) as answer:
            seen: dict[str, Any] = await answer.json()
            return seen

    async def seen_until(self, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """What the fake engine was asked, once that holds."""
        async with asyncio.timeout(20):
            while not holds(seen := await self.seen()):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)
        return seen

    async def generate(
        self, text: str = "hello", *, max_tokens: int = 4, replica: str = ""
    ) -> list[inference_service_pb2.GenerateResponse]:
        request = inference_service_pb2.GenerateRequest(
            deployment="deployments/chat", text=text, replica=replica
        )
        request.sampling.max_tokens = max_tokens
        return [response async for response in self.stub.Generate(request, timeout=20)]


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "dtype": "float32",
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "hidden_size": 8,
        "max_position_embeddings": 512,
        "vocab_size": 32,
    }
    (folder / "config.json").write_text(json.dumps(config))
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    return tmp_path / "models"


@pytest.fixture
def engine_python(tmp_path: Path) -> Path:
    """An "interpreter" that runs the fake whatever module it is asked for."""
    script = tmp_path / "python-with-fake-sglang"
    root = Path(__file__).parents[3]
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{root}" exec "{sys.executable}" "{_FAKE}" "$@"\n')
    script.chmod(0o755)
    return script


@pytest.fixture
async def control_plane() -> AsyncIterator[FakeControlPlane]:
    fake = FakeControlPlane()
    await fake.start()
    yield fake
    await fake.stop()


@asynccontextmanager
async def running_agent(
    tmp_path: Path,
    models_dir: Path,
    engine_python: Path,
    *,
    control_plane: str,
    flags: Sequence[str] = (),
) -> AsyncIterator[AgentUnderTest]:
    """Runs an agent until the block ends; every process of it is gone then."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    settings = parse_settings(
        [
            *("--node", "n1", "--listen", address, "--devices", "cpu:2"),
            *("--device-memory", "1GiB", "--state-dir", str(tmp_path / "state")),
            *("--models-dir", str(models_dir), "--control-plane", control_plane),
            *("--engine-python", str(engine_python), "--stop-grace", "2"),
            *flags,
        ]
    )
    devices = find_devices(settings.devices, memory_bytes=settings.device_memory_bytes)
    agent = Agent(settings, devices)
    running = asyncio.create_task(agent.run())
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield AgentUnderTest(
                agent=agent,
                address=address,
                state_dir=settings.state_dir,
                stub=inference_service_pb2_grpc.InferenceServiceStub(channel),
            )
    finally:
        agent.stop()
        await asyncio.wait_for(running, timeout=20)
    left = [p for p in psutil.Process().children(recursive=True) if _is_engine(p)]
    assert not left, f"engine processes outlived their agent: {left}"


@pytest.fixture
async def agent(
    tmp_path: Path, models_dir: Path, engine_python: Path, control_plane: FakeControlPlane
) -> AsyncIterator[AgentUnderTest]:
    async with running_agent(
        tmp_path, models_dir, engine_python, control_plane=control_plane.address
    ) as under_test:
        yield under_test


@pytest.fixture
async def serving(agent: AgentUnderTest, control_plane: FakeControlPlane) -> AgentUnderTest:
    """An agent whose replica r1 is RUNNING at stage active."""
    control_plane.send(make_assignment())
    await until(lambda: control_plane.is_in(replica_pb2.REPLICA_STATE_RUNNING))
    return agent


def _is_engine(process: psutil.Process) -> bool:
    try:
        return str(_FAKE) in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False
