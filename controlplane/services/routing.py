"""RoutingService: the route table, streamed to gateways.

Invariant: routes wait for no store: what gateways watch is in memory, and that they watch
is written down beside the stream.
"""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
from slacktide.v1 import routing_service_pb2, routing_service_pb2_grpc
from slacktide.wire.errors import Refusal

from controlplane.feed import StateFeed
from controlplane.messages.routes import content_of, route_table
from controlplane.messages.scalars import spoken
from controlplane.stored import stored
from controlplane.telemetry import Telemetry
from storage.records import GatewayRecord
from storage.store import FleetStore

_log = logging.getLogger(__name__)

_GATEWAY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
REPEAT_S = 5.0
"""Half of what the contract allows, so that one late table is no silence."""


class GatewayNotes:
    """Writes down which gateways watch, off their streams."""

    def __init__(self, store: FleetStore) -> None:
        self._store = store
        self._noted: dict[str, GatewayRecord] = {}
        self._wake = asyncio.Event()

    def note(self, gateway: GatewayRecord) -> None:
        """Takes in that a gateway was seen; the newest note of each is kept."""
        self._noted[gateway.id] = gateway
        self._wake.set()

    async def run(self) -> None:
        """Writes until cancelled; what cannot be written now is said again in a while."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            noted, self._noted = self._noted, {}
            for one in noted.values():
                try:
                    await stored(self._store.note_gateway, one)
                except Refusal as refusal:
                    _log.error("gateway_note_failed gateway=%s message=%s", one.id, refusal)
                except Exception:  # noqa: BLE001 - nothing waits for it
                    _log.exception("gateway_note_alert gateway=%s", one.id)


class RoutingServicer(routing_service_pb2_grpc.RoutingServiceServicer):
    """Gateways: where requests can go.

    Args:
        feed: the newest view.
        telemetry: fresh loads.
        gateways: told who watches.
    """

    def __init__(self, *, feed: StateFeed, telemetry: Telemetry, gateways: GatewayNotes) -> None:
        self._feed = feed
        self._telemetry = telemetry
        self._gateways = gateways

    async def WatchRoutes(  # noqa: N802
        self, request: routing_service_pb2.WatchRoutesRequest, context: Any
    ) -> AsyncIterator[routing_service_pb2.WatchRoutesResponse]:
        """Streams the whole table: at once, after every change, and every `REPEAT_S`."""
        if not _GATEWAY.fullmatch(request.gateway):
            why = f"{request.gateway[:80]!r}: expected 1 to 63 ASCII letters, digits and . _ -"
            raise Refusal(
                code=grpc.StatusCode.INVALID_ARGUMENT,
                reason="INVALID_GATEWAY",
                message=f"gateway {why}; a gateway names itself with --gateway-id",
                violations=[("gateway", why)],
            )
        sent = b""
        sent_at_s = float("-inf")
        while not self._feed.is_closed:
            view = self._feed.view
            now_s = time.monotonic()
            table = route_table(view, loads=self._telemetry.loads(now_s=now_s))
            content = content_of(table)
            if content != sent or now_s - sent_at_s >= REPEAT_S:
                if now_s - sent_at_s >= REPEAT_S:
                    self._gateways.note(
                        GatewayRecord(
                            id=request.gateway,
                            version=spoken(request.version),
                            address=spoken(request.address),
                            seen_s=time.time(),
                        )
                    )
                sent, sent_at_s = content, now_s
                yield table
            await self._feed.after(
                view.state.revision, timeout_s=max(0.05, sent_at_s + REPEAT_S - time.monotonic())
            )
