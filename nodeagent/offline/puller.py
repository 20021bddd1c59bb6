"""Runs batch items on one replica.

Owns the window of items in the engine. Two loops: one watches the gate and yields within
a fraction of a second, whatever the control plane does; the other exchanges with the
control plane (return, commit, pull) and may wait for it. Refuses to keep anything when
the lease is gone. Invariants: no item is posted while the gate is closed; an item that is
handed back is aborted in the engine first; its late answer is discarded.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from nodeagent.engine.client import EngineClient
from nodeagent.engine.errors import EngineUnavailableError
from nodeagent.inference.bodies import new_rid
from nodeagent.offline.bodies import Item, Result, error_result, request_body, result_of
from nodeagent.offline.control import ItemControl, NoControlPlaneError
from nodeagent.offline.ledger import Lease, Ledger
from planner.rollout.gate import OfflineRefusal, Yielding

_log = logging.getLogger(__name__)

_GATE_INTERVAL_S = 0.2
_EXCHANGE_INTERVAL_S = 0.25
_IDLE_PULL_INTERVAL_S = 1.0
_ITEM_TIMEOUT_S = 3600.0  # parked rows wait as long as online work lasts
_MOST_RESULTS = 64
_MOST_RESULT_BYTES = 4 * 1024 * 1024
_NOT_STARTED = OfflineRefusal(reason="replica has not started", yielding=Yielding.HOLD)


class Puller:
    """The offline side of one replica; `run` it in a task of its own.

    Args:
        replica: id.
        window: items in the engine at the most.
        control: the control plane's ItemService.
        refuse: the gate, asked again and again.
        limit: how many items may start beside so many in the engine; asked before a pull.
        client: the engine while it runs.
        count: told prompt and output tokens of each result.
        abort_soon: has the engine abort a request id.
    """

    def __init__(
        self,
        *,
        replica: str,
        window: int,
        control: ItemControl,
        refuse: Callable[[], OfflineRefusal | None],
        limit: Callable[[int], int],
        client: Callable[[], EngineClient | None],
        count: Callable[[Result], None],
        abort_soon: Callable[[str], None],
    ) -> None:
        self._replica = replica
        self._control = control
        self._refuse = refuse
        self._limit = limit
        self._client = client
        self._count = count
        self._abort_soon = abort_soon
        self._ledger = Ledger(window=window)
        self._runs: dict[Lease, tuple[asyncio.Task[None], str]] = {}
        self._wake = asyncio.Event()
        self._next_pull_s = 0.0
        self._has_lost_answer = False
        self._return_reason = ""
        self.refusal: OfflineRefusal | None = _NOT_STARTED

    @property
    def in_engine(self) -> int:
        """Items posted to the engine and not answered."""
        return self._ledger.running

    async def run(self) -> None:
        """Runs items until cancelled; the engine's requests are aborted then."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch_gate())
                tasks.create_task(self._exchange_forever(tasks))
        finally:
            self._yield(Yielding.RETURN, reason="its runner ended")

    async def hand_back(self, *, reason: str, within_s: float) -> None:
        """Aborts what runs, commits what is finished and returns the rest."""
        self._yield(Yielding.RETURN, reason=reason)
        try:
            async with asyncio.timeout(within_s):
                while self._ledger.held() or self._ledger.returning():
                    await self._settle()
        except (TimeoutError, NoControlPlaneError) as error:
            left = len(self._ledger.held()) + len(self._ledger.returning())
            _log.warning(
                "hand_back_unfinished replica=%s items=%d cause=%s", self._replica, left, error
            )

    async def _watch_gate(self) -> None:
        while True:
            refusal = self._refuse()
            if refusal != self.refusal:
                _log.info(
                    "offline_gate replica=%s admitted=%s reason=%r",
                    *(self._replica, refusal is None, refusal.reason if refusal else ""),
                )
            self.refusal = refusal
            if refusal is not None:
                self._yield(refusal.yielding, reason=refusal.reason)
            await asyncio.sleep(_GATE_INTERVAL_S)

    def _yield(self, yielding: Yielding, *, reason: str) -> None:
        match yielding:
            case Yielding.HOLD:
                return
            case Yielding.RETURN:
                moved = self._ledger.hand_back()
                self._return_reason = reason
            case Yielding.DROP:
                moved = self._ledger.drop()
        if moved:
            _log.info(
                "items_yielded replica=%s items=%d how=%s",
                self._replica,
                len(moved),
                yielding.value,
            )
        self._cancel(moved)

    def _cancel(self, leases: tuple[Lease, ...]) -> None:
        for lease in leases:
            if (run := self._runs.pop(lease, None)) is not None:
                task, rid = run
                task.cancel()
                self._abort_soon(rid)

    async def _exchange_forever(self, tasks: asyncio.TaskGroup) -> None:
        failures = 0
        while True:
            try:
                await self._settle()
                await self._pull(tasks)
                failures = 0
            except NoControlPlaneError as error:
                failures += 1
                if failures == 1:
                    _log.warning("items_unreachable replica=%s cause=%s", self._replica, error)
            self._wake.clear()
            try:
                async with asyncio.timeout(_EXCHANGE_INTERVAL_S * min(2**failures, 8)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _settle(self) -> None:
        """Returns what was yielded and commits what is finished."""
        if leases := self._ledger.returning():
            await self._control.give_back(
                replica=self._replica, leases=leases, reason=self._return_reason
            )
            self._ledger.returned(leases)
        while results := self._ledger.results(most=_MOST_RESULTS, most_bytes=_MOST_RESULT_BYTES):
            superseded = await self._control.commit(replica=self._replica, results=results)
            self._ledger.committed(results)
            if superseded:
                _log.info("results_superseded replica=%s items=%d", self._replica, superseded)

    async def _pull(self, tasks: asyncio.TaskGroup) -> None:
        is_open = self._refuse() is None
        ledger = self._ledger
        room = min(ledger.room, self._limit(ledger.running)) if is_open else 0
        now_s = time.monotonic()
        if not self._has_lost_answer and (room == 0 or now_s < self._next_pull_s):
            return
        # A lost answer leased items nobody knows of: saying what is held returns them,
        # also when nothing more is wanted.
        self._has_lost_answer = True
        items = await self._control.pull(replica=self._replica, held=self._ledger.held(), most=room)
        self._has_lost_answer = False
        if len(items) < room:
            self._next_pull_s = now_s + _IDLE_PULL_INTERVAL_S
        for item in items:
            self._start(item, tasks)
        if items and (refusal := self._refuse()) is not None:
            self._yield(refusal.yielding, reason=refusal.reason)

    def _start(self, item: Item, tasks: asyncio.TaskGroup) -> None:
        if not self._ledger.add(item):
            return
        rid = new_rid()
        lease = (item.name, item.attempt)
        self._runs[lease] = (tasks.create_task(self._run_item(item, rid=rid)), rid)

    async def _run_item(self, item: Item, *, rid: str) -> None:
        try:
            result = await self._execute(item, rid=rid)
        except Exception as error:  # noqa: BLE001 - an item's input is anyone's
            # It fails alone. Neither trace nor message: both may quote the item.
            kind = type(error).__name__
            _log.error("item_surprise replica=%s item=%s kind=%s", self._replica, item.name, kind)
            self._abort_soon(rid)
            result = error_result(
                item, status=500, message=f"could not be run: {kind}", is_retryable=True
            )
        self._runs.pop((item.name, item.attempt), None)
        if self._ledger.finish(result):
            self._count(result)
            self._wake.set()

    async def _execute(self, item: Item, *, rid: str) -> Result:
        body = request_body(item, rid=rid, now_unix_s=time.time())
        if isinstance(body, Result):
            return body
        client = self._client()
        if client is None:
            return error_result(item, status=503, message="engine is gone", is_retryable=True)
        try:
            answer = await client.post_item(item.url, body, timeout_s=_ITEM_TIMEOUT_S)
        except EngineUnavailableError as error:
            self._abort_soon(rid)
            return error_result(item, status=503, message=str(error), is_retryable=True)
        return result_of(item, answer)
