"""A request's SLO class from a client to an engine: control plane, gateway and agent are real."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest
from agent_kit import running_agent
from google.protobuf.duration_pb2 import Duration
from slacktide.v1 import deployment_pb2, inference_service_pb2, routing_service_pb2, slo_pb2
from slacktide.v1.inference_service_pb2_grpc import InferenceServiceStub
from slacktide.wire.server import FleetServer

from controlplane.gateway.agents import AgentChannels
from controlplane.gateway.book import RouteBook
from controlplane.gateway.proxy import SERVICE, GenerateProxy
from controlplane.gateway.watch import watch_routes
from controlplane.messages.replicas import class_work
from tests.controlplane.server.conftest import (
    Running,
    Start,
    deployment,
    start,  # noqa: F401 - the fixture
    until,
)

GAPS_MS = {"interactive": 250, "relaxed": 750}


def _classes() -> list[deployment_pb2.SloClass]:
    return [
        deployment_pb2.SloClass(
            id=name,
            slo=slo_pb2.Slo(ttft=Duration(seconds=2), itl=Duration(nanos=gap_ms * 1_000_000)),
            expected_online_work=100.0,
        )
        for name, gap_ms in GAPS_MS.items()
    ]


@asynccontextmanager
async def _gateway(running: Running) -> AsyncIterator[tuple[InferenceServiceStub, RouteBook]]:
    """A gateway that watches the control plane, and a client of it."""
    book, channels = RouteBook(), AgentChannels()
    proxy = GenerateProxy(book, channels, max_streams=10)
    server = FleetServer([SERVICE])
    server.grpc.add_generic_rpc_handlers((proxy.handler(),))
    port = server.bind("127.0.0.1:0")
    await server.start()
    watch = asyncio.create_task(
        watch_routes(
            [f"127.0.0.1:{running.port}"],
            request=routing_service_pb2.WatchRoutesRequest(gateway="g1", version="0.1.0"),
            book=book,
            on_table=proxy.take_loads,
        )
    )
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield InferenceServiceStub(channel), book
    finally:
        watch.cancel()
        await server.stop(grace_s=0)
        await channels.close_except(())


async def _ask(stub: InferenceServiceStub, slo_class: str) -> str:
    """The class a request was served in."""
    request = inference_service_pb2.GenerateRequest(
        deployment="deployments/chat", text="hello", slo_class=slo_class
    )
    request.sampling.max_tokens = 3
    answers = [one async for one in stub.Generate(request, timeout=20)]
    return str(answers[0].served.slo_class)


async def test_class_reaches_the_engine_and_its_work_the_control_plane(
    tmp_path: Path,
    models_dir: Path,
    engine_python: Path,
    start: Start,  # noqa: F811
) -> None:
    """Each request is held to the SLO of its class, or of the tightest; an unknown one is
    refused and reaches no engine; the work of each is counted apart; and a class that an
    operator adds can be asked for without a restart of anything.
    """
    running = await start()
    address = f"127.0.0.1:{running.port}"
    await running.apply(deployment(slo_classes=_classes()[:1]))
    async with (
        running_agent(
            tmp_path / "agent", models_dir, engine_python, control_plane=address
        ) as agent,
        _gateway(running) as (stub, book),
    ):
        await running.running("chat", 1)

        async def is_routed() -> bool:
            return bool(book.table.routes)

        await until(is_routed)
        assert await _ask(stub, "") == "interactive"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _ask(stub, "relaxed")
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "one of its classes interactive" in (caught.value.details() or "")

        await running.apply(deployment(slo_classes=_classes()))

        async def is_known() -> bool:
            return book.table.classes_of("chat") == tuple(GAPS_MS)

        await until(is_known)
        replica = agent.agent._reconciler.find(  # what the agent was told meanwhile
            book.table.routes[0].replica
        )
        assert replica is not None

        async def is_told() -> bool:
            return len(replica.desired.slo_classes) == 2

        await until(is_told)
        assert await _ask(stub, "relaxed") == "relaxed"
        bodies = (await agent.seen())["bodies"]
        told = [one["sampling_params"]["custom_params"]["slacktide_itl_ms"] for one in bodies]
        assert told == [250.0, 750.0]

        async def is_counted() -> bool:
            (seen,) = await running.replicas("chat")
            work = class_work(seen.report.load)
            return set(work) == set(GAPS_MS) and min(work.values()) > 0.0

        await until(is_counted)
