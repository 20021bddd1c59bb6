"""A real control plane in this process: real SQLite, real grpc.aio on port 0."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from slacktide.v1 import (
    deployment_pb2,
    deployment_service_pb2,
    deployment_service_pb2_grpc,
    fleet_service_pb2_grpc,
    node_pb2,
    node_service_pb2,
    node_service_pb2_grpc,
    placement_pb2,
    placement_service_pb2,
    placement_service_pb2_grpc,
    replica_pb2,
    rollout_service_pb2_grpc,
    routing_service_pb2_grpc,
    slo_pb2,
    tenant_service_pb2_grpc,
)

from controlplane.server import ControlPlane, ServerSettings

CALL_TIMEOUT_S = 15.0


class Running:
    """A control plane that serves, and stubs to call it with."""

    def __init__(self, plane: ControlPlane, task: "asyncio.Task[None]", stop: asyncio.Event):
        self.plane = plane
        self.port = plane.port
        self.task = task
        self._stop = stop
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{plane.port}")
        self.deployments = deployment_service_pb2_grpc.DeploymentServiceStub(self.channel)
        self.nodes = node_service_pb2_grpc.NodeServiceStub(self.channel)
        self.placement = placement_service_pb2_grpc.PlacementServiceStub(self.channel)
        self.routing = routing_service_pb2_grpc.RoutingServiceStub(self.channel)
        self.rollout = rollout_service_pb2_grpc.RolloutServiceStub(self.channel)
        self.tenants = tenant_service_pb2_grpc.TenantServiceStub(self.channel)
        self.fleet = fleet_service_pb2_grpc.FleetServiceStub(self.channel)

    async def apply(
        self, deployment: deployment_pb2.Deployment, **fields: Any
    ) -> deployment_pb2.Deployment:
        """Applies a deployment."""
        fields.setdefault("request_id", str(uuid.uuid4()))
        response = await self.deployments.ApplyDeployment(
            deployment_service_pb2.ApplyDeploymentRequest(deployment=deployment, **fields),
            timeout=CALL_TIMEOUT_S,
        )
        return response.deployment

    async def deployment(self, id_: str) -> deployment_pb2.Deployment:
        """Reads a deployment."""
        response = await self.deployments.GetDeployment(
            deployment_service_pb2.GetDeploymentRequest(name=f"deployments/{id_}"),
            timeout=CALL_TIMEOUT_S,
        )
        return response.deployment

    async def node(self, id_: str) -> node_pb2.Node:
        """Reads a node."""
        response = await self.nodes.GetNode(
            node_service_pb2.GetNodeRequest(name=f"nodes/{id_}"), timeout=CALL_TIMEOUT_S
        )
        return response.node

    async def placement_now(self) -> placement_service_pb2.GetPlacementResponse:
        """Reads the placement in force."""
        return await self.placement.GetPlacement(
            placement_service_pb2.GetPlacementRequest(), timeout=CALL_TIMEOUT_S
        )

    async def plans(self, **fields: Any) -> list[placement_pb2.Plan]:
        """Lists the ledger, newest first."""
        response = await self.placement.ListPlans(
            placement_service_pb2.ListPlansRequest(**fields), timeout=CALL_TIMEOUT_S
        )
        return list(response.plans)

    async def replicas(self, deployment: str = "") -> list[replica_pb2.Replica]:
        """Lists replicas."""
        response = await self.deployments.ListReplicas(
            deployment_service_pb2.ListReplicasRequest(
                deployment=f"deployments/{deployment}" if deployment else ""
            ),
            timeout=CALL_TIMEOUT_S,
        )
        return list(response.replicas)

    async def running(self, deployment: str, count: int) -> list[replica_pb2.Replica]:
        """Waits until exactly so many replicas exist and all of them run."""

        async def look() -> list[replica_pb2.Replica] | None:
            found = await self.replicas(deployment)
            states = {one.state for one in found} - {replica_pb2.REPLICA_STATE_RUNNING}
            return found if len(found) == count and not states else None

        return await until(look)

    async def crash(self) -> None:
        """Ends without any goodbye, as SIGKILL would."""
        await self.channel.close()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def stop(self) -> None:
        """Ends as SIGTERM does."""
        self._stop.set()
        await self.task
        await self.channel.close()


async def until(look: Callable[[], Awaitable[Any]], *, timeout_s: float = 30.0) -> Any:
    """The first answer that is not None or False; polled, so that tests state what they await."""
    async with asyncio.timeout(timeout_s):
        while True:
            answer = await look()
            if answer is not None and answer is not False:
                return answer
            await asyncio.sleep(0.05)


async def refusal(call: Awaitable[Any]) -> "Refused":
    """How a call is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    found = Refused(code=caught.value.code(), message=caught.value.details() or "")
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]
    assert status is not None
    info, fields = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    failures = error_details_pb2.PreconditionFailure()
    for detail in status.details:
        if detail.Unpack(info):
            found.reason, found.metadata = info.reason, dict(info.metadata)
        if detail.Unpack(fields):
            found.violations = {one.field: one.description for one in fields.field_violations}
        if detail.Unpack(failures):
            found.violations = {one.subject: one.description for one in failures.violations}
    return found


@dataclass(kw_only=True)
class Refused:
    """A refusal, read as a client reads it."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    violations: dict[str, str] = field(default_factory=dict)


def new_id() -> str:
    """A request_id."""
    return str(uuid.uuid4())


def deployment(id_: str = "chat", **fields: Any) -> deployment_pb2.Deployment:
    """A deployment of a tiny model, one replica unless said otherwise."""
    spec: dict[str, Any] = {
        "model": "tiny",
        "min_replicas": 1,
        "max_replicas": 1,
        "weights_bytes": 1 << 20,
        "kv_bytes_per_token": 1 << 10,
        "slo": slo_pb2.Slo(ttft=Duration(seconds=2), itl=Duration(nanos=200_000_000)),
    }
    return deployment_pb2.Deployment(
        name=f"deployments/{id_}", spec=deployment_pb2.DeploymentSpec(**{**spec, **fields})
    )


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts control planes on one state folder; ends those still running."""
    started: list[Running] = []

    async def start(**fields: Any) -> Running:
        settings = ServerSettings(
            **{
                "listen": "127.0.0.1:0",
                "state_dir": tmp_path / "state",
                "lease_s": 5.0,
                "round_interval_s": 60.0,
                "grace_s": 0.2,
                **fields,
            }
        )
        plane = ControlPlane(settings)
        stop = asyncio.Event()
        ready = asyncio.Event()
        task = asyncio.create_task(_serve(plane, stop, ready))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if task.done():
            task.result()
        running = Running(plane, task, stop)
        started.append(running)
        await asyncio.wait_for(running.channel.channel_ready(), CALL_TIMEOUT_S)
        return running

    yield start
    for one in started:
        if not one.task.done():
            await one.crash()


async def _serve(plane: ControlPlane, stop: asyncio.Event, ready: asyncio.Event) -> None:
    async with plane:
        ready.set()
        await plane.run(stop)


@asynccontextmanager
async def watching(running: Running, gateway: str = "g1") -> AsyncIterator[Any]:
    """A gateway's watch."""
    from slacktide.v1 import routing_service_pb2

    call = running.routing.WatchRoutes(
        routing_service_pb2.WatchRoutesRequest(gateway=gateway, version="0.1.0")
    )
    try:
        yield call
    finally:
        call.cancel()
