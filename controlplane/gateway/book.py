"""The route table in force.

Owns which table counts and telling those who wait for the next. Refuses tables of a
replaced leader or a lagging control plane. Invariant: (epoch, revision) never falls
while the process lives, nor below what its table file held at start.
"""

import asyncio
import contextlib
import logging

from slacktide.v1 import routing_service_pb2

from controlplane.gateway.tables import parse_table
from planner.routing.table import RouteTable

_log = logging.getLogger(__name__)


class RouteBook:
    """Holds the table in force, parsed and as it came."""

    def __init__(self) -> None:
        self.table = RouteTable()
        self.message = routing_service_pb2.WatchRoutesResponse()
        self.is_known = False
        self._served: frozenset[str] = frozenset()
        self._changed = asyncio.Event()

    def accept(self, message: routing_service_pb2.WatchRoutesResponse, *, source: str) -> bool:
        """Takes a table, unless an older leader or a lagging control plane sent it.

        Raises:
            ValueError: the table is malformed; the one in force stays.
        """
        table = parse_table(message)
        if self.is_known and not table.supersedes(self.table):
            _log.warning(
                "route_table_refused source=%s epoch=%d revision=%d in_force_epoch=%d"
                " in_force_revision=%d remedy='if the fleet was set up anew, remove the table"
                " file and restart the gateway'",
                source, table.epoch, table.revision, self.table.epoch, self.table.revision,
            )  # fmt: skip
            return False
        is_new = not self.is_known or table != self.table
        self.table, self.message, self.is_known = table, message, True
        had_routes = self._served.union(route.deployment for route in table.routes)
        self._served = had_routes.intersection(table.deployments)
        if is_new:
            _log.info(
                "route_table_accepted source=%s epoch=%d revision=%d routes=%d deployments=%d",
                source, table.epoch, table.revision, len(table.routes), len(table.deployments),
            )  # fmt: skip
            self._changed.set()
            self._changed = asyncio.Event()
        return True

    def was_served(self, deployment: str) -> bool:
        """Whether the deployment exists and had a replica in this or an earlier table."""
        return deployment in self._served

    async def wait_change(self, *, timeout_s: float | None = None) -> None:
        """Returns at the next changed table, or after the timeout."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
