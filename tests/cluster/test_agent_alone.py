"""The agent as a real process with a real engine, without any control plane."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from slacktide.v1 import (
    agent_service_pb2,
    deployment_pb2,
    inference_service_pb2,
    inference_service_pb2_grpc,
    replica_pb2,
)

from nodeagent.assignment_store import AssignmentStore

pytestmark = pytest.mark.cluster

_START_S = 240.0
_TOKENS = 12


@dataclass
class RunningAgent:
    """One agent process."""

    process: subprocess.Popen[bytes]
    address: str
    log: Path

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    subprocess.run(
        [sys.executable, "-m", "nodeagent.models", "make", "tiny", "--models-dir", str(folder)],
        check=True,
        timeout=300,
    )
    return folder


@pytest.fixture
def agent(tmp_path: Path, models_dir: Path) -> Iterator[RunningAgent]:
    AssignmentStore(tmp_path / "state" / "assignment.bin").accept(_assignment())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    log = tmp_path / "agent.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "nodeagent", "--node", "n1", "--listen", address),
                *("--devices", "cpu:1", "--device-memory", "2GiB"),
                *("--state-dir", str(tmp_path / "state"), "--models-dir", str(models_dir)),
            ],
            stderr=stream,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    try:
        yield RunningAgent(process=process, address=address, log=log)
    finally:
        process.kill()
        process.wait()


async def test_agent_serves_from_its_file_and_leaves_nothing_when_killed(
    agent: RunningAgent,
) -> None:
    """Without a control plane the stored assignment is served with streamed tokens; after
    SIGKILL of the agent no process of the engine remains, though SGLang spawned several.
    """
    async with grpc.aio.insecure_channel(agent.address) as channel:
        responses = await _until_served(channel, agent)
        with pytest.raises(grpc.aio.AioRpcError) as too_long:
            await _generate(channel, text="x" * 9000)

    assert sum(r.token_count for r in responses) == _TOKENS
    assert len(responses) > 1, "tokens were not streamed"
    assert responses[0].served.replica == "replicas/r1"
    assert responses[0].served.node == "nodes/n1"
    assert responses[-1].finish.reason == "length"
    assert responses[-1].finish.output_tokens == _TOKENS
    assert too_long.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "9000" in (too_long.value.details() or "")
    assert "offline_gate replica=r1 admitted=False" in agent.log.read_text()

    engine = agent.descendants()
    assert len(engine) >= 3, "the reaper, the launcher and its scheduler at least"
    agent.process.send_signal(signal.SIGKILL)
    agent.process.wait()
    _wait_until(lambda: not _alive(engine), within_s=10.0)


async def test_agent_exits_0_and_stops_its_engine_when_terminated(agent: RunningAgent) -> None:
    """SIGTERM during the engine's start ends both within seconds, with exit status 0."""
    async with grpc.aio.insecure_channel(agent.address) as channel:
        await _until_serving(channel)
    _wait_until(lambda: len(agent.descendants()) >= 2, within_s=30.0)
    engine = agent.descendants()

    agent.process.terminate()

    assert agent.process.wait(timeout=30) == 0
    assert not _alive(engine)


def _assignment() -> agent_service_pb2.NodeAssignment:
    spec = deployment_pb2.DeploymentSpec(
        model="tiny",
        kv_cache_tokens=8192,
        chunked_prefill_size=256,
        stage=deployment_pb2.STAGE_ACTIVE,
    )
    spec.slo.ttft.FromMilliseconds(2000)
    spec.slo.itl.FromMilliseconds(200)
    replica = replica_pb2.Replica(
        name="replicas/r1",
        deployment="deployments/chat",
        node="nodes/n1",
        device_indices=[0],
        desired=replica_pb2.DESIRED_STATE_RUNNING,
    )
    return agent_service_pb2.NodeAssignment(
        epoch=1,
        revision=1,
        replicas=[agent_service_pb2.AssignedReplica(replica=replica, spec=spec)],
    )


async def _generate(
    channel: grpc.aio.Channel, *, text: str
) -> list[inference_service_pb2.GenerateResponse]:
    request = inference_service_pb2.GenerateRequest(deployment="deployments/chat", text=text)
    request.sampling.max_tokens = _TOKENS
    request.sampling.temperature = 0.0
    request.sampling.ignore_eos = True
    stub = inference_service_pb2_grpc.InferenceServiceStub(channel)
    return [response async for response in stub.Generate(request, timeout=60)]


async def _until_served(
    channel: grpc.aio.Channel, agent: RunningAgent
) -> list[inference_service_pb2.GenerateResponse]:
    give_up_at = time.monotonic() + _START_S
    while True:
        try:
            return await _generate(channel, text="The capital of France is")
        except grpc.aio.AioRpcError as error:
            retryable = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND)
            is_over = agent.process.poll() is not None or time.monotonic() > give_up_at
            if is_over or error.code() not in retryable:
                raise AssertionError(agent.log.read_text()[-4000:]) from error
        await asyncio.sleep(1.0)


async def _until_serving(channel: grpc.aio.Channel) -> None:
    request = health_pb2.HealthCheckRequest()
    answer = await health_pb2_grpc.HealthStub(channel).Check(
        request, timeout=30, wait_for_ready=True
    )
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def _alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def _wait_until(holds: Callable[[], bool], *, within_s: float) -> None:
    give_up_at = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < give_up_at, "it did not come about in time"
        time.sleep(0.1)
