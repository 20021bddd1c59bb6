"""FleetService: which processes run, in which version."""

import time
from collections.abc import Iterator
from typing import Any

from slacktide.v1 import fleet_service_pb2, fleet_service_pb2_grpc, node_pb2
from slacktide.wire.names import resource_name
from slacktide.wire.version import build_version

from controlplane.feed import StateFeed
from controlplane.messages.nodes import to_node
from controlplane.messages.scalars import to_timestamp
from controlplane.services.routing import REPEAT_S
from controlplane.sessions import Sessions
from controlplane.stored import stored
from controlplane.telemetry import Telemetry
from storage.records import FleetView
from storage.store import FleetStore

GATEWAY_LOST_S = 3 * REPEAT_S
GATEWAY_SHOWN_S = 3600.0


class FleetServicer(fleet_service_pb2_grpc.FleetServiceServicer):
    """Admin: the processes of the fleet.

    Args:
        store: fleet state.
        feed: the newest view.
        sessions: when agents reported.
        telemetry: engine versions.
        control_plane: id of this process.
        epoch: the one it leads under.
        address: host:port it listens at.
    """

    def __init__(
        self,
        *,
        store: FleetStore,
        feed: StateFeed,
        sessions: Sessions,
        telemetry: Telemetry,
        control_plane: str,
        epoch: int,
        address: str,
    ) -> None:
        self._store = store
        self._feed = feed
        self._sessions = sessions
        self._telemetry = telemetry
        self._control_plane = control_plane
        self._epoch = epoch
        self._address = address

    async def GetFleet(  # noqa: N802
        self, request: fleet_service_pb2.GetFleetRequest, context: Any
    ) -> fleet_service_pb2.GetFleetResponse:
        """Says what runs, in which version, and how the state stands."""
        view = self._feed.view
        return fleet_service_pb2.GetFleetResponse(
            components=[
                self._self(view),
                *await self._gateways(),
                *self._agents(view),
                *self._engines(view),
            ],
            revision=view.state.revision,
            epoch=view.state.epoch,
            kill_switch=view.state.kill_switch,
            plan=resource_name("plans", str(view.state.plan_round or "")),
        )

    def _self(self, view: FleetView) -> fleet_service_pb2.Component:
        return fleet_service_pb2.Component(
            kind=fleet_service_pb2.COMPONENT_KIND_CONTROL_PLANE,
            id=self._control_plane,
            version=build_version(),
            address=self._address,
            state="leader" if view.state.epoch == self._epoch else "superseded",
            last_seen_time=to_timestamp(time.time()),
        )

    async def _gateways(self) -> list[fleet_service_pb2.Component]:
        now_s = time.time()
        seen = await stored(self._store.list_gateways, since_s=now_s - GATEWAY_SHOWN_S)
        return [
            fleet_service_pb2.Component(
                kind=fleet_service_pb2.COMPONENT_KIND_GATEWAY,
                id=one.id,
                version=one.version,
                address=one.address,
                state="ready" if now_s - one.seen_s <= GATEWAY_LOST_S else "lost",
                last_seen_time=to_timestamp(one.seen_s),
            )
            for one in seen
        ]

    def _agents(self, view: FleetView) -> Iterator[fleet_service_pb2.Component]:
        for node in view.nodes:
            message = to_node(
                node,
                holds_replicas=any(one.allocation.holds_devices for one in view.on_node(node.id)),
                report_s=self._sessions.reported_s(node.id),
            )
            yield fleet_service_pb2.Component(
                kind=fleet_service_pb2.COMPONENT_KIND_AGENT,
                id=node.id,
                version=node.agent_version,
                address=node.address,
                state=node_pb2.NodeState.Name(message.state).removeprefix("NODE_STATE_").lower(),
                last_seen_time=message.last_report_time
                if message.HasField("last_report_time")
                else None,
            )

    def _engines(self, view: FleetView) -> Iterator[fleet_service_pb2.Component]:
        now_s = time.monotonic()
        for record in view.allocations:
            one = record.allocation
            report = self._telemetry.report(one.replica, now_s=now_s)
            yield fleet_service_pb2.Component(
                kind=fleet_service_pb2.COMPONENT_KIND_ENGINE,
                id=one.replica,
                version=report.engine_version if report else "",
                address=one.node,
                state=one.state.value,
                last_seen_time=to_timestamp(self._sessions.reported_s(one.node))
                if report
                else None,
            )
