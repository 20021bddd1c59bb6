"""Resource names to ids and records, and words for people, with the refusals they may end in."""

import re
from typing import TypeVar

import grpc
from slacktide.wire.errors import Refusal
from slacktide.wire.names import resource_id

from storage.records import DeploymentRecord

T = TypeVar("T")

MAX_REASON_CHARACTERS = 1000
_LISTS = {"plan": "placement history", "pin": "placement pins"}
_PLAN = re.compile(r"plans/([1-9][0-9]{0,17})")


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


def round_of(name: str, *, field: str = "name") -> int:
    """The round in the name of a plan, e.g. 12 of plans/12.

    Raises:
        Refusal: INVALID_ARGUMENT, it names no plan.
    """
    named = _PLAN.fullmatch(name)
    if named is None:
        why = f"name {name[:80]!r}: expected plans/<round>, as `slacktide placement history` shows"
        raise Refusal(
            code=grpc.StatusCode.INVALID_ARGUMENT,
            reason="INVALID_NAME",
            message=why,
            violations=[(field, why)],
        )
    return int(named[1])


def live(record: DeploymentRecord | None, id_: str) -> DeploymentRecord:
    """The deployment, unless it is deleted.

    Raises:
        Refusal: NOT_FOUND.
    """
    is_gone = record is None or record.is_deleted
    return found(None if is_gone else record, kind="deployment", id_=id_)


def found(record: T | None, *, kind: str, id_: str) -> T:
    """The record.

    Raises:
        Refusal: NOT_FOUND.
    """
    if record is None:
        raise Refusal(
            code=grpc.StatusCode.NOT_FOUND,
            reason=f"{kind.upper()}_NOT_FOUND",
            message=f"{kind} {id_}: does not exist; `slacktide {_LISTS.get(kind, f'{kind} list')}`"
            " shows those that do",
            metadata={kind: id_},
        )
    return record
