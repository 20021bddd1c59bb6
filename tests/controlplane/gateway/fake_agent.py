"""A stand-in for an agent: InferenceService with scripted answers.

Runs inside a test, or as a process of its own: `python fake_agent.py LISTEN NAME GAP_S`.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc.aio
from slacktide.v1 import inference_service_pb2 as pb
from slacktide.v1 import inference_service_pb2_grpc
from slacktide.wire.errors import Refusal
from slacktide.wire.server import FleetServer


class FakeAgent(inference_service_pb2_grpc.InferenceServiceServicer):
    """Answers `max_tokens` tokens, `gap_s` apart, and remembers what it saw."""

    def __init__(self, node: str, *, gap_s: float = 0.005) -> None:
        self.node = node
        self.gap_s = gap_s
        self.online_running = 1
        self.refusal: Refusal | None = None
        self.fail_after: int | None = None
        self.before_first: Callable[[], Awaitable[object]] | None = None
        self.requests: list[pb.GenerateRequest] = []
        self.remaining_s: list[float | None] = []
        self.cancelled = asyncio.Event()
        self.arrived = asyncio.Event()
        self.server = FleetServer(["slacktide.v1.InferenceService"])
        inference_service_pb2_grpc.add_InferenceServiceServicer_to_server(self, self.server.grpc)

    async def start(self, listen: str = "127.0.0.1:0") -> str:
        port = self.server.bind(listen)
        await self.server.start()
        await self.server.set_serving(True)
        return f"{listen.rpartition(':')[0]}:{port}"

    async def Generate(  # type: ignore[override]  # noqa: N802
        self, request: pb.GenerateRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> AsyncIterator[pb.GenerateResponse]:
        self.requests.append(request)
        self.remaining_s.append(context.time_remaining())
        self.arrived.set()
        try:
            if self.refusal is not None:
                raise self.refusal
            if self.before_first is not None:
                await self.before_first()
            count = request.sampling.max_tokens or 3
            for i in range(count):
                await asyncio.sleep(self.gap_s)
                if i == self.fail_after:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "engine died")
                yield self._message(request, i, is_last=i == count - 1)
        except (asyncio.CancelledError, GeneratorExit):  # waiting, or blocked in a send
            self.cancelled.set()
            raise

    def _message(
        self, request: pb.GenerateRequest, i: int, *, is_last: bool
    ) -> pb.GenerateResponse:
        message = pb.GenerateResponse(text=f"{self.node}-{i} ", token_ids=[i], token_count=1)
        if i == 0:
            message.served.replica = request.replica
            message.served.node = f"nodes/{self.node}"
            message.served.load.online_running = self.online_running
        if is_last:
            message.finish.reason = "length"
            message.finish.output_tokens = i + 1
            message.finish.load.online_running = self.online_running
        return message


async def _main(listen: str, node: str, gap_s: str) -> None:
    agent = FakeAgent(node, gap_s=float(gap_s))
    print(await agent.start(listen), flush=True)
    await agent.server.grpc.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
