"""Store calls off the event loop, with storage errors as refusals.

Owns how a full disk or an unreachable database reaches a client: one clear status, and
the process goes on.
"""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import grpc
from slacktide.wire.errors import Refusal

from storage.errors import (
    RequestReusedError,
    StaleEpochError,
    StorageError,
    StorageFullError,
)

P = ParamSpec("P")
T = TypeVar("T")

_RETRY_AFTER_S = 2.0


async def stored(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs blocking store work in a thread.

    Raises:
        Refusal: the store could not do it.
    """
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    except StorageError as error:
        raise refusal_of(error) from error


def refusal_of(error: StorageError) -> Refusal:
    """The refusal a storage error becomes on the wire."""
    match error:
        case StorageFullError():
            return Refusal(
                code=grpc.StatusCode.RESOURCE_EXHAUSTED,
                reason="STORAGE_FULL",
                message=str(error),
                retry_after_s=_RETRY_AFTER_S,
            )
        case StaleEpochError():
            return Refusal(code=grpc.StatusCode.ABORTED, reason="STALE_EPOCH", message=str(error))
        case RequestReusedError():
            return Refusal(
                code=grpc.StatusCode.INVALID_ARGUMENT,
                reason="REQUEST_ID_REUSED",
                message=str(error),
                violations=[("request_id", str(error))],
            )
        case _:
            return Refusal(
                code=grpc.StatusCode.UNAVAILABLE,
                reason="STORAGE_UNAVAILABLE",
                message=str(error),
                retry_after_s=_RETRY_AFTER_S,
            )
