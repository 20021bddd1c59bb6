"""Fake agents and an in-process gateway around them."""

from collections.abc import AsyncIterator

import grpc.aio
import pytest
from fake_agent import FakeAgent  # beside this file
from slacktide.v1 import inference_service_pb2 as pb
from slacktide.v1 import inference_service_pb2_grpc, replica_pb2, routing_service_pb2
from slacktide.wire.server import FleetServer

from controlplane.gateway.agents import AgentChannels
from controlplane.gateway.book import RouteBook
from controlplane.gateway.proxy import SERVICE, GenerateProxy


class GatewayUnderTest:
    """A real gRPC gateway over fake agents; tests change its routes at will."""

    def __init__(self) -> None:
        self.book = RouteBook()
        self.channels = AgentChannels()
        self.proxy = GenerateProxy(self.book, self.channels, max_streams=50)
        self.server = FleetServer([SERVICE])
        self.server.grpc.add_generic_rpc_handlers((self.proxy.handler(),))
        self.agents: dict[str, FakeAgent] = {}
        self.table = routing_service_pb2.WatchRoutesResponse(
            revision=1, epoch=1, deployments=["deployments/chat", "deployments/empty"]
        )
        self.stub: inference_service_pb2_grpc.InferenceServiceAsyncStub
        self._channel: grpc.aio.Channel

    async def start(self) -> None:
        port = self.server.bind("127.0.0.1:0")
        await self.server.start()
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self.stub = inference_service_pb2_grpc.InferenceServiceStub(self._channel)  # type: ignore[assignment]

    async def add_agent(self, name: str, *, share: float = 1.0, max_running: int = 0) -> FakeAgent:
        agent = FakeAgent(f"n-{name}")
        self.agents[name] = agent
        self.table.routes.append(
            routing_service_pb2.Route(
                replica=f"replicas/{name}",
                deployment="deployments/chat",
                node=f"nodes/n-{name}",
                address=await agent.start(),
                online_share=share,
                state=replica_pb2.REPLICA_STATE_RUNNING,
                max_running_requests=max_running,
            )
        )
        self.publish()
        return agent

    def set_state(self, name: str, state: "replica_pb2.ReplicaState") -> None:
        for route in self.table.routes:
            if route.replica == f"replicas/{name}":
                route.state = state
        self.publish()

    def publish(self) -> None:
        self.table.revision += 1
        message = routing_service_pb2.WatchRoutesResponse()
        message.CopyFrom(self.table)
        assert self.book.accept(message, source="test")
        self.proxy.take_loads(message)

    def request(self, *, tokens: int = 3, deployment: str = "chat") -> pb.GenerateRequest:
        return pb.GenerateRequest(
            deployment=f"deployments/{deployment}",
            token_ids=pb.TokenIds(ids=[1, 2, 3]),
            sampling=pb.Sampling(max_tokens=tokens),
            request_id="r",
        )

    async def generate(
        self, *, tokens: int = 3, deployment: str = "chat", timeout_s: float = 10.0
    ) -> list[pb.GenerateResponse]:
        call = self.stub.Generate(
            self.request(tokens=tokens, deployment=deployment), timeout=timeout_s
        )
        return [message async for message in call]

    async def stop(self) -> None:
        await self._channel.close()
        await self.server.stop(grace_s=0)
        await self.channels.close_except(())
        for agent in self.agents.values():
            await agent.server.stop(grace_s=0)


@pytest.fixture
async def gateway() -> AsyncIterator[GatewayUnderTest]:
    under_test = GatewayUnderTest()
    await under_test.start()
    yield under_test
    await under_test.stop()
