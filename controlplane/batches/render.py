"""Lines of the output and the error file, in OpenAI's shape.

    {"id": …, "custom_id": …, "response": {"status_code", "request_id", "body"}, "error": null}

A segment holds records: the object's second half, made when a result is committed. The
finaliser puts the first half before it, without parsing. Invariant: a record is one line
of valid JSON, whatever an engine answered.
"""

import json

from storage.batch_records import FinishedItem, LeaseKey

_RECORD_START = b'{"response":'


def result_record(key: LeaseKey, *, status_code: int, body: bytes, is_success: bool) -> bytes:
    """The record of a result.

    Args:
        key: the execution it came from.
        status_code: HTTP status of the engine; 0 where it gave none.
        body: what the engine answered. Anything but a JSON object becomes an error.
        is_success: whether it is for the output file.
    """
    parsed = parse_object(body)
    response: dict[str, object] | None = None
    if status_code and parsed is not None:
        response = {
            "status_code": status_code,
            "request_id": f"{key.batch}-{key.line}-{key.attempt}",
            "body": parsed,
        }
    error: dict[str, object] | None = None
    if not is_success:
        reason = _reason(status_code, parsed)
        error = {
            "code": "request_failed",
            "message": f"line {key.line}: {reason}",
            "line": key.line,
        }
    return _encoded({"response": response, "error": error})


def is_record(content: bytes) -> bool:
    """Whether these bytes can be a record; tells a damaged segment."""
    return content.startswith(_RECORD_START) and content.endswith(b"}")


def line_of(batch: str, item: FinishedItem, record: bytes | None) -> bytes:
    r"""An item's line with its "\n"; from its record, or from why it never had one."""
    if record is None:
        error = {"code": item.error_code, "message": item.error_message, "line": item.line}
        record = _encoded({"response": None, "error": error})
    head = _encoded({"id": f"batch_req_{batch}_{item.line}", "custom_id": item.custom_id})
    return head[:-1] + b"," + record[1:] + b"\n"


def parse_object(body: bytes) -> dict[str, object] | None:
    """The JSON object these bytes are, or None. Non-finite numbers become null."""
    try:
        parsed = json.loads(body, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _reason(status_code: int, body: dict[str, object] | None) -> str:
    if body is None:
        what = f"{status_code} with a body that is no JSON object" if status_code else "nothing"
        return f"the engine answered {what}; see its log"
    if status_code:
        return f"the engine answered {status_code}; see response.body"
    error = body.get("error")
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) else "no engine answered; see the agent's log"


def _encoded(value: dict[str, object]) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return json.dumps(value, separators=(",", ":")).encode()
