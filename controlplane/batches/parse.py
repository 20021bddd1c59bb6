"""One input line: an item, or why not.

Owns what a line may say. Refuses to keep content: an accepted line becomes the place of
its body, so that agents get the very bytes that were submitted. The reasons name what was
observed, what is allowed and the remedy.
"""

import re
from json.decoder import JSONDecodeError, JSONDecoder
from typing import NoReturn

from storage.batch_records import NewItem, RefusedLine

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
MAX_CUSTOM_ID_CHARACTERS = 512
_BOM = b"\xef\xbb\xbf"
_SPACE = re.compile(r"[ \t\r\n]*")
_BYTES_PER_TOKEN = 4  # rough, for English text and subword tokenizers
_DEFAULT_OUTPUT_TOKENS = 256  # where a line sets no limit
_MAX_ESTIMATE_TOKENS = 1 << 20


class _RefusedError(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = JSONDecoder(parse_constant=_refuse_constant)


def too_long(*, line: int, length: int, max_line_bytes: int) -> RefusedLine:
    """The refusal of a line that was passed over."""
    return RefusedLine(
        line=line,
        custom_id=None,
        code="line_too_long",
        message=f"line {line}: {length} bytes, at most {max_line_bytes} are allowed;"
        " shorten it or split it over several lines",
    )


def parse_line(content: bytes, *, line: int, offset: int) -> NewItem | RefusedLine:
    """Reads a line that is not blank.

    Args:
        content: without its end-of-line.
        line: its number, from 1.
        offset: of its first byte in the input.
    """
    custom_id: str | None = None
    try:
        if offset == 0 and content.startswith(_BOM):
            content, offset = content[len(_BOM) :], len(_BOM)
        text = _decoded(content)
        values, spans = _members(text)
        custom_id = _custom_id(values)
        url = _url(values)
        body = values.get("body")
        if not isinstance(body, dict):
            raise _RefusedError("invalid_body", f'"body" is {_kind(body)}, expected an object')
        _check_body(url, body)
    except _RefusedError as refused:
        return RefusedLine(
            line=line, custom_id=custom_id, code=refused.code, message=f"line {line}: {refused}"
        )
    start, end = spans["body"]
    body_bytes = text[start:end].encode()
    return NewItem(
        line=line,
        custom_id=custom_id,
        url=url,
        body_offset=offset + len(text[:start].encode()),
        body_length=len(body_bytes),
        estimated_prompt_tokens=max(1, len(body_bytes) // _BYTES_PER_TOKEN),
        estimated_output_tokens=_output_tokens(body),
    )


def _decoded(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise _RefusedError(
            "invalid_json", f"byte {error.start} is not UTF-8; encode the file as UTF-8"
        ) from error


def _members(text: str) -> tuple[dict[str, object], dict[str, tuple[int, int]]]:
    """The members of the object a line is, and where each value lies in it."""
    values: dict[str, object] = {}
    spans: dict[str, tuple[int, int]] = {}
    at = _skip(text, 0)
    _expect(text, at, "{", "every line must be one JSON object")
    at = _skip(text, at + 1)
    while text[at : at + 1] != "}":
        if values:
            _expect(text, at, ",", 'expected "," or "}"')
            at = _skip(text, at + 1)
        _expect(text, at, '"', "expected a name in double quotes")
        name, at = _value(text, at)
        at = _skip(text, at)
        _expect(text, at, ":", 'expected ":"')
        start = _skip(text, at + 1)
        values[str(name)], end = _value(text, start)
        spans[str(name)] = (start, end)
        at = _skip(text, end)
    if _skip(text, at + 1) != len(text):
        raise _RefusedError("invalid_json", f"something follows the object at character {at + 1}")
    return values, spans


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def _expect(text: str, at: int, character: str, what: str) -> None:
    if text[at : at + 1] != character:
        raise _RefusedError("invalid_json", f"not valid JSON at character {at}: {what}")


def _value(text: str, at: int) -> tuple[object, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except JSONDecodeError as error:
        reason = f"not valid JSON at character {error.pos}: {error.msg}"
    except RecursionError:
        reason = f"nested too deeply at character {at}"
    except ValueError as error:  # NaN, or a number of thousands of digits
        reason = f"not valid JSON at character {at}: {str(error).partition(';')[0]}"
    raise _RefusedError("invalid_json", reason)


def _custom_id(values: dict[str, object]) -> str:
    if "custom_id" not in values:
        raise _RefusedError("missing_custom_id", 'has no "custom_id"; give every line its own')
    custom_id = values["custom_id"]
    if not isinstance(custom_id, str):
        raise _RefusedError(
            "invalid_custom_id", f'"custom_id" is {_kind(custom_id)}, expected a string'
        )
    if not 0 < len(custom_id) <= MAX_CUSTOM_ID_CHARACTERS:
        raise _RefusedError(
            "invalid_custom_id",
            f'"custom_id" has {len(custom_id)} characters,'
            f" 1 to {MAX_CUSTOM_ID_CHARACTERS} are allowed",
        )
    if any(ord(one) < 0x20 or 0xD800 <= ord(one) <= 0xDFFF for one in custom_id):
        raise _RefusedError(
            "invalid_custom_id", '"custom_id" holds control characters or half surrogates'
        )
    return custom_id


def _url(values: dict[str, object]) -> str:
    method, url = values.get("method"), values.get("url")
    if method != "POST":
        raise _RefusedError("invalid_method", f'"method" is {_shown(method)}, expected "POST"')
    if url not in (CHAT, COMPLETIONS):
        raise _RefusedError(
            "invalid_url", f'"url" is {_shown(url)}, expected "{CHAT}" or "{COMPLETIONS}"'
        )
    return str(url)


def _check_body(url: str, body: dict[str, object]) -> None:
    if url == CHAT:
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise _RefusedError("invalid_body", '"messages" must be an array with an entry')
    else:
        prompt = body.get("prompt")
        is_tokens = isinstance(prompt, list) and prompt and all(type(x) is int for x in prompt)
        if not (is_tokens or (isinstance(prompt, str) and prompt)):
            raise _RefusedError(
                "invalid_body",
                '"prompt" must be a non-empty string or an array of token ids;'
                " put several prompts on several lines",
            )
    for name in ("max_tokens", "max_completion_tokens"):
        limit = body.get(name)
        if limit is not None and (type(limit) is not int or limit < 1):
            raise _RefusedError(
                "invalid_max_tokens", f'"{name}" is {_shown(limit)}, expected an integer >= 1'
            )
    for name in ("n", "best_of"):
        count = body.get(name)
        if count is not None and (type(count) is not int or count != 1):
            raise _RefusedError(
                "unsupported_parameter",
                f'"{name}" is {_shown(count)}, a batch allows 1; repeat the line instead',
            )
    if body.get("stream") not in (None, False):
        raise _RefusedError("unsupported_parameter", '"stream" is set, a batch cannot stream')


def _output_tokens(body: dict[str, object]) -> int:
    limits = [body.get(name) for name in ("max_completion_tokens", "max_tokens")]
    known = [limit for limit in limits if type(limit) is int]
    return min(known[0] if known else _DEFAULT_OUTPUT_TOKENS, _MAX_ESTIMATE_TOKENS)


def _kind(value: object) -> str:
    kinds = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    return "missing or null" if value is None else kinds.get(type(value), "a number")


def _shown(value: object) -> str:
    """A small value as it is, anything else by its kind; never much of the content."""
    if isinstance(value, int | float) and abs(value) < 1e15:
        return str(value).lower()
    if isinstance(value, str) and len(value) <= 64 and value.isascii() and value.isprintable():
        return f'"{value}"'
    return _kind(value)
