"""Moves over the wire: drains, second deployments, and a leader killed in between."""

import asyncio
import uuid

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from slacktide.v1 import node_pb2, node_service_pb2, placement_service_pb2, replica_pb2

from tests.controlplane.server.agent_fake import STARTING, FakeAgent
from tests.controlplane.server.conftest import Running, Start, deployment, new_id, until, watching


async def test_deployment_is_spread_when_asked(start: Start) -> None:
    """Two replicas go to two nodes, and the plan shows its status, bound and gap."""
    running = await start()
    async with (
        FakeAgent(node="n1", port=running.port),
        FakeAgent(node="n2", port=running.port),
    ):
        await running.apply(deployment(min_replicas=2, max_replicas=2, spread=True))
        placed = await running.running("chat", 2)
        assert {one.node for one in placed} == {"nodes/n1", "nodes/n2"}
        assert sum(one.online_share for one in placed) == pytest.approx(1.0, abs=0.05)
        response = await running.placement.GetPlacement(placement_service_pb2.GetPlacementRequest())
        assert response.plan.bound <= response.plan.objective
        assert response.plan.epoch == running.plane.epoch
        assert "deployment chat applied" in response.plan.trigger
        assert {one.replica for one in response.plan.placements} == {one.name for one in placed}


async def test_second_deployment_is_placed_beside_when_the_first_serves(start: Start) -> None:
    """Nothing of the first moves."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port) as agent:
        await running.apply(deployment("chat"))
        (first,) = await running.running("chat", 1)
        await running.apply(deployment("code", model="other"))
        (second,) = await running.running("code", 1)
        assert (await running.replicas("chat"))[0].name == first.name
        assert set(first.device_indices).isdisjoint(second.device_indices)
        assert {one.spec.model for one in agent.assignment.replicas} == {"tiny", "other"}


async def test_deployment_says_why_when_it_fits_nowhere(start: Start) -> None:
    """It is accepted, its status names needed and available, and the rest is placed."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port):
        await running.apply(deployment("huge", weights_bytes=1 << 53, kv_cache_tokens=2**31 - 1))
        await running.apply(deployment("chat"))
        await running.running("chat", 1)

        async def misfit() -> str | None:
            misfits = (await running.deployment("huge")).status.misfits
            return misfits[0] if misfits else None

        said = await until(misfit)
        assert "deployment huge" in said
        assert "needs 8390656.0 GiB" in said and "has 4.0 GiB" in said, "needed and available"
        assert "larger devices" in said, "the remedy"
        assert await running.replicas("huge") == []


async def test_drain_adds_before_it_drops_when_there_is_room(start: Start) -> None:
    """The old replica serves until the new one runs; then the node is DRAINED."""
    running = await start()
    async with (
        FakeAgent(node="n1", port=running.port) as first,
        FakeAgent(node="n2", port=running.port, starts_as=STARTING) as second,
        watching(running) as routes,
    ):
        await running.nodes.CordonNode(
            node_service_pb2.CordonNodeRequest(name="nodes/n2", request_id=new_id())
        )
        await running.apply(deployment())
        (old,) = await running.running("chat", 1)
        assert old.node == "nodes/n1"
        await running.nodes.UncordonNode(
            node_service_pb2.UncordonNodeRequest(name="nodes/n2", request_id=new_id())
        )
        drained = await _drain(running, "n1")
        assert drained.state == node_pb2.NODE_STATE_DRAINING
        assert drained.cordoned
        await until(lambda: _is(STARTING in second.replicas.values()))
        assert old.name.removeprefix("replicas/") in first.replicas
        waiting = next(one for one in await running.replicas("chat") if one.name == old.name)
        assert waiting.desired == replica_pb2.DESIRED_STATE_STOPPED
        assert len(waiting.after) == 1
        second.finish_starts()
        (new,) = await running.running("chat", 1)
        assert new.node == "nodes/n2"
        assert (await running.node("n1")).state == node_pb2.NODE_STATE_DRAINED
        async with asyncio.timeout(10):
            async for table in routes:  # at no time was there no route
                if [one.replica for one in table.routes] == [new.name]:
                    break


async def test_drain_is_refused_when_a_replica_fits_nowhere_else(start: Start) -> None:
    """One violation a replica; with force it drains, and stops what is left at the deadline."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port):
        await running.apply(deployment())
        (old,) = await running.running("chat", 1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _drain(running, "n1")
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "drain with force" in caught.value.details()
        assert (await running.node("n1")).state == node_pb2.NODE_STATE_READY
        await _drain(running, "n1", force=True, deadline=Duration(seconds=1))
        await until(lambda: _state_is(running, "n1", node_pb2.NODE_STATE_DRAINED))
        assert await running.replicas("chat") == []
        assert (await running.deployment("chat")).status.misfits
        await running.nodes.UncordonNode(
            node_service_pb2.UncordonNodeRequest(name="nodes/n1", request_id=new_id())
        )
        (back,) = await running.running("chat", 1)
        assert back.name != old.name


async def test_move_is_finished_when_the_leader_is_killed_in_between(start: Start) -> None:
    """Killed between the add and the drop, the next leader drops once the new one runs."""
    running = await start()
    async with (
        FakeAgent(node="n1", port=running.port) as first,
        FakeAgent(node="n2", port=running.port, starts_as=STARTING) as second,
    ):
        await running.nodes.CordonNode(
            node_service_pb2.CordonNodeRequest(name="nodes/n2", request_id=new_id())
        )
        await running.apply(deployment())
        await running.running("chat", 1)
        await running.nodes.UncordonNode(
            node_service_pb2.UncordonNodeRequest(name="nodes/n2", request_id=new_id())
        )
        await _drain(running, "n1")
        await until(lambda: _is(STARTING in second.replicas.values()))
        await running.crash()
        again = await start()
        assert again.plane.epoch > running.plane.epoch
        assert (await again.node("n1")).state == node_pb2.NODE_STATE_DRAINING  # grace, not LOST
        for agent in (first, second):
            await agent.disconnect()
            agent.connect(again.port)
        second.finish_starts()
        (new,) = await again.running("chat", 1)
        assert new.node == "nodes/n2"
        await until(lambda: _is(not first.replicas))


async def test_replica_is_replaced_when_the_engine_changes(start: Start) -> None:
    """Another kv_cache_tokens needs another engine: added first, then the old one goes."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port) as agent:
        await running.apply(deployment())
        (old,) = await running.running("chat", 1)
        changed = await running.apply(deployment(kv_cache_tokens=1024))
        assert changed.generation == 2

        async def replaced() -> bool:
            found = await running.replicas("chat")
            return len(found) == 1 and found[0].name != old.name and found[0].state == 3

        await until(replaced)

        async def told() -> bool:
            return [one.spec.kv_cache_tokens for one in agent.assignment.replicas] == [1024]

        await until(told)


async def test_replica_stays_when_only_its_slo_changes(start: Start) -> None:
    """What an engine need not restart for reaches the running one."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port) as agent:
        await running.apply(deployment())
        (old,) = await running.running("chat", 1)
        await running.apply(deployment(stage=4))
        await until(lambda: _is(agent.assignment.replicas[0].spec.stage == 4))
        assert [one.name for one in await running.replicas("chat")] == [old.name]


async def test_old_leader_stops_when_a_new_one_takes_over(start: Start) -> None:
    """The superseded process ends by itself and its agents are let go."""
    old = await start(control_plane="cp-a")
    async with FakeAgent(node="n1", port=old.port) as agent:
        await until(lambda: _is(agent.grants > 0))
        new = await start(control_plane="cp-b")
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(old.task, 20)
        assert f"superseded by epoch {new.plane.epoch} of cp-b" in str(caught.value.exceptions[0])
        await until(lambda: _is(agent.error is not None))
        agent.connect(new.port)
        await until(
            lambda: _is(agent.welcome is not None and agent.welcome.epoch == new.plane.epoch)
        )


async def _drain(running: Running, node: str, **fields: object) -> node_pb2.Node:
    response = await running.nodes.DrainNode(
        node_service_pb2.DrainNodeRequest(
            name=f"nodes/{node}", request_id=str(uuid.uuid4()), reason="test", **fields
        ),
        timeout=60,
    )
    return response.node


async def _state_is(running: Running, node: str, state: int) -> bool:
    return (await running.node(node)).state == state


async def _is(condition: bool) -> bool:
    return condition
