"""The loops that drive intake and finaliser, resumed at start.

    worker = BatchWorker(store, objects)
    BatchServicer(store, fleet, objects, wake=worker.wake)
    ItemServicer(store, fleet, objects, wake=worker.wake)
    task_group.create_task(worker.run())

Owns when a batch is worked on: batches take turns, a chunk each, so that a large one
delays no small one; what fails is retried with backoff and says so in the batch's
message. Safe to run in several control planes at once: every step is conditioned on the
row it started from.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from controlplane.batches.finalise import finalise
from controlplane.batches.intake import take_chunk
from controlplane.batches.objects import ObjectStore
from storage.batch_records import BatchRecord, BatchState
from storage.batches import BatchStore
from storage.errors import StorageError

_log = logging.getLogger(__name__)

_POLL_S = 2.0  # another control plane's batches announce themselves only in the database
_CANCEL_ITEMS = 2000
_MAX_BACKOFF_S = 30.0
_MAX_INTAKE_TRIES = 6  # about a minute of an input that cannot be read
_HOPELESS = (FileNotFoundError, PermissionError, IsADirectoryError)


@dataclass(slots=True)
class _Setback:
    """How often a batch's step failed in a row, and when it is tried again."""

    tries: int = 0
    not_before_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Step:
    """What a step did; `ended` names what the batch came to by it, empty if it goes on."""

    has_worked: bool
    ended: str = ""


class BatchWorker:
    """Moves batches from VALIDATING on, and publishes their files.

    Args:
        store: batches and items.
        objects: where inputs, segments and result files lie.
        demand_changed: told in words when a batch begins or ends to want work.
        now: Unix seconds.
    """

    def __init__(
        self,
        store: BatchStore,
        objects: ObjectStore,
        *,
        demand_changed: Callable[[str], None] = lambda _: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._objects = objects
        self._demand_changed = demand_changed
        self._now = now
        self._wakes = (asyncio.Event(), asyncio.Event())
        self._is_stopping = threading.Event()
        self._setbacks: dict[str, _Setback] = {}

    def wake(self) -> None:
        """Says that a batch was created, cancelled or settled; from the event loop only."""
        for event in self._wakes:
            event.set()

    async def run(self) -> None:
        """Runs until cancelled; threads it started stop within a chunk or a page."""
        self._is_stopping.clear()
        try:
            swept = await asyncio.to_thread(self._objects.sweep)
            _log.info("batch_worker_started swept_spool_files=%d", swept)
        except OSError as error:
            _log.warning("batch_spool_not_swept error=%s", error)
        intake_wake, finish_wake = self._wakes
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._loop(self._intake_round, intake_wake))
                tasks.create_task(self._loop(self._finish_round, finish_wake))
        finally:
            self._is_stopping.set()

    async def _loop(self, a_round: Callable[[], Awaitable[bool]], wake: asyncio.Event) -> None:
        while True:
            wake.clear()
            try:
                has_more = await a_round()
            except StorageError as error:
                _log.warning("batch_round_failed error=%s", error)
                has_more = False
            except Exception:  # noqa: BLE001 - batches outlive any defect of one round
                _log.exception("batch_round_alert")
                has_more = False
            if not has_more:
                try:
                    await asyncio.wait_for(wake.wait(), _POLL_S)
                except TimeoutError:
                    continue

    async def _intake_round(self) -> bool:
        """A chunk of every batch that is read; whether there is more to read."""
        batches = await asyncio.to_thread(
            self._store.in_states, BatchState.VALIDATING, BatchState.CANCELLING
        )
        open_batches = [batch for batch in batches if not batch.is_intake_done]
        steps = [await self._guarded(batch, self._take_chunk) for batch in open_batches]
        if any(steps):
            self.wake()  # the other loop may find a cancelled batch read to its end
        return any(steps)

    async def _finish_round(self) -> bool:
        """A step of every batch that is cancelled or settled; whether there is more."""
        batches = await asyncio.to_thread(
            self._store.in_states, BatchState.FINALIZING, BatchState.CANCELLING
        )
        open_batches = [batch for batch in batches if batch.is_intake_done]
        steps = [await self._guarded(batch, self._finish_step) for batch in open_batches]
        return any(steps)

    async def _guarded(self, batch: BatchRecord, step: Callable[[BatchRecord], "_Step"]) -> bool:
        """Runs a step in a thread; a failure sets this batch back, and no other."""
        setback = self._setbacks.setdefault(batch.id, _Setback())
        if self._now() < setback.not_before_s:
            return False
        try:
            done = await asyncio.to_thread(step, batch)
        except OSError as error:
            await self._set_back(batch, setback, error)
            return False
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001 - one batch must not stop the others
            _log.exception("batch_step_failed batch=%s", batch.id)
            await self._set_back(batch, setback, error)
            return False
        del self._setbacks[batch.id]
        if done.ended:
            self._demand_changed(f"batch {batch.id} {done.ended}")
        return done.has_worked

    async def _set_back(self, batch: BatchRecord, setback: _Setback, error: Exception) -> None:
        setback.tries += 1
        wait_s = min(2.0 ** (setback.tries - 1), _MAX_BACKOFF_S)
        setback.not_before_s = self._now() + wait_s
        _log.warning(
            "batch_step_set_back batch=%s tries=%d error=%s", batch.id, setback.tries, error
        )
        is_hopeless = isinstance(error, _HOPELESS) or setback.tries >= _MAX_INTAKE_TRIES
        if not batch.is_intake_done and is_hopeless:
            message = (
                f"batch {batch.id}: its input cannot be read: {error};"
                " check the file and submit it again"
            )
            await asyncio.to_thread(self._store.fail, batch.id, message, now_s=self._now())
            self._setbacks.pop(batch.id, None)
        else:
            message = f"batch {batch.id}: {error}; tried {setback.tries} times, goes on trying"
            await asyncio.to_thread(self._store.note, batch.id, message)

    def _take_chunk(self, batch: BatchRecord) -> "_Step":
        take_chunk(self._store, self._objects, batch, now_s=self._now())
        after = self._store.get(batch.id)
        if after is not None and after.is_intake_done:
            _log.info(
                "batch_intake_done batch=%s state=%s lines=%d refused=%d",
                *(batch.id, after.state.value, after.total, after.total - after.valid_items),
            )
            return _Step(has_worked=True, ended=after.state.value)
        return _Step(has_worked=True)

    def _finish_step(self, batch: BatchRecord) -> "_Step":
        if not batch.is_settled:
            self._store.cancel_some(batch.id, limit=_CANCEL_ITEMS)
            return _Step(has_worked=True)
        is_published = finalise(
            self._store,
            self._objects,
            batch,
            now=self._now,
            is_stopping=self._is_stopping.is_set,
        )
        if is_published:
            _log.info("batch_published batch=%s lines=%d", batch.id, batch.total)
        return _Step(has_worked=is_published, ended="published" if is_published else "")
