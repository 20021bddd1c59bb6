"""Online requests through a real gRPC server to an engine process."""

import asyncio
import os
import signal

import grpc
import grpc.aio
import psutil
import pytest
from agent_kit import AgentUnderTest, make_assignment, until
from controlplane_fake import FakeControlPlane
from slacktide.v1 import inference_service_pb2, replica_pb2

RUNNING = replica_pb2.REPLICA_STATE_RUNNING


async def test_generate_streams_tokens_with_labels_when_the_replica_runs(
    serving: AgentUnderTest,
) -> None:
    """One message a token, who serves it in the first, the end in the last; the engine sees
    an online priority, the SLO and a request id of fixed length.
    """
    responses = await serving.generate(max_tokens=5)
    assert [list(r.token_ids) for r in responses] == [[1], [2], [3], [4], [5]]
    assert responses[0].served.replica == "replicas/r1"
    assert not responses[1].HasField("served")
    assert responses[-1].finish.reason == "length"
    assert responses[-1].finish.load.online_tokens_total == 10
    (body,) = (await serving.seen())["bodies"]
    assert body["priority"] == 0
    assert len(body["rid"]) == 32
    assert body["sampling_params"]["custom_params"]["slacktide_itl_ms"] == 500.0


async def test_chat_streams_text_when_a_conversation_is_given(serving: AgentUnderTest) -> None:
    """A conversation is rendered by the engine; text and counts come back."""
    request = inference_service_pb2.GenerateRequest(deployment="deployments/chat")
    request.conversation.messages.add(role="user", content="hi")
    request.sampling.max_tokens = 3
    responses = [r async for r in serving.stub.Generate(request, timeout=20)]
    assert "".join(r.text for r in responses) == "c1 c2 c3 "
    assert sum(r.token_count for r in responses) == 3
    assert responses[-1].finish.cached_tokens == 3


async def test_generate_refuses_each_bad_input_with_its_own_error(
    serving: AgentUnderTest,
) -> None:
    """Unknown deployment, too long a prompt, tokens the model lacks, bad sampling, no prompt:
    one clear status each, with field, observed and allowed; none reaches the engine.
    """

    async def ask(**fields: object) -> grpc.aio.AioRpcError:
        values = {"deployment": "deployments/chat", "text": "x", **fields}
        request = inference_service_pb2.GenerateRequest(**values)  # type: ignore[arg-type]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            [r async for r in serving.stub.Generate(request, timeout=20)]
        return caught.value

    sampling, ids = inference_service_pb2.Sampling, inference_service_pb2.TokenIds
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    unknown = await ask(deployment="deployments/other")
    assert unknown.code() is grpc.StatusCode.NOT_FOUND
    elsewhere = await ask(replica="replicas/r9")
    assert elsewhere.code() is grpc.StatusCode.UNAVAILABLE
    for error, words in (
        (await ask(text="refuse"), ["9000 tokens"]),
        (await ask(sampling=sampling(max_tokens=-1)), ["max_tokens", "-1", "> 0"]),
        (await ask(sampling=sampling(max_tokens=513)), ["513", "512"]),
        (await ask(sampling=sampling(temperature=-0.5)), ["temperature", "-0.5"]),
        (await ask(sampling=sampling(temperature=float("nan"))), ["temperature", "nan"]),
        (await ask(sampling=sampling(top_p=0.0)), ["top_p", "0"]),
        (await ask(text=""), ["text", "empty"]),
        (await ask(deployment="Chat"), ["deployment", "Chat"]),
        (await ask(text=None, token_ids=ids()), ["token_ids", "empty"]),
        (await ask(text=None, token_ids=ids(ids=[3, -1])), ["token_ids", "-1", ">= 0"]),
        (await ask(text=None, token_ids=ids(ids=[3, 32])), ["token_ids", "32", "0 to 31"]),
        (await ask(text=None), ["prompt", "missing"]),
        (await ask(sampling=sampling(temperature=float("inf"))), ["temperature", "inf"]),
        (await ask(sampling=sampling(top_p=float("nan"))), ["top_p", "nan"]),
        (await ask(sampling=sampling(top_k=0)), ["top_k", "0", ">= 1"]),
        (await ask(sampling=sampling(stop=["s"] * 17)), ["stop", "17", "16"]),
        (await ask(sampling=sampling(stop=["s" * 257])), ["stop[0]", "257", "256"]),
        (await ask(sampling=sampling(stop=[""])), ["stop[0]", "0 characters"]),
    ):
        assert error.code() is invalid, words
        assert all(word in (error.details() or "") for word in words), error.details()


async def test_generate_aborts_in_the_engine_when_the_caller_goes(
    serving: AgentUnderTest,
) -> None:
    """A cancelled call ends its request in the engine within a moment."""
    request = inference_service_pb2.GenerateRequest(deployment="deployments/chat", text="wait")
    call = serving.stub.Generate(request, timeout=60)
    reading = asyncio.ensure_future(call.read())
    running = (await serving.seen_until(lambda seen: seen["running"]))["running"]
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await serving.seen_until(lambda seen: running[0] in seen["aborted"])


async def test_generate_is_contended_when_the_replica_holds_its_limit(
    serving: AgentUnderTest,
) -> None:
    """Beyond eight requests a running slot, the answer is RESOURCE_EXHAUSTED, at once."""
    request = inference_service_pb2.GenerateRequest(deployment="deployments/chat", text="wait")
    calls = [serving.stub.Generate(request, timeout=60) for _ in range(32)]
    reads = [asyncio.ensure_future(call.read()) for call in calls]
    await serving.seen_until(lambda seen: len(seen["running"]) == 32)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await serving.generate()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    for call in calls:
        call.cancel()
    await asyncio.gather(*reads, return_exceptions=True)


async def test_engine_is_restarted_when_it_dies_amid_a_stream(
    serving: AgentUnderTest, control_plane: FakeControlPlane
) -> None:
    """The stream ends UNAVAILABLE, never as if complete; a new engine serves soon after."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await serving.generate("die")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await until(lambda: (r := control_plane.replica()) is not None and r.starts == 2)
    await until(lambda: control_plane.is_in(RUNNING))
    assert len(await serving.generate()) == 4


async def test_latencies_are_reported_when_requests_ended(
    serving: AgentUnderTest, control_plane: FakeControlPlane
) -> None:
    """Completed requests count and attain; what the caller left counts for nothing."""
    for _ in range(3):
        await serving.generate()

    def total() -> int:
        return sum(r.latency.requests for report in control_plane.reports for r in report.replicas)

    await until(lambda: total() == 3)
    windows = [r.latency for report in control_plane.reports for r in report.replicas]
    assert sum(w.attained for w in windows) == 3
    assert max(w.ttft_p50_ms for w in windows) > 0


async def test_streams_finish_when_the_replica_is_drained(
    serving: AgentUnderTest, control_plane: FakeControlPlane
) -> None:
    """A stream under way ends whole within the grace; new requests go elsewhere."""
    running = asyncio.ensure_future(serving.generate(max_tokens=400))
    await serving.seen_until(lambda seen: seen["running"])
    control_plane.send(make_assignment(revision=2, desired=replica_pb2.DESIRED_STATE_STOPPED))
    await until(lambda: control_plane.is_in(replica_pb2.REPLICA_STATE_DRAINING))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await serving.generate()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert (await running)[-1].finish.output_tokens == 400
    await until(lambda: control_plane.is_in(replica_pb2.REPLICA_STATE_STOPPED))


async def test_engine_is_restarted_when_it_is_killed(
    serving: AgentUnderTest, control_plane: FakeControlPlane
) -> None:
    """SIGKILL of the launcher alone is seen, reported with its status, and healed."""
    launcher = next(
        p
        for p in psutil.Process().children(recursive=True)
        if any("engine_fake" in word for word in p.cmdline()) and "reaper" not in str(p.cmdline())
    )
    os.kill(launcher.pid, signal.SIGKILL)
    await until(lambda: (r := control_plane.replica()) is not None and "137" in r.message)
    await until(lambda: control_plane.is_in(RUNNING))
