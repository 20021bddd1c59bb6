"""A scripted agent: speaks AgentService as the real one does, and runs no engine."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
import grpc.aio
from slacktide.v1 import (
    agent_service_pb2,
    agent_service_pb2_grpc,
    node_pb2,
    replica_pb2,
)

RUNNING = replica_pb2.REPLICA_STATE_RUNNING
STARTING = replica_pb2.REPLICA_STATE_STARTING
STOPPED = replica_pb2.REPLICA_STATE_STOPPED
GIB = 1 << 30


@dataclass(kw_only=True)
class FakeAgent:
    """One node. Replicas it is assigned go to `starts_as`; stopped ones are reported so."""

    node: str
    port: int
    devices: int = 2
    memory_bytes: int = 4 * GIB
    starts_as: "replica_pb2.ReplicaState" = RUNNING
    protocol_version: int = 1
    agent_version: str = "0.1.0"
    sglang_version: str = "0.5.23"
    address: str = ""
    given_devices: "list[node_pb2.Device] | None" = None
    period_s: float = 0.05
    facts: dict[str, agent_service_pb2.ModelFacts] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    warm_models: list[str] = field(default_factory=list)
    loads: dict[str, replica_pb2.ReplicaLoad] = field(default_factory=dict)
    replicas: dict[str, int] = field(default_factory=dict)  # id -> state
    incarnation: str = field(default_factory=lambda: str(uuid.uuid4()))

    def __post_init__(self) -> None:
        self.welcome: agent_service_pb2.Welcome | None = None
        self.assignment: agent_service_pb2.NodeAssignment | None = None
        self.assignments: list[agent_service_pb2.NodeAssignment] = []
        self.grants = 0
        self._is_answered = asyncio.Event()
        self.error: grpc.aio.AioRpcError | None = None
        self.is_silent = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "FakeAgent":
        self.connect()
        await asyncio.wait_for(self._is_answered.wait(), 30)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.disconnect()

    def connect(self, port: int | None = None) -> None:
        """Begins a session, at another port if given."""
        self.port = port or self.port
        self.error = None
        self.is_silent = False
        self._task = asyncio.create_task(self._run())

    async def disconnect(self) -> None:
        """Ends the session as SIGKILL does: without a word."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def finish_starts(self) -> None:
        """Everything that is starting runs now, and what comes later too."""
        self.starts_as = RUNNING
        for id_, state in self.replicas.items():
            if state == STARTING:
                self.replicas[id_] = RUNNING

    @property
    def wanted_models(self) -> list[str]:
        """Models whose facts it is asked for."""
        return list(self.assignment.wanted_models) if self.assignment else []

    async def _run(self) -> None:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.port}")
        async with channel:
            stub = agent_service_pb2_grpc.AgentServiceStub(channel)
            call = stub.Session(self._requests())
            try:
                async for response in call:
                    self._take(response)
            except grpc.aio.AioRpcError as error:
                self.error = error
            finally:
                self._is_answered.set()

    async def _requests(self) -> AsyncIterator[agent_service_pb2.SessionRequest]:
        yield agent_service_pb2.SessionRequest(
            hello=agent_service_pb2.Hello(
                node=node_pb2.Node(
                    name=f"nodes/{self.node}",
                    address=self.address or f"{self.node}.test:7411",
                    devices=self.given_devices
                    if self.given_devices is not None
                    else [
                        node_pb2.Device(
                            index=index, device_type="cpu", memory_bytes=self.memory_bytes
                        )
                        for index in range(self.devices)
                    ],
                    agent_version=self.agent_version,
                    sglang_version=self.sglang_version,
                    labels=self.labels,
                    warm_models=self.warm_models,
                ),
                protocol_version=self.protocol_version,
                incarnation=self.incarnation,
                replicas=self._reports(),
            )
        )
        while True:
            await asyncio.sleep(self.period_s)
            if self.is_silent:
                continue
            yield agent_service_pb2.SessionRequest(
                report=agent_service_pb2.NodeReport(
                    replicas=self._reports(),
                    revision=self.assignment.revision if self.assignment else 0,
                    models=[
                        self.facts[model] for model in self.wanted_models if model in self.facts
                    ],
                    warm_models=self.warm_models,
                )
            )

    def _reports(self) -> list[replica_pb2.ReplicaReport]:
        return [
            replica_pb2.ReplicaReport(
                replica=f"replicas/{id_}",
                state=state,
                engine_version="0.5.23",
                load=self.loads.get(id_),
            )
            for id_, state in self.replicas.items()
        ]

    def _take(self, response: agent_service_pb2.SessionResponse) -> None:
        match response.WhichOneof("message"):
            case "welcome":
                self.welcome = response.welcome
                self._is_answered.set()
            case "grant":
                self.grants += 1
            case "assignment":
                self.assignment = response.assignment
                self.assignments.append(response.assignment)
                self._reconcile(response.assignment)

    def _reconcile(self, assignment: agent_service_pb2.NodeAssignment) -> None:
        assigned = {}
        for one in assignment.replicas:
            id_ = one.replica.name.removeprefix("replicas/")
            assigned[id_] = one.replica.desired
            if one.replica.desired == replica_pb2.DESIRED_STATE_STOPPED:
                self.replicas[id_] = STOPPED
            else:
                self.replicas.setdefault(id_, self.starts_as)
        for id_ in [id_ for id_ in self.replicas if id_ not in assigned]:
            del self.replicas[id_]
