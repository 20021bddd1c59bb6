"""A server whose slowness and failures the tests choose."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import grpc
import grpc.aio
import pytest
from slacktide.v1 import inference_service_pb2 as pb
from slacktide.v1 import inference_service_pb2_grpc
from slacktide.wire.server import FleetServer


class ScriptedServer(inference_service_pb2_grpc.InferenceServiceServicer):
    """Answers at once unless told otherwise; remembers when requests came."""

    def __init__(self) -> None:
        self.arrivals_s: list[float] = []
        self.requests: list[pb.GenerateRequest] = []
        self.delay_s = 0.0
        self.code: grpc.StatusCode | None = None
        self.finish = "length"
        self.cancelled = asyncio.Event()
        self.address = ""
        self.server = FleetServer(["slacktide.v1.InferenceService"])
        inference_service_pb2_grpc.add_InferenceServiceServicer_to_server(self, self.server.grpc)

    async def start(self) -> None:
        port = self.server.bind("127.0.0.1:0")
        await self.server.start()
        self.address = f"127.0.0.1:{port}"

    async def Generate(  # type: ignore[override]  # noqa: N802
        self, request: pb.GenerateRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> AsyncIterator[pb.GenerateResponse]:
        self.arrivals_s.append(monotonic())
        self.requests.append(request)
        if self.code is not None:
            await context.abort(self.code, "as the test wants")
        try:
            await asyncio.sleep(self.delay_s)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        first = pb.GenerateResponse(token_count=2)
        first.served.replica = "replicas/r1"
        yield first
        last = pb.GenerateResponse(token_count=1)
        if self.finish:
            last.finish.reason = self.finish
        yield last


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    await scripted.start()
    yield scripted
    await scripted.server.stop(grace_s=0)
