"""BatchService: upload, create, get, list, cancel, download."""

from collections.abc import Callable

from slacktide.v1 import batch_service_pb2_grpc

from controlplane.batches.objects import ObjectStore
from storage.batch_records import FleetLookup
from storage.batches import BatchStore


class BatchServicer(batch_service_pb2_grpc.BatchServiceServicer):
    """Clients' side of batches.

    Args:
        store: batches and items.
        fleet: says which deployments exist.
        objects: where inputs and result files lie.
        wake: called after a batch was created or cancelled, `BatchWorker.wake`.
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
