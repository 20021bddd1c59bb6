"""AgentService: hello, lease, assignments, facts."""

import asyncio

import grpc
from slacktide.v1 import agent_service_pb2, fleet_service_pb2, node_pb2, replica_pb2
from slacktide.wire.version import PROTOCOL_VERSION, build_version

from tests.controlplane.server.agent_fake import FakeAgent
from tests.controlplane.server.conftest import Start, deployment, new_id, until, watching


async def test_session_grants_a_lease_when_the_agent_reports(start: Start) -> None:
    """Welcome, the whole assignment, then a grant for every report."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port) as agent:
        await until(lambda: _is(agent.grants >= 2))
        assert agent.welcome is not None
        assert agent.welcome.lease.seconds == 5
        assert agent.welcome.epoch == running.plane.epoch
        assert agent.welcome.control_plane_version == build_version()
        assert agent.assignment is not None
        assert len(agent.assignments) == 1
        node = await running.node("n1")
    assert node.state == node_pb2.NODE_STATE_READY
    assert len(node.devices) == 2
    assert node.failure_domain == "n1"


async def test_session_is_refused_when_protocols_are_far_apart(start: Start) -> None:
    """Both versions and the remedy are in the one error."""
    running = await start()
    async with FakeAgent(
        node="n1", port=running.port, protocol_version=PROTOCOL_VERSION + 2
    ) as agent:
        error = await until(lambda: _some(agent.error))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert f"protocol {PROTOCOL_VERSION + 2}" in error.details()
    assert "Upgrade the control plane" in error.details()


async def test_session_is_accepted_when_protocols_differ_by_one(start: Start) -> None:
    """N serves N+1."""
    running = await start()
    async with FakeAgent(
        node="n1", port=running.port, protocol_version=PROTOCOL_VERSION + 1
    ) as agent:
        await until(lambda: _some(agent.welcome))


async def test_session_is_aborted_when_the_node_opens_a_second(start: Start) -> None:
    """The newest session is the node's; the older one ends with ABORTED."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port) as first:
        await until(lambda: _is(first.grants > 0))
        async with FakeAgent(node="n1", port=running.port) as second:
            error = await until(lambda: _some(first.error))
            assert error.code() is grpc.StatusCode.ABORTED
            await until(lambda: _is(second.grants > 1))
            assert second.error is None
            assert (await running.node("n1")).state == node_pb2.NODE_STATE_READY


async def test_facts_size_a_deployment_when_its_spec_does_not(start: Start) -> None:
    """Unknown needs are asked of agents; once known the deployment is placed."""
    running = await start()
    facts = agent_service_pb2.ModelFacts(
        model="tiny", weights_bytes=1 << 20, kv_bytes_per_token=1 << 10, max_context_tokens=512
    )
    async with FakeAgent(node="n1", port=running.port) as agent:
        await running.apply(deployment(weights_bytes=0, kv_bytes_per_token=0))
        await until(lambda: _is(agent.wanted_models == ["tiny"]))
        assert "waits for an agent" in (await running.deployment("chat")).status.misfits[0]
        agent.facts["tiny"] = facts
        await running.running("chat", 1)
        shown = await running.deployment("chat")
        assert shown.spec.weights_bytes == 1 << 20
        assert shown.status.running_replicas == 1
        assert not shown.status.misfits
        assert agent.assignment.replicas[0].spec.max_context_tokens == 512
        assert not agent.wanted_models


async def test_deployment_says_why_when_its_model_is_unknown(start: Start) -> None:
    """An agent's error becomes the status, and other deployments go on."""
    running = await start()
    error = agent_service_pb2.ModelFacts(model="/none", error="no such folder on node n1")
    async with FakeAgent(node="n1", port=running.port, facts={"/none": error}):
        await running.apply(
            deployment("lost", model="/none", weights_bytes=0, kv_bytes_per_token=0)
        )
        await running.apply(deployment("chat"))
        await running.running("chat", 1)

        async def misfit() -> str | None:
            misfits = (await running.deployment("lost")).status.misfits
            return next((one for one in misfits if "model path unknown: /none" in one), None)

        assert "no such folder" in await until(misfit)


async def test_node_is_lost_when_its_lease_lapses(start: Start) -> None:
    """Replicas LOST, routes dropped, placed elsewhere; the node comes back to a clean slate."""
    running = await start(lease_s=1.0)
    async with (
        FakeAgent(node="n1", port=running.port) as first,
        watching(running) as routes,
    ):
        await running.apply(deployment())
        (replica,) = await running.running("chat", 1)
        table = await _table_where(routes, lambda table: len(table.routes) == 1)
        assert table.routes[0].node == "nodes/n1"
        first.is_silent = True
        await _table_where(routes, lambda table: not table.routes)
        await until(lambda: _some(first.error))
        assert (await running.node("n1")).state == node_pb2.NODE_STATE_LOST
        (lost,) = await running.replicas("chat")
        assert lost.state == replica_pb2.REPLICA_STATE_LOST
        async with FakeAgent(node="n2", port=running.port):
            await _table_where(
                routes, lambda table: [one.node for one in table.routes] == ["nodes/n2"]
            )
            first.connect()
            await until(lambda: _is(replica.name.removeprefix("replicas/") not in first.replicas))
            (placed,) = await running.running("chat", 1)
            assert placed.node == "nodes/n2"


async def test_replica_returns_when_its_node_does_and_none_took_its_place(start: Start) -> None:
    """A LOST replica that is still wanted and still runs goes back to its reported state."""
    running = await start(lease_s=1.0)
    async with FakeAgent(node="n1", port=running.port) as agent:
        await running.apply(deployment())
        (replica,) = await running.running("chat", 1)
        agent.is_silent = True
        await until(lambda: _some(agent.error))
        agent.connect()
        (back,) = await running.running("chat", 1)
        assert back.name == replica.name


async def test_agents_hear_of_the_kill_switch_when_it_is_set(start: Start) -> None:
    """It reaches every agent at once and survives a restart of the control plane."""
    from slacktide.v1 import rollout_service_pb2

    running = await start()
    async with FakeAgent(node="n1", port=running.port) as agent:
        await until(lambda: _some(agent.assignment))
        response = await running.rollout.SetKillSwitch(
            rollout_service_pb2.SetKillSwitchRequest(
                engaged=True, reason="drill", request_id=new_id()
            )
        )
        assert response.engaged
        await until(lambda: _is(agent.assignment.kill_switch), timeout_s=2.0)
        await running.crash()
        again = await start()
        fleet = await again.fleet.GetFleet(fleet_service_pb2.GetFleetRequest())
        assert fleet.kill_switch
        assert fleet.epoch == again.plane.epoch > running.plane.epoch


async def _table_where(routes, holds):  # type: ignore[no-untyped-def]
    async with asyncio.timeout(20):
        async for table in routes:
            if holds(table):
                return table
    raise AssertionError("the watch ended")


async def _is(condition: bool) -> bool:
    return condition


async def _some(value: object) -> object:
    return value
