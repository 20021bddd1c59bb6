"""Batches and leases, to protobuf and back.

Owns the names of batches and items on the wire. Refuses malformed names with the field
they came in.
"""

import grpc
from slacktide.v1 import batch_pb2, item_service_pb2
from slacktide.wire.errors import Refusal
from slacktide.wire.names import resource_id, resource_name

from controlplane.messages.scalars import to_timestamp
from storage.batch_records import BatchRecord, BatchState, LeaseKey

_STATES = {
    BatchState.VALIDATING: batch_pb2.BATCH_STATE_VALIDATING,
    BatchState.IN_PROGRESS: batch_pb2.BATCH_STATE_IN_PROGRESS,
    BatchState.FINALIZING: batch_pb2.BATCH_STATE_FINALIZING,
    BatchState.COMPLETED: batch_pb2.BATCH_STATE_COMPLETED,
    BatchState.FAILED: batch_pb2.BATCH_STATE_FAILED,
    BatchState.CANCELLING: batch_pb2.BATCH_STATE_CANCELLING,
    BatchState.CANCELLED: batch_pb2.BATCH_STATE_CANCELLED,
}
_MAX_INT32 = (1 << 31) - 1


def invalid(field: str, message: str) -> Refusal:
    """The refusal of a request whose field is wrong."""
    return Refusal(
        code=grpc.StatusCode.INVALID_ARGUMENT,
        reason="INVALID_FIELD",
        message=message,
        violations=[(field, message)],
    )


def batch_message(batch: BatchRecord) -> batch_pb2.Batch:
    """The batch as clients see it."""
    return batch_pb2.Batch(
        name=resource_name("batches", batch.id),
        deployment=resource_name("deployments", batch.deployment),
        input_uri=batch.input_uri,
        state=_STATES[batch.state],
        counts=batch_pb2.BatchCounts(
            total=batch.total,
            pending=batch.pending,
            leased=batch.leased,
            succeeded=batch.succeeded,
            failed=batch.failed,
        ),
        output_uri=batch.output_uri or "",
        error_uri=batch.error_uri or "",
        tenant=batch.tenant,
        deadline_time=to_timestamp(batch.deadline_s),
        create_time=to_timestamp(batch.create_s),
        start_time=to_timestamp(batch.start_s),
        end_time=to_timestamp(batch.end_s),
        message=batch.message,
        prompt_tokens=batch.prompt_tokens,
        output_tokens=batch.output_tokens,
    )


def lease_message(key: LeaseKey) -> item_service_pb2.ItemLease:
    """A lease as agents see it."""
    return item_service_pb2.ItemLease(
        item=f"batches/{key.batch}/items/{key.line}", attempt=key.attempt
    )


def lease_key(lease: item_service_pb2.ItemLease, *, field: str) -> LeaseKey:
    """The lease an agent names.

    Raises:
        Refusal: it is malformed.
    """
    batch, separator, line = lease.item.rpartition("/items/")
    is_line = separator and line.isascii() and line.isdigit() and len(line) < 19
    if not is_line or not 1 <= lease.attempt <= _MAX_INT32:
        raise invalid(
            field,
            f"{field}: item {lease.item!r} attempt {lease.attempt}: expected"
            " batches/<id>/items/<line> and an attempt >= 1",
        )
    return LeaseKey(
        batch=id_of("batches", batch, field=field), line=int(line), attempt=lease.attempt
    )


def id_of(collection: str, name: str, *, field: str) -> str:
    """The bare id in a resource name.

    Raises:
        Refusal: it is malformed.
    """
    try:
        return resource_id(collection, name)
    except ValueError as error:
        raise invalid(field, f"{field}: {error}") from error
