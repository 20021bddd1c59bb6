"""The last route table on disk.

Owns a JSON file, replaced atomically, from which a gateway serves when it starts without
any control plane. Refuses to be a reason not to serve: a file that cannot be read or
written is logged, and the gateway goes on. Load is not kept: it is stale when read.
"""

import asyncio
import contextlib
import logging
import os
from pathlib import Path

from google.protobuf import json_format
from slacktide.v1 import routing_service_pb2

from controlplane.gateway.book import RouteBook
from planner.routing.table import RouteTable

_log = logging.getLogger(__name__)


class TableFile:
    """The file of one gateway; two gateways on one host may share it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load_into(self, book: RouteBook) -> None:
        """Puts the stored table in force, if there is one that can be read."""
        try:
            text = self._path.read_text(encoding="utf-8")
            message = json_format.Parse(
                text, routing_service_pb2.WatchRoutesResponse(), ignore_unknown_fields=True
            )
            book.accept(message, source=f"file:{self._path.name}")
        except FileNotFoundError:
            _log.info("table_file_absent path=%s", self._path)
        except (OSError, ValueError, json_format.ParseError) as error:
            _log.error(
                "table_file_unreadable path=%s error=%r remedy='remove it; the next table from"
                " a control plane writes it anew'", self._path, error,
            )  # fmt: skip

    async def keep(self, book: RouteBook) -> None:
        """Writes every changed table, for ever; the latest one if several came meanwhile."""
        written: RouteTable | None = book.table if book.is_known else None
        while True:
            if book.is_known and book.table != written:
                written = book.table
                await asyncio.to_thread(self._replace, book.message)
            else:
                await book.wait_change()

    def _replace(self, message: routing_service_pb2.WatchRoutesResponse) -> None:
        kept = routing_service_pb2.WatchRoutesResponse()
        kept.CopyFrom(message)
        for route in kept.routes:
            route.ClearField("load")
        draft = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("w", encoding="utf-8") as file:
                file.write(json_format.MessageToJson(kept))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            _log.error("table_file_write_failed path=%s error=%r", self._path, error)
