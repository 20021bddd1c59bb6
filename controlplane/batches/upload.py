"""An input file on its way in.

Owns bounds on uploads. Invariants: an input has the name of its request_id, so a repeat
finds it, and other content under the same request_id is refused; it appears whole or not
at all, whatever ends the stream.
"""

import asyncio
import errno
from collections.abc import AsyncIterator

import grpc
from slacktide.v1.batch_service_pb2 import UploadInputRequest, UploadInputResponse
from slacktide.wire.errors import Refusal

from controlplane.batches.messages import invalid
from controlplane.batches.objects import INPUTS, ObjectStore, ObjectWriter
from controlplane.services.mutations import checked_request_id
from controlplane.stored import refusal_of
from storage.errors import RequestReusedError

_MAX_PIECE_BYTES = 1 << 20


async def receive_input(
    objects: ObjectStore, pieces: AsyncIterator[UploadInputRequest]
) -> UploadInputResponse:
    """Stores the stream as an input.

    Raises:
        Refusal: the stream is malformed or too large, or the store cannot take it.
    """
    first = await anext(pieces, None)
    if first is None:
        raise invalid("request_id", "upload: the stream is empty; send a request_id first")
    request_id = checked_request_id(first.request_id)
    name = f"{INPUTS}/{request_id}.jsonl"
    try:
        try:
            size_bytes = await asyncio.to_thread(objects.size, objects.uri_of(name))
        except FileNotFoundError:
            size_bytes = await _store(objects, name, first, pieces)
        else:
            if not await _is_same(objects, name, first, pieces):
                raise refusal_of(RequestReusedError(request_id=request_id, method="UploadInput"))
    except OSError as error:
        raise _refusal(error) from error
    return UploadInputResponse(input_uri=objects.uri_of(name), size_bytes=size_bytes)


async def _store(
    objects: ObjectStore,
    name: str,
    first: UploadInputRequest,
    pieces: AsyncIterator[UploadInputRequest],
) -> int:
    writer = await asyncio.to_thread(objects.create, name)
    try:
        await _write(objects, writer, first.content)
        async for piece in pieces:
            await _write(objects, writer, piece.content)
        await asyncio.to_thread(writer.publish)
    finally:
        # Not in a thread: a cancelled stream must not leave its bytes behind.
        writer.discard()
    return writer.size_bytes


async def _is_same(
    objects: ObjectStore,
    name: str,
    first: UploadInputRequest,
    pieces: AsyncIterator[UploadInputRequest],
) -> bool:
    """Whether the stream is what was stored before."""
    file = await asyncio.to_thread(objects.open, objects.uri_of(name))
    try:
        if await asyncio.to_thread(file.read, len(first.content)) != first.content:
            return False
        async for piece in pieces:
            if await asyncio.to_thread(file.read, len(piece.content)) != piece.content:
                return False
        return not await asyncio.to_thread(file.read, 1)
    finally:
        file.close()


async def _write(objects: ObjectStore, writer: ObjectWriter, content: bytes) -> None:
    if len(content) > _MAX_PIECE_BYTES:
        raise invalid(
            "content",
            f"content: {len(content)} bytes in one message, at most {_MAX_PIECE_BYTES} are"
            " allowed; send smaller pieces",
        )
    if writer.size_bytes + len(content) > objects.max_input_bytes:
        raise invalid(
            "content",
            f"upload: more than {objects.max_input_bytes} bytes; split it over several batches",
        )
    if content:
        await asyncio.to_thread(writer.write, content)


def _refusal(error: OSError) -> Refusal:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Refusal(
            code=grpc.StatusCode.RESOURCE_EXHAUSTED,
            reason="OBJECTS_FULL",
            message=f"upload: the object store is full ({error.strerror}); nothing was kept."
            " Free space in it, then upload again",
            retry_after_s=30.0,
        )
    return Refusal(
        code=grpc.StatusCode.UNAVAILABLE,
        reason="OBJECTS_UNAVAILABLE",
        message=f"upload: the object store cannot be written ({error.strerror});"
        " nothing was kept. Upload again later",
        retry_after_s=5.0,
    )
