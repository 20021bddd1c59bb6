"""What the next iteration runs: online all it wants, offline what the budget leaves.

Owns the order of the rules; each rule lives in a file of its own. Refuses clocks, I/O and
engine objects: every rank that sees the same state makes the same plan.

The steps are HyGen's two phases (arXiv 2501.14808) with parked rows, slack and a duty
cycle added: sum up online; evict offline where online lacks KV; hold the limit; choose
offline decodes; size offline chunks; book what they spent.
"""

from planner.batching import credit, dutycycle
from planner.batching.booking import book
from planner.batching.budget import max_rows, offline_limit_ms, trusted_ms
from planner.batching.chunks import ChunkChoice, ChunkRoom, force_chunk, size_chunks
from planner.batching.decodes import (
    DecodeChoice,
    choose_decodes,
    keep_decodes,
)
from planner.batching.online import OnlinePrefill
from planner.batching.order import OfflineWalk
from planner.batching.prefixes import queue_of
from planner.batching.reserve import recent_peak_tokens, reserve_tokens
from planner.batching.state import (
    Budgets,
    EngineState,
    IterationPlan,
    Memory,
)
from planner.batching.survey import Scene, survey
from planner.latency.features import BatchShape
from planner.latency.predictor import LatencyModel

# At which a prompt token's time is read, for laxity.
_TYPICAL_PROMPT = BatchShape().with_prefill(new_tokens=256, cached_tokens=0)


def plan_iteration(state: EngineState, *, model: LatencyModel, budgets: Budgets) -> IterationPlan:
    """Decides the offline part of the next iteration; online runs all it wants.

    Args:
        state: The engine as every rank sees it; the order of its tuples does not matter.
        model: Time model of this engine.
        budgets: Live settings.

    Returns:
        The plan. While online exists, its bound is within its `budget_ms` whenever
        offline work was admitted by choice; with none, at least one offline row or chunk
        runs if there is any. `memory` is to be handed back in the next state.
    """
    scene = survey(state)
    peak_tokens = recent_peak_tokens(
        state.memory, online_tokens=scene.online_kv_tokens, now_s=state.now_s, budgets=budgets
    )
    reserve = reserve_tokens(
        peak_tokens=peak_tokens,
        online_tokens=scene.online_kv_tokens,
        total_tokens=state.kv_total_tokens,
        budgets=budgets,
    )
    limit_ms = _limit_ms(scene, state=state, reserve=reserve, budgets=budgets)
    may_lengthen = credit.may_lengthen(
        state.memory, budgets=budgets, requests=scene.online_requests
    )
    if not may_lengthen:
        limit_ms = 0.0
    # See `dutycycle`: where a launch blocks, that token leaves after the pass that follows.
    rests = scene.decodes.awaits_first_token and not state.mixes_prefill_and_decode
    decodes = _decodes(
        scene, state=state, limit_ms=limit_ms, rests=rests, model=model, budgets=budgets
    )
    room_ms = 0.0
    if may_lengthen:
        room_ms = _chunk_room_ms(
            scene, decodes, state=state, limit_ms=limit_ms, model=model, budgets=budgets
        )
    shape = _pass_shape(scene, decodes, state=state)
    chunk = _chunks(
        scene,
        decodes,
        state=state,
        room_ms=room_ms,
        reserve=reserve,
        model=model,
        budgets=budgets,
        shape=shape,
    )
    predicted_ms = model.predict_ms(chunk.shape)
    bound_ms = model.bound_of(predicted_ms, has_prefill=chunk.shape.prefill_rows > 0)
    return IterationPlan(
        park=decodes.park,
        resume=decodes.resume,
        evict=tuple([row.rid for row in scene.evicted]) + decodes.evict,
        offline_chunk_tokens=chunk.tokens,
        offline_order=chunk.order,
        kv_reserve_tokens=0 if chunk.is_forced else reserve,
        requeue_started=scene.yields_slot,
        predicted_ms=predicted_ms,
        bound_ms=bound_ms,
        budget_ms=room_ms if chunk.tokens else limit_ms,
        memory=book(
            scene,
            decodes,
            chunk,
            state=state,
            model=model,
            budgets=budgets,
            shape=shape,
            bound_ms=bound_ms,
            rests=rests,
            peak_tokens=peak_tokens,
            predicted_ms=predicted_ms,
        ),
    )


def _limit_ms(scene: Scene, *, state: EngineState, reserve: int, budgets: Budgets) -> float:
    """What an iteration with offline decodes is held to."""
    limit_ms = offline_limit_ms(budgets, has_online=scene.has_online, slack_ms=scene.slack_ms)
    if scene.decodes.rows and not state.mixes_prefill_and_decode:
        is_calm = dutycycle.is_calm(budgets)
        is_burst = (
            is_calm
            and bool(scene.parked)
            and dutycycle.is_burst_due(
                scene.parked,
                budgets=budgets,
                can_grow=_can_start(scene, state=state, reserve=reserve, budgets=budgets),
            )
        )
        room_ms = dutycycle.decode_room_ms(state.memory, budgets=budgets, is_burst=is_burst)
        # A burst may exceed the latency budget, which then holds the mean.
        if limit_ms > 0.0 and is_calm:
            return max(0.0, min(scene.slack_ms, room_ms))
        limit_ms = min(limit_ms, room_ms)
    return limit_ms


def _can_start(scene: Scene, *, state: EngineState, reserve: int, budgets: Budgets) -> bool:
    """Whether rows and KV let another offline request become a row."""
    kv_tokens = scene.kv_free_tokens - reserve
    if scene.started_offline is not None:
        return kv_tokens > 0
    held_rows = len(scene.running) + len(scene.parked)
    if scene.free_rows <= 0 or held_rows >= max_rows(budgets, has_online=scene.has_online):
        return False
    return any(work.remaining_tokens <= kv_tokens for work in state.waiting_offline)


def _decodes(
    scene: Scene,
    *,
    state: EngineState,
    limit_ms: float,
    rests: bool,
    model: LatencyModel,
    budgets: Budgets,
) -> DecodeChoice:
    """Offline decodes within the limit; a pass of online prompts alone parks nobody."""
    online = (
        scene.decodes.rows,
        scene.decodes.context_tokens,
        scene.decodes.longest_tokens,
    )
    is_allowed = budgets.runs_offline and (limit_ms > 0.0 or not scene.has_online)
    mixes = state.mixes_prefill_and_decode
    if not mixes and scene.prefill.tokens and budgets.runs_offline:
        return keep_decodes(
            scene.running,
            scene.parked,
            online=online,
            kv_free_tokens=scene.kv_free_tokens,
            page_size=state.page_size,
        )
    prefill = scene.prefill if mixes else OnlinePrefill()
    coefficients = model.prefill if prefill.rows else model.decode
    trusted_limit_ms = trusted_ms(limit_ms, coefficients=coefficients, budgets=budgets)
    mean_limit_ms = (trusted_limit_ms - coefficients.margin_ms) / (1.0 + coefficients.margin_ratio)
    mean_ms = model.mean_ms
    rows_p, tokens_p = prefill.rows, prefill.tokens
    attention, padded_sq = prefill.attention, prefill.padded_sq
    prefix = prefill.context_tokens

    def fits(rows: int, context: int, longest: int) -> bool:
        mean = mean_ms(rows_p, tokens_p, attention, padded_sq, rows, context, longest, prefix)
        return mean <= mean_limit_ms

    min_parked_passes = 0 if state.memory.has_rested else budgets.min_parked_passes
    if rests:  # but for the overdue
        min_parked_passes = budgets.max_parked_passes + 1
    return choose_decodes(
        scene.running,
        scene.parked,
        online=online,
        fits=fits,
        budgets=budgets,
        kv_free_tokens=scene.kv_free_tokens,
        page_size=state.page_size,
        is_allowed=is_allowed,
        min_parked_passes=min_parked_passes,
        rests=rests,
        needs_progress=is_allowed and not scene.has_online,
    )


def _chunk_room_ms(
    scene: Scene,
    decodes: DecodeChoice,
    *,
    state: EngineState,
    limit_ms: float,
    model: LatencyModel,
    budgets: Budgets,
) -> float:
    """What the bound of a pass with an offline chunk may reach; 0: no chunk.

    Decodes go first: while one is parked, no prompt is computed that would only park more.
    Where passes take turns, room is left for the row that joins when its prompt is done.
    """
    if not budgets.runs_offline:
        return 0.0
    if decodes.parked_rows and not (
        dutycycle.is_calm(budgets) and not state.mixes_prefill_and_decode
    ):
        return 0.0
    if state.mixes_prefill_and_decode or not scene.decodes.rows:
        return trusted_ms(limit_ms, coefficients=model.prefill, budgets=budgets)
    if budgets.latency_budget_ms <= 0.0 or scene.prefill.tokens or scene.decodes.awaits_first_token:
        return 0.0
    decode_bound_ms = model.bound_ms(
        BatchShape(
            decode_rows=decodes.rows + 1,
            decode_context_tokens=decodes.context_tokens + decodes.longest_tokens,
            decode_max_context_tokens=decodes.longest_tokens,
        )
    )
    room_ms = dutycycle.chunk_room_ms(
        state.memory,
        budgets=budgets,
        decode_bound_ms=decode_bound_ms,
        slack_ms=scene.decodes.slack_ms,
    )
    # An arrival waits for the whole pass, whether online decodes exist or not.
    room_ms = max(0.0, min(room_ms, scene.prefill.slack_ms, budgets.idle_budget_ms))
    return trusted_ms(room_ms, coefficients=model.prefill, budgets=budgets)


def _pass_shape(scene: Scene, decodes: DecodeChoice, *, state: EngineState) -> BatchShape:
    """The pass without offline chunks."""
    if not state.mixes_prefill_and_decode and scene.prefill.tokens:
        return scene.prefill.with_decodes(rows=0, context_tokens=0, longest_tokens=0)
    return scene.prefill.with_decodes(
        rows=decodes.rows,
        context_tokens=decodes.context_tokens,
        longest_tokens=decodes.longest_tokens,
    )


def _chunks(
    scene: Scene,
    decodes: DecodeChoice,
    *,
    state: EngineState,
    room_ms: float,
    reserve: int,
    model: LatencyModel,
    budgets: Budgets,
    shape: BatchShape,
) -> ChunkChoice:
    """Offline prefill of the pass; one chunk at least where nothing else would run."""
    needs_progress = not scene.has_online and not decodes.offline_rows
    started = scene.started_offline
    if (
        not budgets.runs_offline
        or not (room_ms > 0.0 or needs_progress)
        or scene.yields_slot
        or (started is None and not state.waiting_offline)
    ):
        return _no_chunk(shape, state.memory)
    mixes = state.mixes_prefill_and_decode
    queue = state.offline_queue
    if queue is None:
        queue = queue_of(state.waiting_offline)
    token_ms = 0.0
    if queue.by_deadline:
        token_ms = model.predict_ms(_TYPICAL_PROMPT) / _TYPICAL_PROMPT.prefill_tokens
    # Where passes take turns, a chunk without online prompts takes the pass for itself.
    beside = shape if mixes or scene.prefill.tokens else BatchShape()
    free_tokens = scene.chunk_tokens - scene.prefill.tokens - decodes.offline_rows * mixes
    rows = max_rows(budgets, has_online=scene.has_online)
    rows -= decodes.offline_rows + decodes.parked_rows
    # Those that begin may all have to be parked after this pass, and none is to be evicted.
    rows = min(rows, max(1, budgets.max_parked_rows - decodes.parked_rows))
    choice = size_chunks(
        OfflineWalk(queue, state=state, budgets=budgets, token_ms=token_ms),
        started=started,
        beside=beside,
        room=ChunkRoom(
            limit_ms=room_ms,
            tokens=free_tokens,
            kv_tokens=decodes.kv_free_tokens - reserve,
            held=(scene.running, scene.parked),
            rows=min(scene.free_rows, rows),
        ),
        model=model,
        budgets=budgets,
        page_size=state.page_size,
    )
    if needs_progress and not choice.tokens:
        choice = force_chunk(
            OfflineWalk(queue, state=state, budgets=budgets, token_ms=token_ms),
            started=started,
            beside=beside,
            limit_tokens=min(free_tokens, decodes.kv_free_tokens),
            budgets=budgets,
            page_size=state.page_size,
        )
    if not choice.tokens:
        return ChunkChoice(shape, cursor=choice.cursor, owed_tokens=state.memory.age_owed_tokens)
    return choice


def _no_chunk(shape: BatchShape, memory: Memory) -> ChunkChoice:
    return ChunkChoice(shape, cursor=memory.prompt_cursor, owed_tokens=memory.age_owed_tokens)
