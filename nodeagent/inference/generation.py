"""A generation that may be run.

Owns the checks on a GenerateRequest: what is missing, malformed or out of range is an
INVALID_ARGUMENT with one violation per field. Refuses to count tokens of text: only the
engine has the tokenizer, and it refuses prompts that are too long with both numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import grpc
from slacktide.v1 import inference_service_pb2
from slacktide.wire.errors import Refusal
from slacktide.wire.names import resource_id

DEFAULT_TOKENS = 16
DEFAULT_CHAT_TOKENS = 256
_ROLES = ("system", "user", "assistant")
_LONGEST_REQUEST_ID = 128
_MOST_STOPS = 16
_LONGEST_STOP = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message of a chat."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One checked request; exactly one of `text`, `token_ids` and `turns` is set."""

    deployment: str
    replica: str  # empty: any of the deployment
    max_tokens: int
    temperature: float
    slo_class: str = ""  # as asked for
    text: str | None = None
    token_ids: tuple[int, ...] | None = None
    turns: tuple[Turn, ...] | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    seed: int | None = None


def parse_generation(request: inference_service_pb2.GenerateRequest) -> Generation:
    """Checks a request.

    Raises:
        Refusal: INVALID_ARGUMENT, with every violation.
    """
    violations = list(_violations(request))
    if violations:
        raise Refusal(
            code=grpc.StatusCode.INVALID_ARGUMENT,
            reason="INVALID_GENERATION",
            message="; ".join(f"{field}: {problem}" for field, problem in violations),
            violations=violations,
        )
    sampling = request.sampling
    kind = request.WhichOneof("prompt")
    is_chat = kind == "conversation"
    return Generation(
        deployment=resource_id("deployments", request.deployment),
        replica=resource_id("replicas", request.replica) if request.replica else "",
        slo_class=request.slo_class,
        text=request.text if kind == "text" else None,
        token_ids=tuple(request.token_ids.ids) if kind == "token_ids" else None,
        turns=(
            tuple(Turn(role=m.role, content=m.content) for m in request.conversation.messages)
            if is_chat
            else None
        ),
        max_tokens=sampling.max_tokens or (DEFAULT_CHAT_TOKENS if is_chat else DEFAULT_TOKENS),
        temperature=sampling.temperature if sampling.HasField("temperature") else 1.0,
        top_p=sampling.top_p if sampling.HasField("top_p") else None,
        top_k=sampling.top_k if sampling.HasField("top_k") else None,
        stop=tuple(sampling.stop),
        ignore_eos=sampling.ignore_eos,
        seed=sampling.seed if sampling.HasField("seed") else None,
    )


def check_context(generation: Generation, *, context_tokens: int) -> None:
    """Refuses what cannot fit, as far as it can be known without a tokenizer.

    Args:
        generation: the request.
        context_tokens: longest prompt plus output; 0: unknown.

    Raises:
        Refusal: INVALID_ARGUMENT with observed and allowed.
    """
    prompt_tokens = len(generation.token_ids or ())
    total = prompt_tokens + generation.max_tokens
    if context_tokens and total > context_tokens:
        raise Refusal(
            code=grpc.StatusCode.INVALID_ARGUMENT,
            reason="CONTEXT_EXCEEDED",
            message=f"deployment {generation.deployment}: prompt of {prompt_tokens} tokens and"
            f" max_tokens {generation.max_tokens} make {total}, allowed are {context_tokens};"
            " shorten the prompt or lower max_tokens",
            violations=[("prompt", f"{total} tokens with max_tokens, allowed {context_tokens}")],
        )


def check_vocabulary(generation: Generation, *, vocab_size: int) -> None:
    """Refuses token ids the model does not have: they would index past its embeddings.

    Args:
        generation: the request; ids below 0 are refused already.
        vocab_size: of the model; 0: unknown.

    Raises:
        Refusal: INVALID_ARGUMENT with observed and allowed.
    """
    largest = max(generation.token_ids or (), default=-1)
    if vocab_size and largest >= vocab_size:
        problem = f"got {largest}, allowed are ids of 0 to {vocab_size - 1}"
        raise Refusal(
            code=grpc.StatusCode.INVALID_ARGUMENT,
            reason="TOKEN_UNKNOWN",
            message=f"deployment {generation.deployment}: token_ids: {problem}; use the"
            " tokenizer of its model, or send text",
            violations=[("token_ids", problem)],
        )


def _violations(
    request: inference_service_pb2.GenerateRequest,
) -> Iterator[tuple[str, str]]:
    for field, collection in (("deployment", "deployments"), ("replica", "replicas")):
        name = getattr(request, field)
        if name or field == "deployment":
            try:
                resource_id(collection, name)
            except ValueError as error:
                yield field, str(error)
    if len(request.request_id) > _LONGEST_REQUEST_ID:
        yield "request_id", f"{len(request.request_id)} characters, allowed {_LONGEST_REQUEST_ID}"
    yield from _prompt_violations(request)
    sampling = request.sampling
    if sampling.max_tokens < 0:
        yield "sampling.max_tokens", f"got {sampling.max_tokens}, allowed are integers > 0"
    # Written so that NaN is refused too.
    if sampling.HasField("temperature") and not 0.0 <= sampling.temperature < float("inf"):
        yield "sampling.temperature", f"got {sampling.temperature}, allowed are numbers >= 0"
    if sampling.HasField("top_p") and not 0.0 < sampling.top_p <= 1.0:
        yield "sampling.top_p", f"got {sampling.top_p}, allowed is 0 < p <= 1"
    if sampling.HasField("top_k") and sampling.top_k < 1:
        yield "sampling.top_k", f"got {sampling.top_k}, allowed are integers >= 1; unset is all"
    if len(sampling.stop) > _MOST_STOPS:
        yield "sampling.stop", f"{len(sampling.stop)} strings, allowed {_MOST_STOPS}"
    for index, stop in enumerate(sampling.stop[:_MOST_STOPS]):
        if not 1 <= len(stop) <= _LONGEST_STOP:
            yield (
                f"sampling.stop[{index}]",
                f"{len(stop)} characters, allowed are 1 to {_LONGEST_STOP}",
            )


def _prompt_violations(
    request: inference_service_pb2.GenerateRequest,
) -> Iterator[tuple[str, str]]:
    match request.WhichOneof("prompt"):
        case None:
            yield "prompt", "missing; set one of text, token_ids and conversation"
        case "text":
            if not request.text:
                yield "text", "empty; a prompt has at least one character"
        case "token_ids":
            ids = request.token_ids.ids
            if not ids:
                yield "token_ids", "empty; a prompt has at least one token"
            elif min(ids) < 0:
                yield "token_ids", f"got {min(ids)}, allowed are ids >= 0"
        case "conversation":
            turns = request.conversation.messages
            if not turns:
                yield "conversation", "empty; a chat has at least one message"
            for index, turn in enumerate(turns):
                if turn.role not in _ROLES:
                    yield (
                        f"conversation.messages[{index}].role",
                        f"got {turn.role!r}, allowed are {', '.join(_ROLES)}",
                    )
