"""Refusals as google.rpc statuses.

Owns how an error crosses the wire: a code, one sentence with id, observed, allowed and
remedy, and machine-readable details. Refuses stack traces and secrets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import grpc
import grpc.aio
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

DOMAIN = "slacktide.dev"


@dataclass(kw_only=True, eq=False)
class Refusal(Exception):  # noqa: N818 - a value that can be raised across a boundary
    """An expected refusal on its way to the client.

    Args:
        code: gRPC status code.
        reason: UPPER_SNAKE_CASE, stable, for machines.
        message: what, which id, observed, allowed, remedy.
        metadata: small facts for machines; never request content.
        violations: (field or subject, description) pairs.
        retry_after_s: when to try again, for RESOURCE_EXHAUSTED and UNAVAILABLE.
    """

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: Sequence[tuple[str, str]] = ()
    retry_after_s: float | None = None

    def __str__(self) -> str:
        """The sentence for people."""
        return self.message


def to_status(refusal: Refusal) -> status_pb2.Status:
    """The refusal with its ErrorInfo, violations and RetryInfo."""
    packed = [
        _pack(
            error_details_pb2.ErrorInfo(
                reason=refusal.reason, domain=DOMAIN, metadata=dict(refusal.metadata)
            )
        )
    ]
    if refusal.violations:
        match refusal.code:
            case grpc.StatusCode.INVALID_ARGUMENT:
                packed.append(
                    _pack(
                        error_details_pb2.BadRequest(
                            field_violations=[
                                error_details_pb2.BadRequest.FieldViolation(field=f, description=d)
                                for f, d in refusal.violations
                            ]
                        )
                    )
                )
            case _:
                packed.append(
                    _pack(
                        error_details_pb2.PreconditionFailure(
                            violations=[
                                error_details_pb2.PreconditionFailure.Violation(
                                    type=refusal.reason, subject=s, description=d
                                )
                                for s, d in refusal.violations
                            ]
                        )
                    )
                )
    if refusal.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(refusal.retry_after_s * 1e9))
        packed.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    return status_pb2.Status(code=refusal.code.value[0], message=refusal.message, details=packed)


async def abort(context: "grpc.aio.ServicerContext[object, object]", refusal: Refusal) -> NoReturn:
    """Ends the call with the refusal and its details."""
    status = rpc_status.to_status(to_status(refusal))
    await context.abort(status.code, status.details, status.trailing_metadata)
    raise AssertionError("abort returned")


def _pack(message: object) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)  # type: ignore[arg-type]
    return packed
