"""The loops that drive intake and finaliser, resumed at start.

    worker = BatchWorker(store, objects)
    BatchServicer(store, fleet, objects, wake=worker.wake)
    ItemServicer(store, fleet, objects, wake=worker.wake)
    task_group.create_task(worker.run())

Safe to run in several control planes at once: every step is conditioned on the row it
started from.
"""

import asyncio

from controlplane.batches.objects import ObjectStore
from storage.batches import BatchStore


class BatchWorker:
    """Moves batches from VALIDATING on, and publishes their files.

    Args:
        store: batches and items.
        objects: where inputs, segments and result files lie.
    """

    def __init__(self, store: BatchStore, objects: ObjectStore) -> None:
        self._store = store
        self._objects = objects
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Says that a batch was created, cancelled or settled; from the event loop only."""
        self._wake.set()

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
