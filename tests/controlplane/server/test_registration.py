"""Who may register as a node, over real gRPC."""

from typing import Any

import grpc
import pytest
from slacktide.v1 import node_pb2

from tests.controlplane.server.agent_fake import GIB, FakeAgent
from tests.controlplane.server.conftest import Start, deployment, until


def device(**fields: Any) -> node_pb2.Device:
    """A device that is fine but for the fields given."""
    return node_pb2.Device(**{"index": 0, "device_type": "cpu", "memory_bytes": GIB, **fields})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"node": "N 1"}, "lower-case letters"),
        ({"node": ""}, "lower-case letters"),
        ({"node": "n" * 64}, "1 to 63"),
        ({"address": "nowhere"}, "--listen"),
        ({"address": "h:70000"}, "1 to 65535"),
        ({"given_devices": []}, "--devices"),
        ({"given_devices": [device(), device()]}, "each once"),
        ({"given_devices": [device(index=1)]}, "indices [1]"),
        ({"given_devices": [device(memory_bytes=-5)]}, "-5: expected 1 to"),
        ({"given_devices": [device(memory_bytes=1 << 62)]}, "--device-memory"),
        ({"given_devices": [device(device_type="")]}, "device_type"),
        ({"given_devices": [device(index=i) for i in range(65)]}, "at most 64"),
    ],
)
async def test_node_is_refused_when_its_description_is_wrong(
    start: Start, fields: dict[str, Any], said: str
) -> None:
    """Its agent is told what was observed and what is allowed; the fleet is untouched."""
    running = await start()
    async with FakeAgent(**{"node": "n1", "port": running.port, **fields}) as agent:
        assert agent.error is not None
        assert agent.error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert said in (agent.error.details() or "")
    assert running.plane._feed.view.nodes == ()


async def test_node_is_refused_when_another_has_its_address(start: Start) -> None:
    """Routes to one would reach the other; once that one is lost, the address is free."""
    running = await start(lease_s=1.0)
    async with FakeAgent(node="n1", port=running.port, address="h:7411") as first:
        async with FakeAgent(node="n2", port=running.port, address="h:7411") as second:
            assert second.error is not None
            assert second.error.code() is grpc.StatusCode.ALREADY_EXISTS
            assert "node n1" in (second.error.details() or "")
        assert first.error is None
    await until(lambda: _is_lost(running, "n1"))
    async with FakeAgent(node="n2", port=running.port, address="h:7411") as second:
        assert second.error is None


async def test_node_is_refused_when_another_agent_has_its_name(start: Start) -> None:
    """Two hosts with one --node do not take the session from each other in turns."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port, address="a:7411") as first:
        async with FakeAgent(node="n1", port=running.port, address="b:7411") as second:
            assert second.error is not None
            assert "--node" in (second.error.details() or "")
        grants = first.grants
        await until(lambda: _is(first.grants > grants + 2))
    async with FakeAgent(node="n1", port=running.port, address="b:7411") as moved:
        assert moved.error is None, "the first is gone: the node has moved"


async def test_node_joins_when_its_build_and_sglang_differ(start: Start) -> None:
    """Within the protocol, builds differ during an upgrade: it is seen, and it serves."""
    running = await start()
    async with FakeAgent(
        node="n1", port=running.port, agent_version="9.9.9", sglang_version="0.6.0"
    ):
        await running.apply(deployment())
        await running.running("chat", 1)
        node = await running.node("n1")
        assert (node.agent_version, node.sglang_version) == ("9.9.9", "0.6.0")


async def test_rounds_go_on_when_an_agent_reports_nonsense(start: Start) -> None:
    """Infinite work and replicas of nobody change nothing."""
    from slacktide.v1 import replica_pb2

    running = await start(round_interval_s=0.3)
    async with FakeAgent(node="n1", port=running.port) as agent:
        await running.apply(deployment())
        (replica,) = await running.running("chat", 1)
        for work in (float("inf"), float("nan"), -1.0, 1e300):
            agent.loads[replica.name.removeprefix("replicas/")] = replica_pb2.ReplicaLoad(
                online_work=work
            )
            last = running.plane._log.last
            await until(lambda last=last: _is(running.plane._log.last is not last))
        await running.apply(deployment("code"))
        await running.running("code", 1)


async def _is_lost(running: Any, node: str) -> bool:
    return bool((await running.node(node)).state == node_pb2.NODE_STATE_LOST)


async def _is(condition: bool) -> bool:
    return condition
