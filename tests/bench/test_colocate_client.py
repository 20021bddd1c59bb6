"""The load of one arm, against a server that speaks SGLang's event stream."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from bench.colocate.client import SloLabels, run_arm
from bench.colocate.slices import OfflinePrompts, Slice
from nodeagent.engine.client import EngineClient
from planner.slo import Outcome
from planner.workload.request import WorkloadRequest


class _Server:
    """Answers every request with its tokens, one event each; refuses ids with `refused`."""

    def __init__(self, *, refused: str = "none") -> None:
        self.refused = refused
        self.bodies: list[dict] = []
        self.open_offline = 0
        self.most_offline = 0

    async def generate(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        if self.refused in body["rid"]:
            return web.json_response({"error": {"message": "no"}}, status=400)
        is_offline = body["priority"] < 0
        self.open_offline += is_offline
        self.most_offline = max(self.most_offline, self.open_offline)
        answer = web.StreamResponse()
        answer.content_type = "text/event-stream"
        await answer.prepare(request)
        try:
            count = body["sampling_params"]["max_new_tokens"]
            for number in range(count):
                await asyncio.sleep(0.001)
                meta = {"finish_reason": {"type": "length"} if number == count - 1 else None}
                event = json.dumps({"output_ids": [1], "text": "", "meta_info": meta})
                await answer.write(f"data: {event}\n\n".encode())
            await answer.write(b"data: [DONE]\n\n")
        finally:
            self.open_offline -= is_offline
        return answer


@asynccontextmanager
async def _served(server: _Server) -> AsyncIterator[EngineClient]:
    app = web.Application()
    app.router.add_post("/generate", server.generate)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    client = EngineClient(f"http://127.0.0.1:{port}")
    try:
        yield client
    finally:
        await client.close()
        await runner.cleanup()


def _online(count: int) -> Slice:
    requests = tuple(
        WorkloadRequest(at_s=0.02 * i, prompt_tokens=3, output_tokens=4) for i in range(count)
    )
    return Slice(
        trace="t", start=0, seed=0, requests_per_s=50.0, length_scale=1.0, requests=requests,
        prompts=((1, 2, 3),) * count,
    )  # fmt: skip


def _run(server: _Server, *, online: Slice | None, offline: bool, window: int = 3):
    async def run():
        async with _served(server) as client:
            return await run_arm(
                client, online=online, duration_s=0.3, labels=SloLabels(ttft_ms=50.0, itl_ms=9.0),
                offline=OfflinePrompts(seed=0, mean_prompt_tokens=6, mean_output_tokens=4)
                if offline else None,
                window=window, settle_s=0.1, tag="t",
            )  # fmt: skip

    return asyncio.run(run())


def test_every_online_request_is_recorded_with_its_labels_when_replayed() -> None:
    """As many tokens as the trace says, targets for the plugin, priority of online work."""
    server = _Server()
    run = _run(server, online=_online(8), offline=False)
    assert [r.index for r in run.records] == list(range(8))
    assert {r.trace.outcome for r in run.records} == {Outcome.COMPLETED}
    assert {r.trace.output_tokens for r in run.records} == {4}
    assert all(r.sent_s >= r.trace.scheduled_s for r in run.records)
    params = server.bodies[0]["sampling_params"]
    assert params["ignore_eos"] is True
    assert 50.0 in params["custom_params"].values()
    assert not run.offline.prompts


def test_the_window_bounds_the_batch_and_ends_with_the_arm_when_it_is_saturating() -> None:
    """Never more than the window at once, always the next item, none after the arm."""
    server = _Server()
    run = _run(server, online=_online(4), offline=True, window=3)
    assert server.most_offline == 3
    assert run.offline.completed > 3
    rids = [b["rid"] for b in server.bodies if b["priority"] < 0]
    assert rids == sorted(rids)
    assert max(Counter(rids).values()) == 1
    batch = OfflinePrompts(seed=0, mean_prompt_tokens=6, mean_output_tokens=4)
    expected = [batch.lengths(i)[0] for i in range(run.offline.completed)]
    assert sum(t for _, t in run.offline.prompts) >= sum(expected)
    assert len(run.offline.waits_s) == len(run.offline.prompts)


def test_failures_are_counted_apart_when_the_engine_refuses() -> None:
    """A refused item or request is a failure with its cause, not a sample."""
    refused_online = _run(_Server(refused="on-"), online=_online(3), offline=False)
    assert {r.trace.outcome for r in refused_online.records} == {Outcome.FAILED}
    assert all("400" in r.error for r in refused_online.records)
    refused_offline = _run(_Server(refused="of-"), online=None, offline=True)
    assert refused_offline.offline.failed > 0
    assert refused_offline.offline.completed == 0
    assert not refused_offline.offline.waits_s
