"""How many offline prompt tokens the next iteration computes, and whose.

Owns the size of offline chunks: the largest whose bound fits what is left (HyGen, arXiv
2501.14808, get_max_tokens), never under the floor unless a prompt ends in it. The engine
has one mid-prefill slot, so at most the last chunk of a pass cuts a prompt. Refuses the
limit itself (`budget`, `dutycycle`) and the order (`order`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from planner.batching.order import Claim, OfflineWalk
from planner.batching.state import Budgets, DecodeRow, PrefillWork
from planner.latency.features import BatchShape
from planner.latency.predictor import LatencyModel

_NAMED_BEHIND = 8  # requests named behind those taken, for prompts that turn out shorter
_MAX_MISFITS = 8  # requests passed over for smaller ones, in each half of a search


class ChunkChoice(NamedTuple):
    """Offline prefill of one pass; `shape` is the pass with it."""

    shape: BatchShape
    tokens: int = 0
    order: tuple[str, ...] = ()  # waiting requests: those taken, then a few behind them
    cursor: tuple[bytes, float, str] | None = None  # as `Memory.prompt_cursor`
    owed_tokens: float = 0.0  # as `Memory.age_owed_tokens`
    is_forced: bool = False  # beyond the limits, since nothing else would run


class ChunkRoom(NamedTuple):
    """What bounds the offline prefill of a pass."""

    limit_ms: float  # of the bound of the whole pass
    tokens: int  # prompt tokens the engine still takes in it
    kv_tokens: int  # KV offline may take
    held: tuple[Sequence[DecodeRow], ...]  # offline rows, which will give their KV back
    rows: int  # requests that may still start


@dataclass(slots=True)
class _Prompts:
    """Running sums over the prompts of the pass, as in `BatchShape`; changed in place."""

    rows: int
    tokens: int
    context_tokens: int
    attention: float
    padded_sq: float

    def add(self, new_tokens: int, *, cached_tokens: int) -> None:
        self.rows += 1
        self.tokens += new_tokens
        self.context_tokens += cached_tokens
        total = cached_tokens + new_tokens
        self.attention += new_tokens * (cached_tokens + new_tokens / 2.0)
        self.padded_sq += float(total * total)

    def beside(self, shape: BatchShape) -> BatchShape:
        """These prompts with the decodes of `shape`."""
        return BatchShape(
            prefill_tokens=self.tokens,
            prefill_rows=self.rows,
            prefill_context_tokens=self.context_tokens,
            prefill_attention=self.attention,
            prefill_padded_sq=self.padded_sq,
            decode_rows=shape.decode_rows,
            decode_context_tokens=shape.decode_context_tokens,
            decode_max_context_tokens=shape.decode_max_context_tokens,
        )


def size_chunks(
    walk: OfflineWalk,
    *,
    started: PrefillWork | None,
    beside: BatchShape,
    room: ChunkRoom,
    model: LatencyModel,
    budgets: Budgets,
    page_size: int,
) -> ChunkChoice:
    """Takes offline prompts in order while they fit.

    A request that has not started is taken only if KV holds its whole prompt; one that
    has is continued with what there is. One that waited too long and lacks only the KV
    that offline rows hold is not passed over: nothing starts before it, so KV comes free.
    Others that lack KV do not bar those behind them: at most `_MAX_MISFITS` by age, share or
    deadline are passed over, then as many in prefix order, whose cursor goes on behind
    them. So of n waiting, one that fits is come to within n/`_MAX_MISFITS` searches.

    Args:
        walk: Waiting offline requests, in order.
        started: The offline request that holds the mid-prefill slot, which goes first.
        beside: What the pass runs besides them.
        room: Bounds.
        model: Time model.
        budgets: Live settings.
        page_size: Tokens a KV page holds; a chunk that cuts a prompt ends on a page.
    """
    sums = _Prompts(
        rows=beside.prefill_rows,
        tokens=beside.prefill_tokens,
        context_tokens=beside.prefill_context_tokens,
        attention=beside.prefill_attention,
        padded_sq=beside.prefill_padded_sq,
    )
    tokens_left, kv_left, rows_left = room.tokens, room.kv_tokens, room.rows
    floor = max(1, min(budgets.min_chunk_tokens, room.tokens))
    total = misfits = misfits_ahead = 0
    names: list[str] = []
    request = started if started is not None else walk.next()
    while request is not None and tokens_left > 0 and kv_left > 0:
        remaining = request.remaining_tokens
        if remaining <= 0:
            request = walk.next()
            continue
        if not request.is_started:
            if rows_left <= 0:
                break
            if -(-remaining // page_size) * page_size > kv_left:
                if walk.claim is Claim.AGED and remaining <= kv_left + _held_tokens(room):
                    break
                walk.pass_over(request)
                if walk.claim is Claim.PREFIX:
                    misfits += 1
                    if misfits == _MAX_MISFITS:
                        break
                else:
                    misfits_ahead += 1
                    if misfits_ahead == _MAX_MISFITS:
                        walk.turn_to_prefixes()
                request = walk.next()
                continue
        limit_tokens = min(tokens_left, kv_left)
        if remaining <= limit_tokens and (
            _bound_ms(sums, request, beside=beside, model=model) <= room.limit_ms
        ):
            chunk = remaining
        else:
            chunk = model.max_prefill_tokens(
                sums.beside(beside) if total else beside,
                cached_tokens=request.cached_tokens,
                budget_ms=room.limit_ms,
                limit_tokens=min(limit_tokens, remaining - 1),
                page_size=page_size,
            )
            if chunk < floor:
                break
        sums.add(chunk, cached_tokens=request.cached_tokens)
        total += chunk
        if not request.is_started:
            walk.admit(request)
            names.append(request.rid)
            rows_left -= 1
        if chunk < remaining:
            request = None
            break
        tokens_left -= chunk
        kv_left -= -(-chunk // page_size) * page_size
        request = walk.next()
    if not total:
        return ChunkChoice(shape=beside, cursor=walk.cursor, owed_tokens=walk.owed_tokens)
    _name_behind(names, first=request, walk=walk)
    return ChunkChoice(
        shape=sums.beside(beside),
        tokens=total,
        order=tuple(names),
        cursor=walk.cursor,
        owed_tokens=walk.owed_tokens,
    )


def force_chunk(
    walk: OfflineWalk,
    *,
    started: PrefillWork | None,
    beside: BatchShape,
    limit_tokens: int,
    budgets: Budgets,
    page_size: int,
) -> ChunkChoice:
    """The smallest chunk worth a pass, whatever it takes: nothing else would run.

    Only `limit_tokens` holds it, the engine's own bound by tokens and KV.
    """
    request = started if started is not None else walk.next()
    if request is None:
        return ChunkChoice(shape=beside)
    floor = -(-max(1, budgets.min_chunk_tokens) // page_size) * page_size
    chunk = min(request.remaining_tokens, floor, limit_tokens)
    if chunk < request.remaining_tokens:
        chunk = chunk // page_size * page_size
    if chunk <= 0:
        return ChunkChoice(shape=beside)
    names: list[str] = []
    if not request.is_started:
        walk.admit(request)
        names.append(request.rid)
    _name_behind(names, first=None, walk=walk)
    shape = beside.with_prefill(new_tokens=chunk, cached_tokens=request.cached_tokens)
    return ChunkChoice(
        shape=shape,
        tokens=chunk,
        order=tuple(names),
        cursor=walk.cursor,
        owed_tokens=walk.owed_tokens,
        is_forced=True,
    )


def _bound_ms(
    sums: _Prompts, request: PrefillWork, *, beside: BatchShape, model: LatencyModel
) -> float:
    """Bound of the pass with the whole rest of one more prompt, in milliseconds."""
    remaining, cached = request.remaining_tokens, request.cached_tokens
    total = cached + remaining
    mean_ms = model.mean_ms(
        sums.rows + 1,
        sums.tokens + remaining,
        sums.attention + remaining * (cached + remaining / 2.0),
        sums.padded_sq + float(total * total),
        beside.decode_rows,
        beside.decode_context_tokens,
        beside.decode_max_context_tokens,
        sums.context_tokens + cached,
    )
    return model.bound_of(mean_ms, has_prefill=True)


def _held_tokens(room: ChunkRoom) -> int:
    return sum([row.context_tokens for rows in room.held for row in rows])


def _name_behind(names: list[str], *, first: PrefillWork | None, walk: OfflineWalk) -> None:
    """Adds the requests that come next, should the engine find more room than planned."""
    if first is not None and not first.is_started:
        names.append(first.rid)
    names += walk.names_behind(_NAMED_BEHIND)
