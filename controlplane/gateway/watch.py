"""The watch stream of route tables, from any of several control planes.

Owns reconnecting: at an error, an end or a silence longer than the stream's own repeat
allows, the next control plane is asked. Refuses to give up: without any control plane the
table in force stays in force.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import cycle

import grpc
import grpc.aio
from slacktide.v1 import routing_service_pb2, routing_service_pb2_grpc
from slacktide.wire.server import CHANNEL_OPTIONS

from controlplane.gateway.book import RouteBook

_log = logging.getLogger(__name__)

_SILENCE_S = 25.0
"""A stream repeats its table at least every 10 s (routing_service.proto)."""

_STREAM_LIFETIME_S = 3600.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 3.0


async def watch_routes(
    control_planes: Sequence[str],
    *,
    request: routing_service_pb2.WatchRoutesRequest,
    book: RouteBook,
    on_table: Callable[[routing_service_pb2.WatchRoutesResponse], None],
) -> None:
    """Feeds the book, for ever.

    Args:
        control_planes: host:port of each, asked in turn.
        request: who watches.
        book: takes the tables.
        on_table: called with each table the book accepted.
    """
    pause_s = _FIRST_PAUSE_S
    for address in cycle(control_planes):
        try:
            async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
                async for message in _tables(channel, request):
                    if not book.accept(message, source=address):
                        break  # it lags or follows a replaced leader: ask another
                    pause_s = _FIRST_PAUSE_S
                    on_table(message)
        except grpc.aio.AioRpcError as error:
            reason = f"{error.code().name}: {error.details()}"
        except TimeoutError:
            reason = f"no table for {_SILENCE_S:.0f} s"
        except ValueError as error:
            reason = f"malformed table: {error}"
        else:
            reason = "stream ended"
        _log.warning(
            "route_watch_lost control_plane=%s next_in_s=%.1f reason=%r", address, pause_s, reason
        )
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


async def _tables(
    channel: grpc.aio.Channel, request: routing_service_pb2.WatchRoutesRequest
) -> AsyncIterator[routing_service_pb2.WatchRoutesResponse]:
    stub = routing_service_pb2_grpc.RoutingServiceStub(channel)
    call = stub.WatchRoutes(request, timeout=_STREAM_LIFETIME_S)
    stream = call.__aiter__()
    while True:
        async with asyncio.timeout(_SILENCE_S):
            try:
                message = await anext(stream)
            except StopAsyncIteration:
                return
        yield message
