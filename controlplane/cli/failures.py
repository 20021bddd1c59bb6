"""What a command says when it cannot do its work.

Owns exit codes and the one line an error becomes. Refuses stack traces for anything the
fleet refused on purpose; a defect of the program itself still shows its own.
"""

from enum import IntEnum

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from slacktide.wire.errors import Refusal

from controlplane.localfleet.record import LocalFleetError


class ExitCode(IntEnum):
    """Exit codes of every command; `slacktide --help` prints them."""

    DONE = 0
    DIFFERENT = 1
    """The answer is no: a plan changes something, a batch failed, a wait did not end well."""
    REFUSED = 2
    """Bad usage, or the fleet refused."""
    UNREACHABLE = 3
    """No control plane answered in time."""


class CommandError(Exception):
    """A command's own refusal: one sentence with id, observed, allowed and remedy."""

    def __init__(self, message: str, code: ExitCode = ExitCode.REFUSED) -> None:
        super().__init__(message)
        self.code = code


def explain(error: BaseException) -> tuple[str, ExitCode]:
    """The line to print for an error, without a trailing newline, and the exit code."""
    match error:
        case CommandError():
            return f"error: {error}", error.code
        case LocalFleetError():
            return f"error: {error}", ExitCode.REFUSED
        case Refusal():
            return f"error: {error.message} [{error.reason}]", ExitCode.REFUSED
        case grpc.RpcError():
            return _explain_call(error)
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            return f"error: {where}{error.strerror or error}", ExitCode.REFUSED
        case _:
            raise TypeError(f"not an error a command explains: {error!r}") from error


def _explain_call(error: grpc.RpcError) -> tuple[str, ExitCode]:
    assert isinstance(error, grpc.Call)
    status = rpc_status.from_call(error)
    code = error.code()
    message = " ".join((error.details() or code.name).split())
    if status is None:
        return _explain_bare(code, message)
    reason, notes = "", list[str]()
    for packed in status.details:
        info = error_details_pb2.ErrorInfo()
        bad = error_details_pb2.BadRequest()
        failed = error_details_pb2.PreconditionFailure()
        retry = error_details_pb2.RetryInfo()
        if _unpacks(packed, info):
            reason = f" [{info.reason}]"
        elif _unpacks(packed, bad):
            notes += [
                f"{v.field}: {v.description}"
                for v in bad.field_violations
                if v.description not in message  # the sentence often says it already
            ]
        elif _unpacks(packed, failed):
            notes += [
                f"{v.subject}: {v.description}"
                for v in failed.violations
                if v.description not in message
            ]
        elif _unpacks(packed, retry):
            notes.append(f"try again in {retry.retry_delay.ToNanoseconds() / 1e9:.1f} s")
    line = f"error: {'; '.join([message, *notes])}{reason}{_next_command(code)}"
    return line, _exit_code(code)


def _explain_bare(code: grpc.StatusCode, message: str) -> tuple[str, ExitCode]:
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            text = "the control plane does not answer: " + message
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            text = "the control plane did not answer in time"
        case grpc.StatusCode.UNIMPLEMENTED:
            text = "the control plane's release does not do this yet: " + message
        case _:
            text = f"{code.name}: {message}"
    return f"error: {text}{_next_command(code)}", _exit_code(code)


def _exit_code(code: grpc.StatusCode) -> ExitCode:
    unreachable = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    return ExitCode.UNREACHABLE if code in unreachable else ExitCode.REFUSED


def _next_command(code: grpc.StatusCode) -> str:
    match code:
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.DEADLINE_EXCEEDED:
            return "; next: slacktide cluster status"
        case grpc.StatusCode.UNIMPLEMENTED:
            return "; next: slacktide status (shows every process's version)"
        case grpc.StatusCode.ABORTED:
            return "; next: read it again and repeat the command"
        case _:
            return ""


def _unpacks(packed: object, into: Message) -> bool:
    return bool(packed.Unpack(into))  # type: ignore[attr-defined]
