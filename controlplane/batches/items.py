"""ItemService: pull, commit, return."""

from collections.abc import Callable

from slacktide.v1 import item_service_pb2_grpc

from controlplane.batches.objects import ObjectStore
from storage.batch_records import FleetLookup
from storage.batches import BatchStore


class ItemServicer(item_service_pb2_grpc.ItemServiceServicer):
    """Agents' side of batches.

    Args:
        store: batches and items.
        fleet: says whether a replica may take offline items.
        objects: where inputs lie and segments go.
        wake: called when a batch may be ready for its files, `BatchWorker.wake`.
    """

    def __init__(
        self,
        store: BatchStore,
        fleet: FleetLookup,
        objects: ObjectStore,
        *,
        wake: Callable[[], None],
    ) -> None:
        self._store = store
        self._fleet = fleet
        self._objects = objects
        self._wake = wake
