"""Resource names to ids and records, and words for people, with the refusals they may end in."""

from typing import TypeVar

import grpc
from slacktide.wire.errors import Refusal
from slacktide.wire.names import resource_id

T = TypeVar("T")

MAX_REASON_CHARACTERS = 1000


def checked_reason(reason: str) -> str:
    """Why an operator did something, as everybody will read it.

    Raises:
        Refusal: INVALID_ARGUMENT, it is too long or cannot be printed.
    """
    if len(reason) <= MAX_REASON_CHARACTERS and (not reason or reason.isprintable()):
        return reason
    why = f"has {len(reason)} characters: expected at most {MAX_REASON_CHARACTERS}, all printable"
    raise Refusal(
        code=grpc.StatusCode.INVALID_ARGUMENT,
        reason="INVALID_REASON",
        message=f"reason: {why}",
        violations=[("reason", why)],
    )


def id_of(collection: str, name: str, *, field: str = "name") -> str:
    """The id in a resource name.

    Raises:
        Refusal: INVALID_ARGUMENT, it names nothing of this collection.
    """
    try:
        return resource_id(collection, name)
    except ValueError as error:
        raise Refusal(
            code=grpc.StatusCode.INVALID_ARGUMENT,
            reason="INVALID_NAME",
            message=str(error),
            violations=[(field, str(error))],
        ) from error


def found(record: T | None, *, kind: str, id_: str) -> T:
    """The record.

    Raises:
        Refusal: NOT_FOUND.
    """
    if record is None:
        raise Refusal(
            code=grpc.StatusCode.NOT_FOUND,
            reason=f"{kind.upper()}_NOT_FOUND",
            message=f"{kind} {id_}: does not exist; `slacktide {kind} list` shows those that do",
            metadata={kind: id_},
        )
    return record
