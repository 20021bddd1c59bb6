"""SLO classes on the wire of a real control plane: to gateways, to agents, and back."""

from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st
from slacktide.v1 import agent_service_pb2, deployment_pb2, replica_pb2, slo_pb2

from controlplane.gateway.tables import parse_table
from controlplane.messages.replicas import class_work
from planner.routing.choose import choose
from planner.routing.table import Route, RouteTable
from planner.routing.traffic import Traffic
from tests.controlplane.server.agent_fake import FakeAgent
from tests.controlplane.server.conftest import Running, Start, deployment, until, watching

GAPS_MS = {"interactive": 200, "relaxed": 2000}


def _classes() -> list[deployment_pb2.SloClass]:
    return [
        deployment_pb2.SloClass(
            id=name,
            slo=slo_pb2.Slo(
                ttft=Duration(seconds=2),
                itl=Duration(nanos=gap_ms * 1_000_000 % 10**9, seconds=gap_ms // 1000),
            ),
            expected_online_work=600.0,
        )
        for name, gap_ms in GAPS_MS.items()
    ]


async def _table(routes: object, *, routed: int) -> RouteTable:
    """The first table with so many routes, read as a gateway does."""
    while True:
        table = parse_table(await routes.read())  # type: ignore[attr-defined]
        if len(table.routes) == routed:
            return table


def _assigned(agent: FakeAgent) -> list[agent_service_pb2.AssignedReplica]:
    return list(agent.assignment.replicas) if agent.assignment else []


async def test_gateway_and_agent_learn_the_class_a_plan_holds_a_replica_to(start: Start) -> None:
    """Two classes that need two replicas: each replica is told its class, and its deployment's
    classes with their targets; the table lists them tightest first, and a request of each
    class finds a replica that keeps its promise.
    """
    running = await start()
    async with (
        FakeAgent(node="n1", port=running.port) as agent,
        watching(running) as routes,
    ):
        await running.apply(deployment(slo_classes=_classes(), max_replicas=2))
        held = {one.name: one.slo_class for one in await running.running("chat", 2)}
        assert set(held.values()) <= {"", *GAPS_MS}
        assert set(held.values()) & {"", "interactive"}, "nothing keeps the tightest promise"
        table = await _table(routes, routed=2)
        assert table.classes_of("chat") == tuple(GAPS_MS)
        assert {f"replicas/{one.replica}": one.slo_class for one in table.routes} == held
        for slo_class in GAPS_MS:
            chosen = choose(table, Traffic(), deployment="chat", slo_class=slo_class, now_s=0.0)
            assert isinstance(chosen, Route)
            assert slo_class == "relaxed" or chosen.slo_class in ("", "interactive")
        for assigned in _assigned(agent):
            assert assigned.replica.slo_class == held[assigned.replica.name]
            told = {one.id: one.slo.itl.ToMilliseconds() for one in assigned.spec.slo_classes}
            assert told == GAPS_MS


async def test_table_without_classes_is_as_it_was(start: Start) -> None:
    """Deployments without classes list none, and their replicas serve all."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port), watching(running) as routes:
        await running.apply(deployment())
        await running.running("chat", 1)
        table = await _table(routes, routed=1)
        assert table.slo_classes == () and table.routes[0].slo_class == ""


async def test_work_by_class_reaches_whoever_reads_the_replica(start: Start) -> None:
    """What an agent counts of each class is shown with the replica's load."""
    running = await start()
    load = replica_pb2.ReplicaLoad(
        online_work=50.0,
        online_work_by_class=[
            replica_pb2.ClassWork(slo_class="interactive", online_work=20.0),
            replica_pb2.ClassWork(slo_class="relaxed", online_work=30.0),
        ],
    )
    async with FakeAgent(node="n1", port=running.port) as agent:
        await running.apply(deployment(slo_classes=_classes()))
        (replica,) = await running.running("chat", 1)
        agent.loads[replica.name.removeprefix("replicas/")] = load

        async def look() -> dict[str, float] | None:
            return await _work(running) or None

        assert await until(look) == {"interactive": 20.0, "relaxed": 30.0}


async def _work(running: Running) -> dict[str, float]:
    (replica,) = await running.replicas("chat")
    return dict(class_work(replica.report.load))


@given(said=st.dictionaries(st.sampled_from(list(GAPS_MS)), st.floats()))
def test_work_by_class_is_never_beyond_reason(said: dict[str, float]) -> None:
    """An agent that says NaN, infinity or less than nothing counts as if it were silent."""
    load = replica_pb2.ReplicaLoad(
        online_work_by_class=[
            replica_pb2.ClassWork(slo_class=name, online_work=work) for name, work in said.items()
        ]
    )
    read = class_work(load)
    assert all(0.0 <= work < float("inf") for work in read.values())
    assert read == {name: work for name, work in said.items() if 0.0 <= work < float("inf")}


async def test_agent_of_an_older_release_leaves_memory_and_warmth_unknown(start: Start) -> None:
    """It tells neither: its node has no limit of host memory and no warm model, and places
    what it placed before; nor does its silence about classes fail anything.
    """
    running = await start()
    async with FakeAgent(node="n1", port=running.port):
        node = await running.node("n1")
        assert node.host_memory_bytes == 0 and not node.warm_models
        await running.apply(deployment(host_memory_bytes=1 << 50, slo_classes=_classes()))
        await running.running("chat", 1)
        assert await _work(running) == {}
