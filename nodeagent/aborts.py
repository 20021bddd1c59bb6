"""Requests the engine is to abort.

Owns the queue between those who end a request and the engine. Refuses to block them: an
abort beyond the bound is dropped and logged, since the request's connection is closed
either way.
"""

import asyncio
import logging
from collections.abc import Callable

from nodeagent.engine.client import EngineClient
from nodeagent.engine.errors import EngineError

_log = logging.getLogger(__name__)

_MOST_ABORTS = 1_024


class Aborts:
    """The aborts of one replica; `run` them in a task of its own.

    Args:
        replica: id, for logs.
        client: the engine while it runs.
    """

    def __init__(self, *, replica: str, client: Callable[[], EngineClient | None]) -> None:
        self._replica = replica
        self._client = client
        self._rids: asyncio.Queue[str] = asyncio.Queue(maxsize=_MOST_ABORTS)

    def add(self, rid: str) -> None:
        """Has the engine abort the request soon."""
        try:
            self._rids.put_nowait(rid)
        except asyncio.QueueFull:
            _log.warning("abort_dropped replica=%s rid=%s", self._replica, rid)

    async def run(self) -> None:
        """Passes aborts on until cancelled."""
        while True:
            rid = await self._rids.get()
            if (client := self._client()) is None:
                continue
            try:
                await client.abort(rid)
            except EngineError as error:
                _log.warning("abort_failed replica=%s rid=%s cause=%s", self._replica, rid, error)
