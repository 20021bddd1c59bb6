"""The committed state in memory, and waking whoever watches it.

Owns one view at the newest revision this process knows. Refuses to hold anything that
is not committed. Invariant: revisions handed out never fall; a commit by another process
is seen within the poll interval.
"""

import asyncio
import logging

from slacktide.wire.errors import Refusal

from controlplane.stored import stored
from storage.records import FleetView
from storage.store import FleetStore

_log = logging.getLogger(__name__)

POLL_S = 1.0
"""How late a commit of another control plane may be seen."""


class StateFeed:
    """The newest view, kept fresh by `run` and by whoever commits.

    Args:
        store: where the state lies.
        view: the state at start.
    """

    def __init__(self, store: FleetStore, view: FleetView) -> None:
        self._store = store
        self._view = view
        self._changed = asyncio.Event()
        self._loading = asyncio.Lock()
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Whether watchers shall end."""
        return self._is_closed

    def close(self) -> None:
        """Wakes every watcher for the last time."""
        self._is_closed = True
        self._changed.set()

    @property
    def view(self) -> FleetView:
        """The newest view; it may trail the store by `POLL_S`."""
        return self._view

    async def refresh(self) -> FleetView:
        """Loads what was committed before this call and wakes the watchers.

        Raises:
            Refusal: the store cannot be read.
        """
        async with self._loading:
            view = await stored(self._store.view)
            if view.state.revision > self._view.state.revision:
                self._view = view
                self._changed.set()
                if not self._is_closed:
                    self._changed = asyncio.Event()
        return self._view

    async def after(self, revision: int, *, timeout_s: float) -> FleetView:
        """The first view newer than that revision, or the same one when time is up."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._view.state.revision <= revision and not self._is_closed:
                    await self._changed.wait()
        except TimeoutError:
            pass
        return self._view

    async def run(self) -> None:
        """Polls for commits of other processes until cancelled."""
        while True:
            await asyncio.sleep(POLL_S)
            try:
                state = await stored(self._store.state)
                if state.revision > self._view.state.revision:
                    await self.refresh()
            except Refusal as refusal:
                _log.error("state_poll_failed reason=%s message=%s", refusal.reason, refusal)
            except Exception:  # noqa: BLE001 - watchers live on the last view meanwhile
                _log.exception("state_poll_alert revision=%d", self._view.state.revision)
