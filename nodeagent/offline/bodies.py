"""Item bodies on their way to an engine, and answers on their way back. Pure.

Owns what of an item is the engine's business: the body as the user wrote it, our request
id and labels over whatever the user set, no streaming. Refuses a body that is not a JSON
object, and routes a batch may not use, as final errors of that item alone. Invariant: an
answer is final (never retryable) only if running the item again could not change it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nodeagent.engine.client import EngineAnswer
from nodeagent.plugin_contract import ContractError, offline_labels

ITEM_URLS = ("/v1/chat/completions", "/v1/completions")
_HELD_FIELDS = (
    "custom_logit_processor",
    "lora_path",
    "return_hidden_states",
    "return_routed_experts",
    "return_sampling_mask",
    "session_id",
    "session_params",
)
"""Fields whose state a parked row would lose, see the plugin's `is_rebuildable`."""
LARGEST_RESULT_BYTES = 8 * 1024 * 1024
"""Half of the largest message; a larger answer becomes an error of its item."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One leased execution."""

    name: str  # batches/{batch}/items/{line}
    attempt: int
    url: str
    body: bytes
    deadline_unix_s: float = 0.0  # 0: none


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How an execution ended."""

    name: str
    attempt: int
    status_code: int
    body: bytes
    is_retryable: bool = False
    prompt_tokens: int = 0
    output_tokens: int = 0


def request_body(item: Item, *, rid: str, now_unix_s: float) -> dict[str, Any] | Result:
    """The body to post, or the final error of an item that cannot be posted."""
    if item.url not in ITEM_URLS:
        return error_result(
            item, status=400, message=f"url {item.url!r}: allowed are {', '.join(ITEM_URLS)}"
        )
    try:
        body = json.loads(item.body)
    except (ValueError, RecursionError) as error:
        return error_result(item, status=400, message=f"body is not JSON: {error}")
    if not isinstance(body, dict):
        return error_result(
            item, status=400, message=f"body is a JSON {type(body).__name__}, allowed is an object"
        )
    held = sorted(field for field in _HELD_FIELDS if body.get(field))
    held += sorted({f"messages with {kind}" for kind in _media_kinds(body)})
    if held:
        return error_result(
            item,
            status=400,
            message=f"{', '.join(held)}: not in a batch, since its requests give way to online"
            " ones and the engine could not take up what these ask for; leave them out",
        )
    deadline_in_s = item.deadline_unix_s - now_unix_s if item.deadline_unix_s else None
    try:
        labels = offline_labels(deadline_in_s=deadline_in_s)
    except ContractError as error:
        return error_result(item, status=400, message=str(error))
    own = body.get("custom_params") or {}
    if not isinstance(own, dict):
        return error_result(
            item,
            status=400,
            message=f"custom_params is a JSON {type(own).__name__}, allowed is an object",
        )
    body.pop("stream_options", None)
    labels = labels | {"custom_params": own | labels["custom_params"]}
    return body | {"stream": False, "rid": rid} | labels


def _media_kinds(body: Mapping[str, Any]) -> list[str]:
    """Kinds of content parts that are not text: images, sound, video."""
    kinds = [
        str(part.get("type"))
        for turn in _objects(body.get("messages"))
        for part in _objects(turn.get("content"))
    ]
    return [kind for kind in kinds if kind != "text"]


def _objects(value: object) -> list[dict[str, Any]]:
    """The objects of a JSON array; nothing of anything else."""
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def result_of(item: Item, answer: EngineAnswer) -> Result:
    """Reads the engine's answer."""
    if answer.status >= 500 or answer.status == 429:
        message = f"engine answered {answer.status}"
        return error_result(item, status=answer.status, message=message, is_retryable=True)
    try:
        content = json.loads(answer.body)
    except ValueError:
        return error_result(
            item, status=502, message="engine answered without JSON", is_retryable=True
        )
    if answer.status < 400 and not isinstance(content, dict):
        return error_result(
            item, status=502, message="engine answered without an object", is_retryable=True
        )
    if answer.status >= 400:
        message = _message(content)
        return error_result(item, status=answer.status, message=message)
    if len(answer.body) > LARGEST_RESULT_BYTES:
        return error_result(
            item,
            status=413,
            message=f"result of {len(answer.body)} bytes, allowed {LARGEST_RESULT_BYTES};"
            " lower max_tokens, n or logprobs",
        )
    if _was_aborted(content):
        return error_result(item, status=503, message="aborted by the engine", is_retryable=True)
    usage = content.get("usage") or {}
    return Result(
        name=item.name,
        attempt=item.attempt,
        status_code=answer.status,
        body=answer.body,
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        output_tokens=int(usage.get("completion_tokens") or 0),
    )


def error_result(item: Item, *, status: int, message: str, is_retryable: bool = False) -> Result:
    """A failed execution, with OpenAI's error object as its body."""
    kind = "engine_error" if is_retryable else "invalid_request_error"
    error = {"error": {"message": message, "type": kind, "code": status}}
    return Result(
        name=item.name,
        attempt=item.attempt,
        status_code=status,
        body=json.dumps(error).encode(),
        is_retryable=is_retryable,
    )


def _message(content: object) -> str:
    if isinstance(content, Mapping):
        error = content.get("error", content)
        if isinstance(error, Mapping):
            return str(error.get("message") or error)
        return str(error)
    return str(content)


def _was_aborted(content: Mapping[str, Any]) -> bool:
    return any(choice.get("finish_reason") == "abort" for choice in content.get("choices") or ())
