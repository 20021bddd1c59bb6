"""Resource names to ids and records, with the refusals they may end in."""

from typing import TypeVar

import grpc
from slacktide.wire.errors import Refusal
from slacktide.wire.names import resource_id

T = TypeVar("T")


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
