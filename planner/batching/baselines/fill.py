"""Offline prompts under a token budget, and the plan that comes of it.

Owns Sarathi-Serve's admission (arXiv 2403.02310, algorithm 3, and its published
scheduler): decodes first, then prompts in order until the budget of tokens is used, the
last one cut; the first prompt whose KV or row is not there ends it. Refuses the order.

Where an engine runs prefill or decode in a pass, one batch of theirs is two passes, the
prompts and then the decodes: no second chunk starts before the decodes have had their
turn. `Memory.stall_ms` carries that the first half has run.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from operator import attrgetter
from typing import TypeVar

from planner.batching.baselines.room import Room
from planner.batching.state import (
    Budgets,
    DecodeRow,
    EngineState,
    IterationPlan,
    Memory,
    PrefillWork,
)
from planner.latency.features import BatchShape
from planner.latency.predictor import LatencyModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """Offline prompts of one pass."""

    chunks: tuple[tuple[PrefillWork, int], ...] = ()

    @property
    def tokens(self) -> int:
        """Prompt tokens of the pass that are offline."""
        return sum([chunk for _, chunk in self.chunks])

    @property
    def starts(self) -> int:
        """Requests that begin in this pass."""
        return sum(1 for work, _ in self.chunks if not work.is_started)


NOTHING = Fill()

_Request = TypeVar("_Request", PrefillWork, DecodeRow)
_ARRIVAL = attrgetter("arrival_s", "rid")


def by_arrival(requests: Iterable[_Request]) -> list[_Request]:
    """First come, first served."""
    return sorted(requests, key=_ARRIVAL)


def starts_left(room: Room, *, budgets: Budgets, max_rows: int | None = None) -> int:
    """Offline requests that may still begin; 0 where no offline work may run."""
    if not budgets.runs_offline:
        return 0
    limit = budgets.max_offline_rows
    if max_rows is not None:
        limit = min(limit, max_rows)
    return max(0, min(room.free_rows, limit - room.held_rows))


def fill_tokens(
    room: Room, waiting: Iterable[PrefillWork], *, tokens: int, starts: int, page_size: int
) -> Fill:
    """Takes prompts in order within a budget of tokens.

    Args:
        room: What online leaves.
        waiting: Requests that have not started, first first.
        tokens: Offline prompt tokens the pass may compute; the room's are a further limit.
        starts: Requests that may begin.
        page_size: Tokens a KV page holds; a prompt is cut at a page.
    """
    left = min(tokens, room.chunk_tokens)
    kv_left = room.kv_free_tokens
    chunks: list[tuple[PrefillWork, int]] = []
    queue: list[PrefillWork] = []
    if room.started is not None and not room.yields_slot:
        queue.append(room.started)
    queue.extend(waiting)
    for work in queue:
        if left <= 0 or kv_left <= 0:
            break
        if not work.is_started:
            if starts <= 0 or work.remaining_tokens > kv_left:
                break
            starts -= 1
        chunk = min(work.remaining_tokens, left, kv_left)
        if chunk < work.remaining_tokens:
            chunk = chunk // page_size * page_size
            if chunk > 0 and not room.prefill.needs_slot:
                chunks.append((work, chunk))
            break
        chunks.append((work, chunk))
        left, kv_left = left - chunk, kv_left - chunk
    return Fill(chunks=tuple(chunks))


def has_turn(state: EngineState, *, decode_rows: int) -> bool:
    """Whether offline prompts may take this pass: decodes had theirs since the last ones."""
    return state.mixes_prefill_and_decode or decode_rows == 0 or state.memory.stall_ms <= 0.0


def with_chunks(shape: BatchShape, fill: Fill) -> BatchShape:
    """The pass with offline prompts in it."""
    for work, chunk in fill.chunks:
        shape = shape.with_prefill(new_tokens=chunk, cached_tokens=work.cached_tokens)
    return shape


def decode_shape(room: Room, rows: Sequence[DecodeRow]) -> BatchShape:
    """Online decodes and these offline ones."""
    contexts = [row.context_tokens for row in rows]
    return BatchShape(
        decode_rows=room.decodes.rows + len(contexts),
        decode_context_tokens=room.decodes.context_tokens + sum(contexts),
        decode_max_context_tokens=max([room.decodes.longest_tokens, *contexts]),
    )


def with_online_prompts(shape: BatchShape, room: Room) -> BatchShape:
    """The same decodes beside the online prompts of the pass."""
    return room.prefill.with_decodes(
        rows=shape.decode_rows,
        context_tokens=shape.decode_context_tokens,
        longest_tokens=shape.decode_max_context_tokens,
    )


def pass_shape(state: EngineState, room: Room, rows: Sequence[DecodeRow], fill: Fill) -> BatchShape:
    """What the pass runs: prompts and decodes where they mix, else either."""
    decodes = decode_shape(room, rows)
    if not state.mixes_prefill_and_decode and (room.prefill.tokens or fill.chunks):
        decodes = BatchShape()
    return with_chunks(with_online_prompts(decodes, room), fill)


def plan_of(
    state: EngineState,
    room: Room,
    fill: Fill,
    *,
    order: Sequence[PrefillWork],
    model: LatencyModel,
    budget_ms: float = inf,
    memory: Memory | None = None,
) -> IterationPlan:
    """The plan of a rival that runs every row it can and parks none.

    `budget_ms` is infinite for one that holds offline work to nothing.
    """
    shape = pass_shape(state, room, room.rows, fill)
    predicted_ms = model.predict_ms(shape)
    bound_ms = model.bound_of(predicted_ms, has_prefill=shape.prefill_rows > 0)
    return IterationPlan(
        resume=room.resume,
        evict=room.evict,
        offline_chunk_tokens=fill.tokens,
        offline_order=tuple([work.rid for work in order]) if fill.chunks else (),
        requeue_started=room.yields_slot,
        predicted_ms=predicted_ms,
        bound_ms=bound_ms,
        budget_ms=budget_ms,
        memory=memory
        if memory is not None
        else Memory(stall_ms=stall_after(state, shape, fill, bound_ms=bound_ms)),
    )


def stall_after(state: EngineState, shape: BatchShape, fill: Fill, *, bound_ms: float) -> float:
    """What decodes have been kept waiting for offline prompts once this pass is over."""
    if state.mixes_prefill_and_decode:
        return 0.0
    if fill.chunks:
        return state.memory.stall_ms + bound_ms
    return state.memory.stall_ms if shape.prefill_rows else 0.0
