"""Mutations that are safe to repeat.

Owns the request_id. Invariant: the change and its answer are stored in one transaction,
so that a repeat after a crash answers the same and does nothing.
"""

import hashlib
import uuid
from collections.abc import Callable
from typing import Protocol, TypeVar

import grpc
from google.protobuf.message import Message
from slacktide.wire.errors import Refusal

from controlplane.feed import StateFeed
from controlplane.stored import stored
from storage.store import FleetStore, FleetTransaction


class Mutation(Protocol):
    """A request that changes state."""

    @property
    def request_id(self) -> str:
        """A UUID, or empty where a repeat may act again."""
        ...

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes:  # noqa: N802
        """As protobuf messages have it."""
        ...


R = TypeVar("R", bound=Message)


async def mutate(
    store: FleetStore,
    feed: StateFeed,
    request: Mutation,
    *,
    answer: type[R],
    work: Callable[[FleetTransaction], R],
) -> R:
    """Runs `work` once for a request_id and publishes the new state.

    Args:
        store: fleet state.
        feed: refreshed before this returns, so that the caller reads its own write.
        request: carries the request_id.
        answer: type of the response.
        work: makes the change and the response, in one transaction.

    Raises:
        Refusal: from `work`, or because the store could not.
    """
    request_id = _checked(request.request_id)

    def once(state: FleetTransaction) -> R:
        if not request_id:
            return work(state)
        known = _known(state, request_id, request, answer)
        if known is not None:
            return known
        response = work(state)
        state.remember(
            request_id,
            method=type(request).__name__,
            fingerprint=_fingerprint(request),
            response=response.SerializeToString(),
        )
        return response

    response = await stored(store.run, once)
    await feed.refresh()
    return response


async def repeated(store: FleetStore, request: Mutation, *, answer: type[R]) -> R | None:
    """The answer of a request that was answered before, for checks too slow for `mutate`.

    Raises:
        Refusal: the request_id is no UUID, or belongs to another request.
    """
    request_id = _checked(request.request_id)
    if not request_id:
        return None
    return await stored(store.run, lambda state: _known(state, request_id, request, answer))


def _known(
    state: FleetTransaction, request_id: str, request: Mutation, answer: type[R]
) -> R | None:
    known = state.answered(
        request_id, method=type(request).__name__, fingerprint=_fingerprint(request)
    )
    if known is None:
        return None
    response = answer()
    response.ParseFromString(known)
    return response


def _fingerprint(request: Mutation) -> bytes:
    return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()


def _checked(request_id: str) -> str:
    if not request_id:
        return ""
    try:
        return str(uuid.UUID(request_id))
    except ValueError as error:
        raise Refusal(
            code=grpc.StatusCode.INVALID_ARGUMENT,
            reason="INVALID_REQUEST_ID",
            message=f"request_id {request_id[:64]!r}: is no UUID; make a new one for every request",
            violations=[("request_id", "is no UUID")],
        ) from error
