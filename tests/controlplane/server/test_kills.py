"""SIGKILL of a real control plane: moves go on, and nothing is left behind."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest
from slacktide.v1 import (
    deployment_service_pb2,
    deployment_service_pb2_grpc,
    node_service_pb2,
    node_service_pb2_grpc,
    replica_pb2,
)

from tests.controlplane.server.agent_fake import RUNNING, STARTING, FakeAgent
from tests.controlplane.server.conftest import deployment, new_id, until

TIMEOUT_S = 60.0


class Served:
    """`python -m controlplane serve` on a folder, and stubs to call it with."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, said: list[str]) -> None:
        self.process = process
        self.port = port
        self.said = said
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self.deployments = deployment_service_pb2_grpc.DeploymentServiceStub(self.channel)
        self.nodes = node_service_pb2_grpc.NodeServiceStub(self.channel)

    async def replicas(self) -> list[replica_pb2.Replica]:
        """Lists replicas."""
        answer = await self.deployments.ListReplicas(
            deployment_service_pb2.ListReplicasRequest(), timeout=TIMEOUT_S
        )
        return list(answer.replicas)

    async def kill(self) -> None:
        """SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        await self.channel.close()

    def solvers(self) -> set[int]:
        """Process ids of solvers it said it started."""
        return {int(pid) for pid in re.findall(r"solver_started pid=(\d+)", "".join(self.said))}


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Served]:
    """A control plane until the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "controlplane", "serve", "--listen", "127.0.0.1:0", "--state-dir", str(folder)),
        *("--lease", "20s", "--round-interval", "60s"),
        stderr=asyncio.subprocess.PIPE,
    )
    said: list[str] = []
    assert process.stderr is not None
    async with asyncio.timeout(TIMEOUT_S):
        while not (found := re.search(r"control_plane_serving .*port=(\d+)", "".join(said))):
            line = (await process.stderr.readline()).decode()
            assert line, "".join(said)
            said.append(line)
    reader = asyncio.create_task(_collect(process.stderr, said))
    served = Served(process, int(found[1]), said)
    try:
        yield served
    finally:
        if process.returncode is None:
            await served.kill()
        await reader


async def _collect(stream: asyncio.StreamReader, said: list[str]) -> None:
    async for line in stream:
        said.append(line.decode())


async def test_move_is_finished_when_the_process_is_killed_between_add_and_drop(
    tmp_path: Path,
) -> None:
    """The condition of the removal is committed: the next process releases it, not before.

    Routes and replicas of the move are the same ones, so nothing was decided anew.
    """
    async with serving(tmp_path) as first:
        old_node = FakeAgent(node="n1", port=first.port)
        new_node = FakeAgent(node="n2", port=first.port, starts_as=STARTING)
        async with old_node, new_node:
            await first.nodes.CordonNode(
                node_service_pb2.CordonNodeRequest(name="nodes/n2", request_id=new_id())
            )
            await first.deployments.ApplyDeployment(
                deployment_service_pb2.ApplyDeploymentRequest(
                    deployment=deployment(), request_id=new_id()
                )
            )
            await until(lambda: _states(first, {RUNNING}), timeout_s=TIMEOUT_S)
            await first.nodes.UncordonNode(
                node_service_pb2.UncordonNodeRequest(name="nodes/n2", request_id=new_id())
            )
            await first.nodes.DrainNode(
                node_service_pb2.DrainNodeRequest(name="nodes/n1", request_id=new_id()),
                timeout=TIMEOUT_S,
            )
            await until(lambda: _states(first, {RUNNING, STARTING}), timeout_s=TIMEOUT_S)
            before = {one.name: one for one in await first.replicas()}
            await first.kill()
            async with serving(tmp_path) as second:
                for agent in (old_node, new_node):
                    await agent.disconnect()
                    agent.connect(second.port)
                await until(lambda: _all_granted(old_node, new_node), timeout_s=TIMEOUT_S)
                between = {one.name: one for one in await second.replicas()}
                assert set(between) == set(before)
                (old,) = [one for one in between.values() if one.node == "nodes/n1"]
                (new,) = [one for one in between.values() if one.node == "nodes/n2"]
                assert list(old.after) == [new.name]
                assert old.name.removeprefix("replicas/") in old_node.replicas, "it still serves"
                new_node.finish_starts()

                async def moved() -> bool:
                    return [one.name for one in await second.replicas()] == [new.name]

                await until(moved, timeout_s=TIMEOUT_S)
                assert not old_node.replicas


async def test_solver_ends_when_its_control_plane_is_killed(tmp_path: Path) -> None:
    """Neither the warm child nor one in the middle of a solve outlives its parent."""
    async with serving(tmp_path) as served:
        async with FakeAgent(node="n1", port=served.port):
            await served.deployments.ApplyDeployment(
                deployment_service_pb2.ApplyDeploymentRequest(
                    deployment=deployment(), request_id=new_id()
                )
            )
            await until(lambda: _states(served, {RUNNING}), timeout_s=TIMEOUT_S)
            solvers = served.solvers()
            assert solvers
            await served.kill()
        await until(lambda: _gone(solvers), timeout_s=10.0)


_PARENT = """
import asyncio, sys
from controlplane.rounds.solver import Solver
from tests.controlplane.server.test_solver_process import SNAPSHOT

async def main():
    solver = Solver((sys.executable, "-c", sys.argv[1]))
    process = await solver._running()
    print(process.pid, flush=True)
    await solver.solve(SNAPSHOT, budget_s=600.0)

asyncio.run(main())
"""
_BUSY_CHILD = """
import time
import controlplane.rounds.solver_process as child

def solve(snapshot, *, work_left):
    sum(range(10**12))  # one call that holds the interpreter's lock
    yield None

child.solve = solve
child.main()
"""


async def test_solver_ends_when_killed_parent_leaves_it_in_one_long_call() -> None:
    """Also native code that never lets Python run again is no way to outlive the parent."""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PARENT, _BUSY_CHILD, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await asyncio.wait_for(parent.stdout.readline(), TIMEOUT_S))
    await until(lambda: _is_busy(pid), timeout_s=TIMEOUT_S)
    parent.kill()
    await parent.wait()
    try:
        await until(lambda: _gone({pid}), timeout_s=10.0)
    finally:
        if await _gone({pid}) is False:
            os.kill(pid, signal.SIGKILL)


async def _is_busy(pid: int) -> bool:
    """Whether it used six seconds of processor time: past its imports, in the solve."""
    return int(_stat(pid)[11]) >= 6 * os.sysconf("SC_CLK_TCK")


async def _gone(pids: set[int]) -> bool:
    return not any(_is_alive(pid) for pid in pids)


def _is_alive(pid: int) -> bool:
    try:
        return _stat(pid)[0] != "Z"
    except FileNotFoundError:
        return False


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


async def _states(served: Served, states: set[int]) -> bool:
    return {one.state for one in await served.replicas()} == states


async def _all_granted(*agents: FakeAgent) -> bool:
    return all(agent.grants > 1 and agent.error is None for agent in agents)


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
