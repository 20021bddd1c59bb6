"""The engine's HTTP interface, against a fake that speaks SGLang's routes."""

from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestServer
from engine_fake import FakeEngine

from nodeagent.engine.client import EngineClient
from nodeagent.engine.errors import EngineRefusedError, EngineUnavailableError
from nodeagent.plugin_contract import encode_budgets, parse_plugin_state
from planner.batching.state import Budgets


@pytest.fixture
async def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def client(engine: FakeEngine) -> AsyncIterator[EngineClient]:
    async with TestServer(engine.make_app()) as server:
        client = EngineClient(str(server.make_url("")).rstrip("/"))
        yield client
        await client.close()


def _body(text: str, *, tokens: int = 3) -> dict[str, object]:
    return {"rid": "a" * 32, "text": text, "sampling_params": {"max_new_tokens": tokens}}


async def test_generate_streams_deltas_and_ends_with_finish(client: EngineClient) -> None:
    """Each event is one chunk with its own tokens; the last says how it ended."""
    chunks = [chunk async for chunk in client.generate(_body("hello"))]
    assert [chunk.token_ids for chunk in chunks] == [(1,), (2,), (3,)]
    assert "".join(chunk.text for chunk in chunks) == "t1 t2 t3 "
    finish = chunks[-1].finish
    assert finish is not None
    assert (finish.reason, finish.prompt_tokens, finish.output_tokens) == ("length", 5, 3)


async def test_chat_streams_counts_from_usage_when_chunks_have_no_ids(
    client: EngineClient,
) -> None:
    """The empty role chunk is left out; token counts add up to the usage."""
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4, "rid": "b" * 32}
    chunks = [chunk async for chunk in client.chat(body)]
    assert [chunk.token_count for chunk in chunks] == [1, 1, 1, 1, 0]
    finish = chunks[-1].finish
    assert finish is not None
    assert (finish.reason, finish.cached_tokens, finish.output_tokens) == ("stop", 3, 4)


async def test_errors_keep_status_and_sentence_when_the_engine_refuses(
    client: EngineClient,
) -> None:
    """An error in the stream and an error answer are told alike."""
    with pytest.raises(EngineRefusedError, match="9000 tokens") as in_stream:
        [chunk async for chunk in client.generate(_body("refuse"))]
    chat = {"messages": [{"role": "user", "content": "refuse"}], "max_tokens": 1}
    with pytest.raises(EngineRefusedError, match="9000 tokens") as as_answer:
        [chunk async for chunk in client.chat(chat)]
    assert in_stream.value.status == as_answer.value.status == 400


async def test_a_stream_that_breaks_off_is_no_answer(client: EngineClient) -> None:
    """A connection lost amid tokens is never taken for an end."""
    with pytest.raises(EngineUnavailableError):
        [chunk async for chunk in client.generate(_body("die"))]


async def test_settings_are_read_back_when_set(client: EngineClient) -> None:
    """Budgets set through set_internal_state appear in server_info."""
    await client.set_internal_state(encode_budgets(Budgets(enabled=False, latency_budget_ms=7.0)))
    state = parse_plugin_state(await client.server_info())
    assert state is not None
    assert (state.budgets.enabled, state.budgets.latency_budget_ms) == (False, 7.0)


async def test_a_dead_engine_is_unavailable_not_a_surprise() -> None:
    """Every call to a port nobody listens at ends in EngineUnavailableError or False."""
    client = EngineClient("http://127.0.0.1:1")
    try:
        assert not await client.is_healthy()
        with pytest.raises(EngineUnavailableError):
            await client.server_info()
        with pytest.raises(EngineUnavailableError):
            await client.post_item("/v1/completions", {}, timeout_s=1)
    finally:
        await client.close()
