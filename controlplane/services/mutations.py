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
        """A UUID, made anew for every request."""
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
    epoch: int | None = None,
) -> R:
    """Runs `work` once for a request_id and publishes the new state.

    Args:
        store: fleet state.
        feed: refreshed before this returns, so that the caller reads its own write.
        request: carries the request_id.
        answer: type of the response.
        work: makes the change and the response, in one transaction.
        epoch: the leader's, for what only a leader may write.

    Raises:
        Refusal: from `work`, or because the store could not.
    """
    request_id = checked_request_id(request.request_id)

    def once(state: FleetTransaction) -> R:
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

    response = await stored(store.run, once, epoch=epoch)
    await feed.refresh()
    return response


async def repeated(store: FleetStore, request: Mutation, *, answer: type[R]) -> R | None:
    """The answer of a request that was answered before, for checks too slow for `mutate`.

    Raises:
        Refusal: the request_id is no UUID, or belongs to another request.
    """
    request_id = checked_request_id(request.request_id)
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


def checked_request_id(request_id: str) -> str:
    """The request_id in its one spelling.

    Raises:
        Refusal: INVALID_ARGUMENT, it is missing or no UUID.
    """
    try:
        return str(uuid.UUID(request_id))
    except ValueError as error:
        why = "is no UUID" if request_id else "is missing"
        raise Refusal(
            code=grpc.StatusCode.INVALID_ARGUMENT,
            reason="INVALID_REQUEST_ID",
            message=f"request_id {request_id[:64]!r}: {why}; make a new UUID for every request",
            violations=[("request_id", why)],
        ) from error
