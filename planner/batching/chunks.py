"""How many offline prompt tokens the next iteration computes, and whose.

Owns the size of offline chunks: the largest whose bound fits what is left (HyGen,
get_max_tokens), never under the floor unless a prompt ends in it. The engine has one
mid-prefill slot, so at most the last chunk of a pass cuts a prompt. Refuses the limit
itself (`budget`, `dutycycle`) and the order (`order`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from planner.batching.state import Budgets, PrefillWork
from planner.latency.features import BatchShape
from planner.latency.predictor import LatencyModel


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkChoice:
    """Offline prefill of one pass; `shape` is the pass with it."""

    shape: BatchShape
    tokens: int = 0
    order: tuple[str, ...] = ()  # waiting requests, those passed over for KV last


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRoom:
    """What bounds the offline prefill of a pass."""

    limit_ms: float  # of the bound of the whole pass
    tokens: int  # prompt tokens the engine still takes in it
    kv_tokens: int  # KV offline may take
    rows: int  # requests that may still start


def size_chunks(
    work: Sequence[PrefillWork],
    *,
    beside: BatchShape,
    room: ChunkRoom,
    model: LatencyModel,
    budgets: Budgets,
    page_size: int,
) -> ChunkChoice:
    """Takes offline prompts in order while they fit.

    A request that has not started is taken only if KV holds its whole prompt; one that
    has is continued with what there is.

    Args:
        work: Offline requests, the started one first.
        beside: What the pass runs besides them.
        room: Bounds.
        model: Time model.
        budgets: Live settings.
        page_size: Tokens a KV page holds; a chunk that cuts a prompt ends on a page.
    """
    shape = beside
    tokens_left, kv_left, rows_left = room.tokens, room.kv_tokens, room.rows
    total = 0
    passed_over: set[str] = set()
    for request in work:
        if tokens_left <= 0 or kv_left <= 0:
            break
        remaining = request.remaining_tokens
        if remaining <= 0:
            continue
        if not request.is_started:
            if rows_left <= 0:
                break
            if remaining > kv_left:
                passed_over.add(request.rid)
                continue
        chunk = _largest_chunk(
            request,
            shape=shape,
            limit_ms=room.limit_ms,
            limit_tokens=min(tokens_left, kv_left),
            model=model,
            page_size=page_size,
        )
        if chunk < remaining and chunk < max(1, min(budgets.min_chunk_tokens, room.tokens)):
            break
        shape = shape.with_prefill(new_tokens=chunk, cached_tokens=request.cached_tokens)
        total += chunk
        if chunk < remaining:
            break
        tokens_left, kv_left = tokens_left - chunk, kv_left - chunk
        rows_left -= not request.is_started
    return ChunkChoice(shape=shape, tokens=total, order=_names(work, passed_over=passed_over))


def force_chunk(
    work: Sequence[PrefillWork],
    *,
    beside: BatchShape,
    limit_tokens: int,
    budgets: Budgets,
    page_size: int,
) -> ChunkChoice:
    """The smallest chunk worth a pass, whatever it takes: nothing else would run.

    Only `limit_tokens` holds it, the engine's own bound by tokens and KV.
    """
    floor = -(-max(1, budgets.min_chunk_tokens) // page_size) * page_size
    for request in work:
        chunk = min(request.remaining_tokens, floor, limit_tokens)
        if chunk > 0:
            shape = beside.with_prefill(new_tokens=chunk, cached_tokens=request.cached_tokens)
            return ChunkChoice(shape=shape, tokens=chunk, order=_names(work, passed_over=set()))
    return ChunkChoice(shape=beside)


def _largest_chunk(
    request: PrefillWork,
    *,
    shape: BatchShape,
    limit_ms: float,
    limit_tokens: int,
    model: LatencyModel,
    page_size: int,
) -> int:
    """The whole rest of the prompt if it fits, else the largest run of pages that does."""
    remaining, cached = request.remaining_tokens, request.cached_tokens
    if remaining <= limit_tokens:
        whole = shape.with_prefill(new_tokens=remaining, cached_tokens=cached)
        if model.bound_ms(whole) <= limit_ms:
            return remaining
    return model.max_prefill_tokens(
        shape,
        cached_tokens=cached,
        budget_ms=limit_ms,
        limit_tokens=min(limit_tokens, remaining - 1),
        page_size=page_size,
    )


def _names(work: Sequence[PrefillWork], *, passed_over: set[str]) -> tuple[str, ...]:
    """Request ids of what waits, those passed over behind the rest."""
    names = [request.rid for request in work if not request.is_started]
    if passed_over:
        names.sort(key=passed_over.__contains__)
    return tuple(names)
