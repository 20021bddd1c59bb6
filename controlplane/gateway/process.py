"""A gateway from start to stop.

Owns the order: table file, watch, server; at SIGTERM health goes down first, then the
port is left to a successor, then streams finish. Refuses to report healthy before there
is a route table.
"""

import asyncio
import logging
import signal
from dataclasses import dataclass
from pathlib import Path

from slacktide.v1 import routing_service_pb2
from slacktide.wire.server import FleetServer
from slacktide.wire.version import build_version

from controlplane.gateway.agents import AgentChannels
from controlplane.gateway.book import RouteBook
from controlplane.gateway.handover import connection_age_options, leave_port
from controlplane.gateway.proxy import SERVICE, GenerateProxy
from controlplane.gateway.tablefile import TableFile
from controlplane.gateway.watch import watch_routes

_log = logging.getLogger(__name__)

_SWEEP_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """How a gateway runs.

    Args:
        listen: host:port; port 0 picks one.
        control_planes: host:port of each.
        table_file: where the last route table is kept.
        max_streams: requests in flight before new ones are shed.
        connection_age_s: clients' connections are renewed after about this long, which
            is also how long a hand-over of the port takes at least.
        grace_s: how long streams may go on after a hand-over.
    """

    gateway: str
    listen: str
    control_planes: tuple[str, ...]
    table_file: Path
    max_streams: int = 4096
    connection_age_s: float = 10.0
    grace_s: float = 120.0


async def serve(settings: GatewaySettings) -> None:
    """Runs a gateway until SIGTERM or SIGINT.

    Raises:
        Refusal: the address is in use by something that is not a gateway.
    """
    book = RouteBook()
    table_file = TableFile(settings.table_file)
    await asyncio.to_thread(table_file.load_into, book)
    channels = AgentChannels()
    proxy = GenerateProxy(book, channels, max_streams=settings.max_streams)
    server = FleetServer(
        [SERVICE],
        reuse_port=True,
        options=connection_age_options(settings.connection_age_s),
    )
    server.grpc.add_generic_rpc_handlers((proxy.handler(),))
    port = server.bind(settings.listen)
    host = settings.listen.rpartition(":")[0]
    address = f"{host}:{port}"
    stopped = _stop_signal()
    watch = routing_service_pb2.WatchRoutesRequest(
        gateway=settings.gateway, version=build_version(), address=address
    )
    _log.info(
        "gateway_start gateway=%s address=%s version=%s control_planes=%s",
        settings.gateway, address, build_version(), ",".join(settings.control_planes),
    )  # fmt: skip
    async with asyncio.TaskGroup() as group:
        await server.start()
        tasks = [
            group.create_task(
                watch_routes(
                    settings.control_planes, request=watch, book=book, on_table=proxy.take_loads
                )
            ),
            group.create_task(table_file.keep(book)),
            group.create_task(_sweep_channels(book, proxy, channels)),
            group.create_task(_serve_once_known(book, server, address)),
        ]
        await stopped.wait()
        await server.set_serving(False)
        _log.info("gateway_stop gateway=%s in_flight=%d", settings.gateway, len(proxy.attempts))
        await leave_port(host, port, connection_age_s=settings.connection_age_s)
        await server.stop(grace_s=settings.grace_s)
        for task in tasks:
            task.cancel()
    await channels.close_except(())
    _log.info("gateway_stopped gateway=%s", settings.gateway)


async def _serve_once_known(book: RouteBook, server: FleetServer, address: str) -> None:
    while not book.is_known:
        await book.wait_change()
    await server.set_serving(True)
    _log.info("gateway_ready address=%s", address)


async def _sweep_channels(book: RouteBook, proxy: GenerateProxy, channels: AgentChannels) -> None:
    """Closes channels to agents that left the table and hold no stream."""
    while True:
        await book.wait_change(timeout_s=_SWEEP_S)
        named = {route.address for route in book.table.routes}
        await channels.close_except(named | proxy.attempts.addresses())


def _stop_signal() -> asyncio.Event:
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)
    return event
