"""SLO classes of requests, through a real gRPC gateway and fake agents."""

import logging
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from slacktide.v1 import inference_service_pb2 as pb
from slacktide.v1 import replica_pb2, routing_service_pb2

if TYPE_CHECKING:
    from conftest import GatewayUnderTest
    from fake_agent import FakeAgent


async def _two(gateway: "GatewayUnderTest") -> "tuple[FakeAgent, FakeAgent]":
    """r1 held to interactive, r2 to relaxed, with nearly all of the share."""
    tight = await gateway.add_agent("r1", share=0.1)
    loose = await gateway.add_agent("r2", share=0.9)
    for route, name in zip(gateway.table.routes, ("interactive", "relaxed"), strict=True):
        route.slo_class = name
    gateway.table.slo_classes.append(
        routing_service_pb2.DeploymentClasses(
            deployment="deployments/chat", slo_classes=["interactive", "relaxed"]
        )
    )
    gateway.publish()
    return tight, loose


async def _ask(gateway: "GatewayUnderTest", slo_class: str = "") -> str:
    """Who serves a request of that class."""
    request = gateway.request()
    request.slo_class = slo_class
    messages = [one async for one in gateway.stub.Generate(request, timeout=10)]
    return messages[0].served.replica.removeprefix("replicas/")


async def _refused(
    gateway: "GatewayUnderTest", request: pb.GenerateRequest
) -> tuple[grpc.aio.AioRpcError, str, list[str]]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in gateway.stub.Generate(request, timeout=10):
            pass
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]
    assert status is not None
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        assert detail.Unpack(info) or detail.Unpack(bad) or detail
    return caught.value, str(info.reason), [one.field for one in bad.field_violations]


async def test_request_goes_to_a_replica_of_its_class_and_names_it(
    gateway: "GatewayUnderTest",
) -> None:
    """The agent is told the class, also the tightest of a request that names none; the
    prompt arrives as it was sent.
    """
    tight, loose = await _two(gateway)
    assert {await _ask(gateway, "interactive") for _ in range(5)} == {"r1"}
    assert {await _ask(gateway) for _ in range(5)} == {"r1"}
    assert [one.slo_class for one in tight.requests] == ["interactive"] * 10
    assert "r2" in {await _ask(gateway, "relaxed") for _ in range(5)}
    assert {one.slo_class for one in loose.requests} == {"relaxed"}
    assert {tuple(one.token_ids.ids) for one in tight.requests} == {(1, 2, 3)}


async def test_unknown_class_is_refused_at_once_and_reaches_no_agent(
    gateway: "GatewayUnderTest",
) -> None:
    """INVALID_ARGUMENT on field slo_class, with the classes there are."""
    tight, loose = await _two(gateway)
    request = gateway.request()
    request.slo_class = "gold"
    error, reason, fields = await _refused(gateway, request)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (reason, fields) == ("UNKNOWN_CLASS", ["slo_class"])
    for word in ("deployment chat", "gold", "interactive, relaxed"):
        assert word in (error.details() or "")
    assert not tight.requests and not loose.requests


async def test_class_of_a_deployment_without_classes_is_refused(
    gateway: "GatewayUnderTest",
) -> None:
    """It says that there are none, rather than serving it as it pleases."""
    agent = await gateway.add_agent("r1")
    request = gateway.request()
    request.slo_class = "interactive"
    error, reason, _ = await _refused(gateway, request)
    assert reason == "UNKNOWN_CLASS" and "has no classes" in (error.details() or "")
    await gateway.generate()
    assert [one.slo_class for one in agent.requests] == [""]


async def test_looser_replica_stands_in_while_none_of_the_class_runs(
    gateway: "GatewayUnderTest", caplog: pytest.LogCaptureFixture
) -> None:
    """The request keeps its class, so that its own SLO goes with it; one line says so, with
    ids and nothing of the prompt; the class's own replica takes over when it is back.
    """
    _, loose = await _two(gateway)
    gateway.set_state("r1", replica_pb2.REPLICA_STATE_DRAINING)
    with caplog.at_level(logging.WARNING):
        assert {await _ask(gateway, "interactive") for _ in range(4)} == {"r2"}
    assert {one.slo_class for one in loose.requests} == {"interactive"}
    (line,) = [one.getMessage() for one in caplog.records if "stand_in_serves" in one.getMessage()]
    for word in ("deployment=chat", "slo_class=interactive", "replica=r2", "held_to=relaxed"):
        assert word in line
    assert "[1, 2, 3]" not in line
    gateway.set_state("r1", replica_pb2.REPLICA_STATE_RUNNING)
    assert await _ask(gateway, "interactive") == "r1"


async def test_table_with_classes_outlives_the_control_plane(gateway: "GatewayUnderTest") -> None:
    """A table is a newer one when only its classes differ; a malformed one is not taken."""
    await _two(gateway)
    assert gateway.book.table.classes_of("chat") == ("interactive", "relaxed")
    gateway.table.slo_classes[0].slo_classes.append("batchlike")
    gateway.publish()
    assert gateway.book.table.classes_of("chat")[-1] == "batchlike"
    broken = routing_service_pb2.WatchRoutesResponse()
    broken.CopyFrom(gateway.table)
    broken.revision += 1
    broken.slo_classes[0].deployment = "chat"
    with pytest.raises(ValueError, match="deployments"):
        gateway.book.accept(broken, source="test")
    assert gateway.book.table.classes_of("chat")[-1] == "batchlike"
