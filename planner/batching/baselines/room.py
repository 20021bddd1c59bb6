"""What online work takes of a pass, and what it leaves to a rival's offline work.

Owns the sums every rival starts from: online decodes and prompts, the offline rows that
stay, KV, rows and prompt tokens left. Rivals know no parking: every offline row that can
run does, parked ones come back. Refuses admission (`fill`) and time limits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from planner.batching.eviction import growth_tokens, is_evictable
from planner.batching.online import OnlineDecodes, OnlinePrefill, online_decodes, online_prefill
from planner.batching.state import DecodeRow, EngineState, PrefillWork, WorkClass

VictimKey = Callable[[DecodeRow], tuple[float, float, str]]
"""Rows with the smallest keys give up their KV first."""


class Preempts(Enum):
    """What offline rows give up their KV for."""

    ANY_ONLINE_NEED = "any_online_need"
    # An engine row, or the next token of a decode; online prompts wait for KV.
    ROWS_AND_GROWTH = "rows_and_growth"


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A pass with all online work in it, before offline prompts join."""

    decodes: OnlineDecodes
    prefill: OnlinePrefill
    has_online: bool
    evict: tuple[str, ...]
    resume: tuple[str, ...]
    running: tuple[DecodeRow, ...]  # offline rows in the running batch, not evicted
    resumed: tuple[DecodeRow, ...]
    stuck_rows: int  # parked and not resumable yet
    started: PrefillWork | None  # the offline request in the mid-prefill slot
    yields_slot: bool  # an online prompt needs that slot, or the KV
    chunk_tokens: int  # prompt tokens the pass still takes
    kv_free_tokens: int
    free_rows: int

    @property
    def rows(self) -> tuple[DecodeRow, ...]:
        """Every offline row that runs."""
        return self.running + self.resumed

    @property
    def held_rows(self) -> int:
        """Offline requests the engine holds past or in their prefill."""
        is_holding = self.started is not None and not self.yields_slot
        return len(self.running) + len(self.resumed) + self.stuck_rows + is_holding


def latest_first(row: DecodeRow) -> tuple[float, float, str]:
    """Preempts in reverse order of arrival.

    Source: Sarathi-Serve's scheduler (as vLLM's) takes the last of its FCFS order.
    """
    return (-row.arrival_s, 0.0, row.rid)


def least_generated_first(row: DecodeRow) -> tuple[float, float, str]:
    """Retracts the row with the fewest output tokens, among those the longest prompt.

    Source: SGLang 0.5.23, `ScheduleBatch._get_decode_retraction_order`.
    """
    return (row.generated_tokens, row.generated_tokens - row.context_tokens, row.rid)


def leave_room(
    state: EngineState,
    *,
    victim_key: VictimKey,
    row_victim_key: VictimKey | None = None,
    preempts: Preempts = Preempts.ANY_ONLINE_NEED,
    started_first: bool = False,
) -> Room:
    """Sums up online, and evicts offline rows for what online lacks.

    One offline row is kept where nothing online exists, as engines do.

    Args:
        state: The engine.
        victim_key: Order of eviction for KV.
        row_victim_key: Order of eviction for engine rows; None: the same.
        preempts: What evicts.
        started_first: Whether an offline mid-prefill request takes its chunk before
            online prompts, as SGLang continues it.
    """
    decodes = online_decodes(state.running, now_s=state.now_s)
    started = state.started
    online_started = started if _is_online(started) else None
    offline_started = None if online_started else started
    has_online = bool(decodes.rows or state.waiting_online or online_started)
    resumed = tuple(sorted((r for r in state.parked if r.can_resume), key=lambda r: r.rid))
    offline = (*decodes.offline, *state.parked)
    growth = growth_tokens((*state.running, *resumed), page_size=state.page_size)
    chunk_tokens = state.chunk_limit_tokens
    if chunk_tokens <= 0:
        chunk_tokens = max(1, state.kv_total_tokens)
    elif state.mixes_prefill_and_decode:
        offline_rows = len(decodes.offline) + len(resumed)
        chunk_tokens = max(1, chunk_tokens - decodes.rows - offline_rows)
    ahead = 0
    if started_first and offline_started is not None:
        ahead = min(chunk_tokens, offline_started.remaining_tokens)
    frees_kv = preempts is Preempts.ANY_ONLINE_NEED
    prefill = OnlinePrefill()
    if chunk_tokens > ahead and (state.waiting_online or online_started is not None):
        candidates = [row for row in offline if is_evictable(row)]
        evictable = sum([row.context_tokens for row in candidates]) if frees_kv else 0
        prefill = online_prefill(
            state.waiting_online,
            started=online_started,
            now_s=state.now_s,
            chunk_tokens=chunk_tokens - ahead,
            kv_tokens=max(0, state.kv_free_tokens - growth + evictable),
            rows=state.free_rows + len(candidates),
        )
    starts = max(0, prefill.rows - (online_started is not None))
    short_tokens = growth + (prefill.kv_tokens if frees_kv else 0) - state.kv_free_tokens
    short_rows = starts - state.free_rows
    victims: list[DecodeRow] = []
    if short_tokens > 0 or short_rows > 0:
        candidates = [row for row in offline if is_evictable(row)]
        victims = _take(candidates, key=victim_key, until_tokens=short_tokens)
        victims += _take(
            [row for row in candidates if row not in victims],
            key=row_victim_key or victim_key,
            until_rows=short_rows - len(victims),
        )
    if not has_online and len(victims) >= len(decodes.offline) + len(resumed):
        victims = victims[:-1]  # evictable rows can all run: one does
    gone = {row.rid for row in victims}
    freed = sum(row.context_tokens for row in victims)
    kv_free = state.kv_free_tokens + freed - growth - prefill.kv_tokens
    running = decodes.offline
    if gone:
        running = tuple([row for row in running if row.rid not in gone])
        resumed = tuple([row for row in resumed if row.rid not in gone])
    return Room(
        decodes=decodes,
        prefill=prefill,
        has_online=has_online,
        evict=tuple(row.rid for row in victims),
        resume=tuple(row.rid for row in resumed),
        running=running,
        resumed=resumed,
        stuck_rows=sum(1 for r in state.parked if r.rid not in gone) - len(resumed),
        started=offline_started,
        yields_slot=offline_started is not None
        and not started_first
        and has_online
        and (prefill.needs_slot or kv_free < 0),
        chunk_tokens=chunk_tokens - prefill.tokens,
        kv_free_tokens=kv_free,
        free_rows=state.free_rows + len(victims) - starts,
    )


def _take(
    candidates: list[DecodeRow], *, key: VictimKey, until_tokens: int = 0, until_rows: int = 0
) -> list[DecodeRow]:
    taken: list[DecodeRow] = []
    if until_tokens <= 0 and until_rows <= 0:
        return taken
    for row in sorted(candidates, key=key):
        if until_tokens <= 0 and until_rows <= 0:
            break
        taken.append(row)
        until_tokens -= row.context_tokens
        until_rows -= 1
    return taken


def _is_online(work: PrefillWork | None) -> bool:
    return work is not None and work.work_class is WorkClass.ONLINE
