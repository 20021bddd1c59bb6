"""ItemService: pull, commit, return.

Owns the order that makes a result count once: first a durable segment, then one
transaction conditioned on the leases. Refuses bodies it cannot read: such leases are
undone before anyone sees them, and their batch rests for a while.
"""

import asyncio
import errno
import functools
import logging
import time
from collections.abc import Callable, Sequence
from uuid import uuid4

import grpc
from slacktide.v1 import item_service_pb2_grpc
from slacktide.v1.item_service_pb2 import (
    CommitResultsRequest,
    CommitResultsResponse,
    Item,
    ItemResult,
    PullItemsRequest,
    PullItemsResponse,
    ReturnItemsRequest,
    ReturnItemsResponse,
)
from slacktide.wire.errors import Refusal

from controlplane.batches.messages import id_of, invalid, lease_key, lease_message
from controlplane.batches.objects import SEGMENTS, ObjectStore
from controlplane.batches.ranges import ObjectDamagedError, RangeReader
from controlplane.batches.render import parse_object, result_record
from controlplane.stored import stored
from planner.dispatch.pick import pick
from storage.batch_records import (
    FleetLookup,
    LeasedItem,
    LeaseKey,
    Lessee,
    NewSegment,
    Outcome,
)
from storage.batches import BatchStore, Commit, Pull

_log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[object, object]

MAX_ITEMS = 256
_MAX_LEASES = 16 * MAX_ITEMS
_MAX_PULL_BYTES = 12 * 1024 * 1024
"""Bodies of one answer, so that with one more of any size it fits a message."""
_REST_S = 30.0  # of a batch whose input could not be read


class ItemServicer(item_service_pb2_grpc.ItemServiceServicer):
    """Agents' side of batches.

    Args:
        store: batches and items.
        fleet: says whether a replica may take offline items.
        objects: where inputs lie and segments go.
        wake: called when a batch may be ready for its files, `BatchWorker.wake`.
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
        self._inputs = RangeReader(objects)
        self._rests_until_s: dict[str, float] = {}

    async def PullItems(  # noqa: N802 - the wire's name
        self, request: PullItemsRequest, context: Context
    ) -> PullItemsResponse:
        """Takes back what the replica no longer holds and leases more."""
        lessee = _lessee(request.node, request.replica)
        _check_count("held", len(request.held))
        held = [lease_key(lease, field="held") for lease in request.held]
        if not 0 <= request.max_items <= MAX_ITEMS:
            raise invalid("max_items", f"max_items {request.max_items}: expected 0 to {MAX_ITEMS}")
        choose = functools.partial(pick, now_s=self._now(), max_items=request.max_items)
        pull = await stored(
            self._store.pull,
            lessee,
            self._fleet,
            held=held,
            epoch=request.epoch,
            choose=choose,
            max_bytes=_MAX_PULL_BYTES,
            excluding=self._resting(),
        )
        self._announce(pull.settled)
        _log_pull(lessee, pull)
        return PullItemsResponse(items=await self._with_bodies(lessee, pull.items))

    async def CommitResults(  # noqa: N802 - the wire's name
        self, request: CommitResultsRequest, context: Context
    ) -> CommitResultsResponse:
        """Stores results; answered once they are durable."""
        lessee = _lessee(request.node, request.replica)
        _check_count("results", len(request.results))
        results = {lease_key(one.lease, field="results.lease"): one for one in request.results}
        for one in results.values():
            _check_result(one)
        if not results:
            return CommitResultsResponse()
        try:
            commit = await stored(self._commit, lessee, results)
        except OSError as error:
            raise _write_refusal(error) from error
        self._announce(commit.settled)
        _log.info(
            "items_committed node=%s replica=%s results=%d superseded=%d",
            *(lessee.node, lessee.replica, len(results), len(commit.superseded)),
        )
        return CommitResultsResponse(superseded=[lease_message(k) for k in commit.superseded])

    async def ReturnItems(  # noqa: N802 - the wire's name
        self, request: ReturnItemsRequest, context: Context
    ) -> ReturnItemsResponse:
        """Makes items pending again that the replica will not finish."""
        lessee = _lessee(request.node, request.replica)
        _check_count("leases", len(request.leases))
        keys = [lease_key(lease, field="leases") for lease in request.leases]
        returned = await stored(self._store.return_items, lessee, keys)
        self._announce(returned.settled)
        _log.info(
            "items_returned node=%s replica=%s items=%d superseded=%d reason=%r",
            *(lessee.node, lessee.replica, len(keys), len(returned.superseded)),
            request.reason[:200],
        )
        return ReturnItemsResponse()

    def _resting(self) -> frozenset[str]:
        now_s = self._now()
        self._rests_until_s = {b: s for b, s in self._rests_until_s.items() if s > now_s}
        return frozenset(self._rests_until_s)

    def _announce(self, settled: Sequence[str]) -> None:
        if settled:
            self._wake()

    async def _with_bodies(self, lessee: Lessee, leased: Sequence[LeasedItem]) -> list[Item]:
        bodies, unread = await asyncio.to_thread(self._read, leased)
        for batch, error in unread.items():
            self._rests_until_s[batch] = self._now() + _REST_S
            _log.warning("batch_input_unreadable batch=%s error=%s", batch, error)
            message = (
                f"batch {batch}: its input cannot be read now: {error};"
                f" tried again in {_REST_S:.0f} s, no line is given up"
            )
            await stored(self._store.note, batch, message)
        undone = [one.key for one in leased if one.key.batch in unread]
        if undone:
            await stored(self._store.unlease, lessee, undone)
        return [
            Item(
                lease=lease_message(one.key),
                custom_id=one.custom_id,
                url=one.url,
                body=bodies[one.key],
                deadline_unix_s=one.deadline_s or 0.0,
            )
            for one in leased
            if one.key.batch not in unread
        ]

    def _read(self, leased: Sequence[LeasedItem]) -> tuple[dict[LeaseKey, bytes], dict[str, str]]:
        bodies: dict[LeaseKey, bytes] = {}
        unread: dict[str, str] = {}
        for one in leased:
            if one.key.batch in unread:
                continue
            try:
                body = self._inputs.read(
                    one.input_uri, offset=one.body_offset, length=one.body_length
                )
                if not (body.startswith(b"{") and body.endswith(b"}")):
                    raise ObjectDamagedError(errno.EIO, "changed since its lines were checked")
            except OSError as error:
                self._inputs.forget(one.input_uri)
                unread[one.key.batch] = str(error)
            else:
                bodies[one.key] = body
        return bodies, unread

    def _commit(self, lessee: Lessee, results: dict[LeaseKey, ItemResult]) -> Commit:
        """Writes a segment of the results whose leases stand, then commits all.

        A lease that does not stand never will again; its result goes along without
        content, to be told apart as repeated or superseded.
        """
        standing = self._store.standing(lessee, results.keys())
        records: list[bytes] = []
        outcomes: list[Outcome] = []
        offset = 0
        for key, one in results.items():
            is_success = _is_success(one)
            record = b""
            if key in standing:
                record = result_record(
                    key, status_code=one.status_code, body=one.body, is_success=is_success
                )
                records.append(record + b"\n")
            outcomes.append(
                Outcome(
                    key=key,
                    is_success=is_success,
                    is_retryable=one.retryable,
                    offset=offset,
                    length=len(record),
                    prompt_tokens=one.prompt_tokens,
                    output_tokens=one.output_tokens,
                )
            )
            offset += len(record) + 1 if record else 0
        return self._store.commit(lessee, outcomes, segment=self._write_segment(records))

    def _write_segment(self, records: Sequence[bytes]) -> NewSegment | None:
        if not records:
            return None
        id_ = uuid4().hex
        content = b"".join(records)
        uri = self._objects.write(f"{SEGMENTS}/{id_[:2]}/{id_}.jsonl", content)
        return NewSegment(id=id_, uri=uri, size_bytes=len(content), create_s=self._now())


def _lessee(node: str, replica: str) -> Lessee:
    return Lessee(
        node=id_of("nodes", node, field="node"),
        replica=id_of("replicas", replica, field="replica"),
    )


def _check_count(field: str, count: int) -> None:
    if count > _MAX_LEASES:
        raise invalid(field, f"{field}: {count} leases: at most {_MAX_LEASES} in one call")


def _check_result(one: ItemResult) -> None:
    if not 0 <= one.status_code <= 599:
        raise invalid(
            "results.status_code",
            f"item {one.lease.item}: status_code {one.status_code}: expected 0 to 599",
        )
    if one.prompt_tokens < 0 or one.output_tokens < 0:
        raise invalid(
            "results",
            f"item {one.lease.item}: {one.prompt_tokens} prompt and {one.output_tokens} output"
            " tokens: expected counts >= 0",
        )


def _is_success(one: ItemResult) -> bool:
    return 200 <= one.status_code < 300 and not one.retryable and parse_object(one.body) is not None


def _write_refusal(error: OSError) -> Refusal:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Refusal(
            code=grpc.StatusCode.RESOURCE_EXHAUSTED,
            reason="OBJECTS_FULL",
            message=f"the object store is full ({error}); nothing was committed."
            " Free space, the results can be sent again",
            retry_after_s=5.0,
        )
    return Refusal(
        code=grpc.StatusCode.UNAVAILABLE,
        reason="OBJECTS_UNAVAILABLE",
        message=f"the object store cannot be written ({error}); nothing was committed."
        " Send the results again",
        retry_after_s=5.0,
    )


def _log_pull(lessee: Lessee, pull: Pull) -> None:
    if pull.refusal is not None:
        _log.debug(
            "pull_refused node=%s replica=%s reason=%s", lessee.node, lessee.replica, pull.refusal
        )
    if pull.items or pull.returned:
        _log.info(
            "items_pulled node=%s replica=%s leased=%d taken_back=%d",
            *(lessee.node, lessee.replica, len(pull.items), pull.returned),
        )
