"""Generate through a real gRPC gateway and fake agents."""

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from slacktide.v1 import inference_service_pb2 as pb
from slacktide.v1 import replica_pb2
from slacktide.wire.errors import Refusal

if TYPE_CHECKING:
    from conftest import GatewayUnderTest


async def _code(gateway: "GatewayUnderTest", **given: object) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.generate(**given)  # type: ignore[arg-type]
    return caught.value


def _reason(error: grpc.aio.AioRpcError) -> str:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            return str(info.reason)
    raise AssertionError("no ErrorInfo")


async def test_stream_arrives_unchanged_when_proxied(gateway: "GatewayUnderTest") -> None:
    """Every message the agent sent reaches the client, served and finish included."""
    agent = await gateway.add_agent("r1")
    messages = await gateway.generate(tokens=4)
    assert [m.token_ids[0] for m in messages] == [0, 1, 2, 3]
    assert messages[0].served.replica == "replicas/r1"
    assert messages[-1].finish.reason == "length"
    (seen,) = agent.requests
    assert seen.replica == "replicas/r1"
    assert seen.token_ids.ids == [1, 2, 3]
    assert seen.request_id == "r"


async def test_requests_divide_by_share_when_sent_together(gateway: "GatewayUnderTest") -> None:
    """Shares of 3 to 1 hold for concurrent requests."""
    await gateway.add_agent("r1", share=0.75)
    await gateway.add_agent("r2", share=0.25)
    answers = await asyncio.gather(*(gateway.generate() for _ in range(40)))
    served = Counter(messages[0].served.replica for messages in answers)
    assert abs(served["replicas/r1"] - 30) <= 3


async def test_load_moves_away_when_an_agent_reports_foreign_requests(
    gateway: "GatewayUnderTest",
) -> None:
    """The load in Served and Finish steers the next requests."""
    busy = await gateway.add_agent("r1")
    await gateway.add_agent("r2")
    busy.online_running = 50
    served = [(await gateway.generate())[0].served.replica for _ in range(6)]
    assert served.count("replicas/r1") == 1


async def test_request_is_retried_when_the_first_replica_refuses(
    gateway: "GatewayUnderTest",
) -> None:
    """A draining agent's refusal costs the client nothing."""
    draining = await gateway.add_agent("r1", share=100.0)
    await gateway.add_agent("r2")
    draining.refusal = Refusal(
        code=grpc.StatusCode.UNAVAILABLE, reason="REPLICA_DRAINING", message="drains"
    )
    messages = await gateway.generate()
    assert messages[0].served.replica == "replicas/r2"
    assert len(draining.requests) == 1


async def test_request_is_retried_when_the_first_agent_dies_before_a_token(
    gateway: "GatewayUnderTest",
) -> None:
    """The connection is lost with the request waiting: it goes elsewhere at once."""
    dying = await gateway.add_agent("r1", share=100.0)
    await gateway.add_agent("r2")
    dying.before_first = asyncio.Event().wait
    waiting = asyncio.create_task(gateway.generate())
    await dying.arrived.wait()
    await dying.server.grpc.stop(0)
    messages = await asyncio.wait_for(waiting, 5)
    assert messages[0].served.replica == "replicas/r2"


async def test_request_is_not_repeated_when_a_token_was_sent(gateway: "GatewayUnderTest") -> None:
    """After a token the client gets UNAVAILABLE with the replica's name, and decides."""
    dying = await gateway.add_agent("r1", share=100.0)
    other = await gateway.add_agent("r2")
    dying.fail_after = 2
    call = gateway.stub.Generate(gateway.request(tokens=5), timeout=5)
    received = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for message in call:
            received.append(message)
    assert len(received) == 2
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert _reason(caught.value) == "STREAM_LOST"
    assert not other.requests


async def test_refusal_passes_with_details_when_it_cannot_be_retried(
    gateway: "GatewayUnderTest",
) -> None:
    """An agent's INVALID_ARGUMENT is the client's to see, and not another replica's."""
    strict = await gateway.add_agent("r1", share=100.0)
    other = await gateway.add_agent("r2")
    strict.refusal = Refusal(
        code=grpc.StatusCode.INVALID_ARGUMENT,
        reason="PROMPT_TOO_LONG",
        message="prompt: 9 tokens, allowed 8",
    )
    error = await _code(gateway)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert _reason(error) == "PROMPT_TOO_LONG"
    assert not other.requests


async def test_agent_call_is_cancelled_when_the_client_cancels(
    gateway: "GatewayUnderTest",
) -> None:
    """The engine stops working for a client that went, before and after the first token."""
    agent = await gateway.add_agent("r1")
    for before_first in (asyncio.Event().wait, None):
        agent.before_first = before_first
        agent.cancelled.clear()
        agent.arrived.clear()
        call = gateway.stub.Generate(gateway.request(tokens=10_000), timeout=30)
        if before_first is None:
            await call.read()
        else:
            await agent.arrived.wait()
        call.cancel()
        await asyncio.wait_for(agent.cancelled.wait(), 5)
    await asyncio.sleep(0)
    assert len(gateway.proxy.attempts) == 0


async def test_agent_call_is_cancelled_when_a_client_that_never_reads_cancels(
    gateway: "GatewayUnderTest",
) -> None:
    """Also while the gateway is blocked sending, held back by flow control."""
    agent = await gateway.add_agent("r1")
    agent.gap_s = 0.0
    call = gateway.stub.Generate(gateway.request(tokens=1_000_000), timeout=30)
    await agent.arrived.wait()
    await asyncio.sleep(0.3)
    call.cancel()
    await asyncio.wait_for(agent.cancelled.wait(), 5)


@pytest.mark.parametrize("timeout_s", [7.0, 12.0, 120.0])
async def test_deadline_reaches_the_agent_less_a_margin_when_the_caller_sets_one(
    gateway: "GatewayUnderTest", timeout_s: float
) -> None:
    """The agent knows how long the client waits, also where gRPC rounds it up to send it."""
    agent = await gateway.add_agent("r1")
    await gateway.generate(timeout_s=timeout_s)
    (remaining_s,) = agent.remaining_s
    assert remaining_s is not None
    assert 0.5 * timeout_s < remaining_s < timeout_s - 0.005


async def test_request_ends_by_its_deadline_when_no_replica_answers(
    gateway: "GatewayUnderTest",
) -> None:
    """Retries and waiting never outlive the caller."""
    agent = await gateway.add_agent("r1")
    agent.before_first = asyncio.Event().wait
    error = await _code(gateway, timeout_s=0.3)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(agent.cancelled.wait(), 5)


async def test_request_waits_when_its_only_replica_drains_and_another_comes(
    gateway: "GatewayUnderTest",
) -> None:
    """Between a replica's drain and its successor's route a request is held, not failed."""
    await gateway.add_agent("r1")
    gateway.set_state("r1", replica_pb2.REPLICA_STATE_DRAINING)
    waiting = asyncio.create_task(gateway.generate())
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await gateway.add_agent("r2")
    messages = await asyncio.wait_for(waiting, 2)
    assert messages[0].served.replica == "replicas/r2"


async def test_request_moves_when_its_replica_is_lost_before_a_token(
    gateway: "GatewayUnderTest",
) -> None:
    """A table that says LOST gives up on a silent agent; streams with tokens go on."""
    silent = await gateway.add_agent("r1", share=100.0)
    await gateway.add_agent("r2")
    streaming = gateway.stub.Generate(gateway.request(tokens=60), timeout=10)
    first = await streaming.read()
    assert isinstance(first, pb.GenerateResponse)
    silent.before_first = asyncio.Event().wait
    silent.arrived.clear()
    waiting = asyncio.create_task(gateway.generate())
    await silent.arrived.wait()
    gateway.set_state("r1", replica_pb2.REPLICA_STATE_LOST)
    messages = await asyncio.wait_for(waiting, 2)
    assert messages[0].served.replica == "replicas/r2"
    last = first
    while isinstance(message := await streaming.read(), pb.GenerateResponse):
        last = message
    assert last.finish.reason == "length"


async def test_request_survives_when_a_table_forgets_all_replicas_for_a_moment(
    gateway: "GatewayUnderTest",
) -> None:
    """A control plane that restarts may know no replica yet: nothing is dropped or refused."""
    agent = await gateway.add_agent("r1")
    go_on = asyncio.Event()
    agent.before_first = go_on.wait
    waiting = asyncio.create_task(gateway.generate())
    await agent.arrived.wait()
    routes = list(gateway.table.routes)
    del gateway.table.routes[:]
    gateway.publish()
    new = asyncio.create_task(gateway.generate())
    go_on.set()
    assert (await asyncio.wait_for(waiting, 2))[-1].finish.reason == "length"
    assert not new.done()
    gateway.table.routes.extend(routes)
    gateway.publish()
    assert (await asyncio.wait_for(new, 2))[-1].finish.reason == "length"


@pytest.mark.parametrize(
    ("deployment", "code", "reason"),
    [
        ("nope", grpc.StatusCode.NOT_FOUND, "UNKNOWN_DEPLOYMENT"),
        ("empty", grpc.StatusCode.UNAVAILABLE, "NONE_RUNNING"),
        ("Not a name", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    ],
)
async def test_refusal_names_its_reason_when_no_replica_can_take_the_request(
    gateway: "GatewayUnderTest", deployment: str, code: grpc.StatusCode, reason: str
) -> None:
    """Unknown, without replicas, malformed: three codes."""
    await gateway.add_agent("r1")
    error = await _code(gateway, deployment=deployment)
    assert error.code() is code
    assert _reason(error) == reason


async def test_request_is_shed_when_every_replica_is_full(gateway: "GatewayUnderTest") -> None:
    """RESOURCE_EXHAUSTED with RetryInfo once a replica holds its batch and a queue as deep."""
    agent = await gateway.add_agent("r1", max_running=1)
    agent.before_first = asyncio.Event().wait
    held = [gateway.stub.Generate(gateway.request(), timeout=10) for _ in range(2)]
    while len(agent.requests) < 2:
        agent.arrived.clear()
        await agent.arrived.wait()
    error = await _code(gateway)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    assert retry.retry_delay.seconds == 1
    for call in held:
        call.cancel()


async def test_request_is_refused_when_there_is_no_table_yet(gateway: "GatewayUnderTest") -> None:
    """Not NOT_FOUND: the gateway does not know yet what exists."""
    error = await _code(gateway)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert _reason(error) == "NO_ROUTE_TABLE"


@pytest.mark.parametrize(
    "wrong",
    [
        pb.GenerateRequest(deployment="deployments/chat"),
        pb.GenerateRequest(deployment="deployments/chat", token_ids=pb.TokenIds()),
        pb.GenerateRequest(deployment="deployments/chat", conversation=pb.Conversation()),
        pb.GenerateRequest(
            deployment="deployments/chat", text="x", sampling=pb.Sampling(max_tokens=-1)
        ),
        pb.GenerateRequest(deployment="deployments/chat", text="x", request_id="r" * 129),
    ],
)
async def test_request_is_refused_when_it_is_malformed(
    gateway: "GatewayUnderTest", wrong: pb.GenerateRequest
) -> None:
    """Bad input never reaches an agent."""
    agent = await gateway.add_agent("r1")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.stub.Generate(wrong, timeout=5).read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not agent.requests
