"""BatchService: upload, create, get, list, cancel, download.

Owns what clients may name: inputs they uploaded, or that lie where the operator allowed.
Refuses everything else a server could read. Pause and resume are UNIMPLEMENTED.
"""

import asyncio
import errno
import logging
import math
import time
from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import grpc
from slacktide.v1 import batch_service_pb2_grpc
from slacktide.v1.batch_service_pb2 import (
    RESULT_FILE_ERROR,
    RESULT_FILE_OUTPUT,
    CancelBatchRequest,
    CancelBatchResponse,
    CreateBatchRequest,
    CreateBatchResponse,
    DownloadResultsRequest,
    DownloadResultsResponse,
    GetBatchRequest,
    GetBatchResponse,
    ListBatchesRequest,
    ListBatchesResponse,
    UploadInputRequest,
    UploadInputResponse,
)
from slacktide.wire.errors import Refusal
from slacktide.wire.names import resource_id

from controlplane.batches.messages import batch_message, id_of, invalid
from controlplane.batches.objects import ObjectStore
from controlplane.batches.upload import receive_input
from controlplane.messages.scalars import to_ms
from controlplane.services.mutations import checked_request_id
from controlplane.services.paging import bad_token, checked_size, make_token, read_token
from controlplane.stored import stored
from storage.batch_records import BatchRecord, FleetLookup, NewBatch
from storage.batches import BatchStore

_log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[object, object]

_PIECE_BYTES = 1 << 20
_MAX_DEADLINE_S = 366 * 86_400.0


class BatchServicer(batch_service_pb2_grpc.BatchServiceServicer):
    """Clients' side of batches.

    Args:
        store: batches and items.
        fleet: says which deployments exist.
        objects: where inputs and result files lie.
        wake: called after a batch was created or cancelled, `BatchWorker.wake`.
        now: Unix seconds.
    """

    def __init__(
        self,
        store: BatchStore,
        fleet: FleetLookup,
        objects: ObjectStore,
        *,
        wake: Callable[[], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._fleet = fleet
        self._objects = objects
        self._wake = wake
        self._now = now

    async def UploadInput(  # noqa: N802 - the wire's name
        self, request_iterator: AsyncIterator[UploadInputRequest], context: Context
    ) -> UploadInputResponse:
        """Stores an input file."""
        return await receive_input(self._objects, request_iterator)

    async def CreateBatch(  # noqa: N802 - the wire's name
        self, request: CreateBatchRequest, context: Context
    ) -> CreateBatchResponse:
        """Submits a batch; its lines are checked after this returns."""
        deployment = id_of("deployments", request.deployment, field="deployment")
        new = NewBatch(
            id=f"b-{uuid4().hex[:16]}",
            request_id=checked_request_id(request.request_id),
            deployment=deployment,
            input_uri=await asyncio.to_thread(self._checked_input, request.input_uri),
            create_s=self._now(),
            deadline_after_s=_deadline_after_s(request),
        )
        batch = await stored(self._store.create, new, self._fleet)
        if batch is None:
            raise Refusal(
                code=grpc.StatusCode.NOT_FOUND,
                reason="DEPLOYMENT_NOT_FOUND",
                message=f"deployment {deployment}: does not exist;"
                " `slacktide deployment list` shows those that do",
            )
        if batch.id == new.id:
            _log.info("batch_created batch=%s deployment=%s", batch.id, deployment)
        self._wake()
        return CreateBatchResponse(batch=batch_message(batch))

    async def GetBatch(  # noqa: N802 - the wire's name
        self, request: GetBatchRequest, context: Context
    ) -> GetBatchResponse:
        """Gets one batch."""
        return GetBatchResponse(batch=batch_message(await self._found(request.name)))

    async def ListBatches(  # noqa: N802 - the wire's name
        self, request: ListBatchesRequest, context: Context
    ) -> ListBatchesResponse:
        """Lists batches, newest first."""
        limit = checked_size(request.page_size)
        found = await stored(
            self._store.list_page, limit=limit + 1, before=_parsed_token(request.page_token)
        )
        return ListBatchesResponse(
            batches=[batch_message(batch) for batch in found[:limit]],
            next_page_token=_token(found[limit - 1]) if len(found) > limit else "",
        )

    async def CancelBatch(  # noqa: N802 - the wire's name
        self, request: CancelBatchRequest, context: Context
    ) -> CancelBatchResponse:
        """Cancels; finished lines stay, the rest become error lines."""
        request_id = checked_request_id(request.request_id)
        batch_id = id_of("batches", request.name, field="name")
        batch = await stored(
            self._store.request_cancel, batch_id, request_id=request_id, now_s=self._now()
        )
        if batch is None:
            raise _unknown(batch_id)
        _log.info("batch_cancel_requested batch=%s state=%s", batch.id, batch.state.value)
        self._wake()
        return CancelBatchResponse(batch=batch_message(batch))

    async def DownloadResults(  # noqa: N802 - the wire's name
        self, request: DownloadResultsRequest, context: Context
    ) -> AsyncIterator[DownloadResultsResponse]:
        """Streams the output or the error file."""
        batch = await self._found(request.name)
        match request.file:
            case f if f == RESULT_FILE_OUTPUT:
                uri = batch.output_uri
            case f if f == RESULT_FILE_ERROR:
                uri = batch.error_uri
            case other:
                raise invalid("file", f"file {other}: expected OUTPUT or ERROR")
        if uri is None:
            raise Refusal(
                code=grpc.StatusCode.FAILED_PRECONDITION,
                reason="RESULTS_NOT_PUBLISHED",
                message=f"batch {batch.id}: is {batch.state.value}, its files are published when"
                " it is completed or cancelled; see GetBatch",
                violations=[(request.name, f"state {batch.state.value}")],
            )
        try:
            file = await asyncio.to_thread(self._objects.open, uri)
            try:
                while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
                    yield DownloadResultsResponse(content=piece)
            finally:
                file.close()
        except OSError as error:
            raise Refusal(
                code=grpc.StatusCode.UNAVAILABLE,
                reason="OBJECTS_UNAVAILABLE",
                message=f"batch {batch.id}: {uri} cannot be read ({error}); try again later",
            ) from error

    async def _found(self, name: str) -> BatchRecord:
        batch_id = id_of("batches", name, field="name")
        batch = await stored(self._store.get, batch_id)
        if batch is None:
            raise _unknown(batch_id)
        return batch

    def _checked_input(self, uri: str) -> str:
        try:
            readable = self._objects.readable_input(uri)
        except PermissionError as error:
            raise invalid(
                "input_uri",
                f"input_uri {uri[:200]!r}: {error.strerror}; upload the file with UploadInput,"
                " or have an operator allow its prefix",
            ) from error
        try:
            size_bytes = self._objects.size(readable)
        except FileNotFoundError as error:
            raise Refusal(
                code=grpc.StatusCode.NOT_FOUND,
                reason="INPUT_NOT_FOUND",
                message=f"input_uri {uri[:200]!r}: does not exist; upload it with UploadInput",
            ) from error
        except OSError as error:
            raise Refusal(
                code=grpc.StatusCode.UNAVAILABLE,
                reason="OBJECTS_UNAVAILABLE",
                message=f"input_uri {uri[:200]!r}: cannot be read now"
                f" ({errno.errorcode.get(error.errno or 0, 'error')}); try again later",
                retry_after_s=5.0,
            ) from error
        if size_bytes > self._objects.max_input_bytes:
            raise invalid(
                "input_uri",
                f"input_uri {uri[:200]!r}: {size_bytes} bytes, at most"
                f" {self._objects.max_input_bytes} are allowed; split it over several batches",
            )
        return readable


def _deadline_after_s(request: CreateBatchRequest) -> float | None:
    if not request.HasField("deadline"):
        return None
    after_s = to_ms(request.deadline) / 1e3
    if not 0.0 < after_s <= _MAX_DEADLINE_S:
        raise invalid(
            "deadline",
            f"deadline {after_s:g} s: expected more than 0 and at most {_MAX_DEADLINE_S:.0f} s"
            " from now; leave it unset for none",
        )
    return after_s


def _unknown(batch: str) -> Refusal:
    return Refusal(
        code=grpc.StatusCode.NOT_FOUND,
        reason="BATCH_NOT_FOUND",
        message=f"batch {batch}: does not exist; `slacktide batch list` shows those that do",
    )


def _token(batch: BatchRecord) -> str:
    return make_token(f"{batch.create_s!r} {batch.id}")


def _parsed_token(token: str) -> tuple[float, str] | None:
    if not token:
        return None
    create_s, _, batch = read_token(token).partition(" ")
    try:
        before = float(create_s), resource_id("batches", f"batches/{batch}")
    except ValueError as error:
        raise bad_token(token) from error
    if not math.isfinite(before[0]):
        raise bad_token(token)
    return before
