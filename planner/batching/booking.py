"""What the next decision has to know of this one.

Owns the memory a plan leaves: the gap so far where passes take turns (`dutycycle`), the
credit of online gaps (`credit`), places in the orders of prompts, the recent peak of KV.
Refuses to decide, and measured durations: means and bounds are booked as planned, so that
every rank keeps the same book.
"""

from planner.batching import credit, dutycycle
from planner.batching.chunks import ChunkChoice
from planner.batching.decodes import DecodeChoice
from planner.batching.state import Budgets, EngineState, Memory
from planner.batching.survey import Scene
from planner.latency.features import BatchShape
from planner.latency.predictor import LatencyModel


def book(
    scene: Scene,
    decodes: DecodeChoice,
    chunk: ChunkChoice,
    *,
    state: EngineState,
    model: LatencyModel,
    budgets: Budgets,
    shape: BatchShape,
    bound_ms: float,
    rests: bool,
    peak_tokens: float,
    predicted_ms: float,
) -> Memory:
    """What the next decision has to know of this one.

    Where passes take turns, what the pass takes of the online rows' gap; `shape` is the
    pass without its offline chunk: online prompts stall decodes on their own account.
    """
    memory = state.memory
    stall_ms = debt_ms = 0.0
    has_stalled, calm_gaps_left = False, 0
    if not state.mixes_prefill_and_decode and scene.decodes.rows:
        if chunk.tokens:
            online_ms = model.bound_ms(shape) if scene.prefill.tokens else 0.0
            stall_ms = memory.stall_ms + max(0.0, bound_ms - online_ms)
            debt_ms = memory.debt_ms
            has_stalled, calm_gaps_left = True, memory.calm_gaps_left
        elif scene.prefill.tokens:
            stall_ms, debt_ms = memory.stall_ms, memory.debt_ms
            has_stalled, calm_gaps_left = True, memory.calm_gaps_left
        else:
            debt_ms = dutycycle.debt_after_decode_ms(
                memory, budgets=budgets, decode_bound_ms=bound_ms
            )
            calm_gaps_left = dutycycle.calm_gaps_after_decode(
                memory,
                budgets=budgets,
                decode_bound_ms=bound_ms,
                has_offline=decodes.offline_rows > 0,
            )
    credit_ms = mean_requests = 0.0
    if budgets.gap_credit_ms > 0.0:
        alone_ms = model.predict_ms(online_shape(scene, chunk, state=state))
        credit_ms, mean_requests = credit.book(
            memory,
            budgets=budgets,
            requests=scene.online_requests,
            lengthened_ms=max(0.0, predicted_ms - alone_ms),
        )
    return Memory(
        stall_ms=stall_ms,
        debt_ms=debt_ms,
        has_stalled=has_stalled,
        calm_gaps_left=calm_gaps_left,
        credit_ms=credit_ms,
        mean_requests=mean_requests,
        has_rested=rests or (memory.has_rested and scene.prefill.tokens > 0),
        prompt_cursor=chunk.cursor,
        age_owed_tokens=chunk.owed_tokens,
        online_kv_peak_tokens=peak_tokens,
        peak_s=max(state.now_s, memory.peak_s),
    )


def online_shape(scene: Scene, chunk: ChunkChoice, *, state: EngineState) -> BatchShape:
    """The online part of the pass; none where an offline chunk takes a turn of its own."""
    prefill, decodes = scene.prefill, scene.decodes
    if not state.mixes_prefill_and_decode and (prefill.tokens or chunk.tokens):
        return prefill.with_decodes(rows=0, context_tokens=0, longest_tokens=0)
    return prefill.with_decodes(
        rows=decodes.rows,
        context_tokens=decodes.context_tokens,
        longest_tokens=decodes.longest_tokens,
    )
