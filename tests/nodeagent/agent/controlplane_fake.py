"""A stand-in for a control plane: sessions and items, in memory."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
from slacktide.v1 import (
    agent_service_pb2,
    agent_service_pb2_grpc,
    item_service_pb2,
    item_service_pb2_grpc,
    replica_pb2,
)


class FakeControlPlane(
    agent_service_pb2_grpc.AgentServiceServicer, item_service_pb2_grpc.ItemServiceServicer
):
    """Grants every report; hands out `pending` items; records everything."""

    def __init__(self, *, epoch: int = 1, lease_s: float = 10.0) -> None:
        self.epoch = epoch
        self.lease_s = lease_s
        self.grants = True
        self.hellos: list[agent_service_pb2.Hello] = []
        self.reports: list[agent_service_pb2.NodeReport] = []
        self.pending: list[item_service_pb2.Item] = []
        self.leased: dict[str, item_service_pb2.Item] = {}
        self.results: list[item_service_pb2.ItemResult] = []
        self.returned: list[tuple[str, str]] = []
        self.pulls = 0
        self.assignment: agent_service_pb2.NodeAssignment | None = None
        self._outgoing: asyncio.Queue[agent_service_pb2.SessionResponse | None] | None = None
        self._server: grpc.aio.Server | None = None
        self.address = ""

    async def start(self, address: str = "127.0.0.1:0") -> None:
        self._server = grpc.aio.server()
        agent_service_pb2_grpc.add_AgentServiceServicer_to_server(self, self._server)
        item_service_pb2_grpc.add_ItemServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port(address)
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    async def stop(self) -> None:
        assert self._server is not None
        await self._server.stop(None)

    def send(self, assignment: agent_service_pb2.NodeAssignment) -> None:
        """Sends it now, and first in every later session."""
        self.assignment = assignment
        if self._outgoing is not None:
            response = agent_service_pb2.SessionResponse(assignment=assignment)
            self._outgoing.put_nowait(response)

    def replica(self, name: str = "r1") -> replica_pb2.ReplicaReport | None:
        """What was last reported of a replica."""
        if not self.reports:
            return None
        return next((r for r in self.reports[-1].replicas if r.replica == f"replicas/{name}"), None)

    def is_in(self, state: "replica_pb2.ReplicaState.ValueType", name: str = "r1") -> bool:
        report = self.replica(name)
        return report is not None and report.state == state

    async def Session(  # noqa: N802
        self, request_iterator: AsyncIterator[agent_service_pb2.SessionRequest], context: Any
    ) -> AsyncIterator[agent_service_pb2.SessionResponse]:
        first = await anext(request_iterator, None)
        if first is None:
            return
        self.hellos.append(first.hello)
        welcome = agent_service_pb2.Welcome(epoch=self.epoch, control_plane_version="fake")
        welcome.lease.FromMilliseconds(int(self.lease_s * 1000))
        yield agent_service_pb2.SessionResponse(welcome=welcome)
        outgoing: asyncio.Queue[agent_service_pb2.SessionResponse | None] = asyncio.Queue()
        self._outgoing = outgoing
        reader = asyncio.create_task(self._read(request_iterator, outgoing))
        try:
            while (response := await outgoing.get()) is not None:
                yield response
        finally:
            reader.cancel()

    async def _read(
        self,
        requests: AsyncIterator[agent_service_pb2.SessionRequest],
        outgoing: "asyncio.Queue[agent_service_pb2.SessionResponse | None]",
    ) -> None:
        if self.assignment is not None:
            outgoing.put_nowait(agent_service_pb2.SessionResponse(assignment=self.assignment))
        async for request in requests:
            self.reports.append(request.report)
            if self.grants:
                grant = agent_service_pb2.LeaseGrant(epoch=self.epoch)
                outgoing.put_nowait(agent_service_pb2.SessionResponse(grant=grant))
        outgoing.put_nowait(None)

    async def PullItems(  # noqa: N802
        self, request: item_service_pb2.PullItemsRequest, context: Any
    ) -> item_service_pb2.PullItemsResponse:
        self.pulls += 1
        held = {lease.item for lease in request.held}
        for name in [name for name in self.leased if name not in held]:
            self.pending.append(self.leased.pop(name))
        batch, self.pending = (
            self.pending[: request.max_items],
            self.pending[request.max_items :],
        )
        for item in batch:
            item.lease.attempt += 1
            self.leased[item.lease.item] = item
        return item_service_pb2.PullItemsResponse(items=batch)

    async def CommitResults(  # noqa: N802
        self, request: item_service_pb2.CommitResultsRequest, context: Any
    ) -> item_service_pb2.CommitResultsResponse:
        for result in request.results:
            self.leased.pop(result.lease.item, None)
            self.results.append(result)
        return item_service_pb2.CommitResultsResponse()

    async def ReturnItems(  # noqa: N802
        self, request: item_service_pb2.ReturnItemsRequest, context: Any
    ) -> item_service_pb2.ReturnItemsResponse:
        for lease in request.leases:
            self.leased.pop(lease.item, None)
            self.returned.append((lease.item, request.reason))
        return item_service_pb2.ReturnItemsResponse()
