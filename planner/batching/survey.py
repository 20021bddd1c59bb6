"""How an engine stands when an iteration is decided.

Owns what online work takes of the engine before offline work is considered: its decodes,
its prompts, and the KV and rows that offline requests are evicted for. Refuses time
limits: online is never held to one.

Source: HyGen (arXiv 2501.14808), phase 1 of two-phase scheduling: online first, preempting
offline requests for what it lacks. That one offline row is kept where nothing online
exists is ours: it has to run.
"""

from typing import NamedTuple

from planner.batching.eviction import choose_evictions, growth_tokens, is_evictable
from planner.batching.online import OnlineDecodes, OnlinePrefill, online_decodes, online_prefill
from planner.batching.state import DecodeRow, EngineState, PrefillWork, WorkClass


class Scene(NamedTuple):
    """What online does, what it takes from offline, and who is left."""

    decodes: OnlineDecodes
    prefill: OnlinePrefill
    has_online: bool
    evicted: tuple[DecodeRow, ...]
    running: tuple[DecodeRow, ...]  # offline, not evicted
    parked: tuple[DecodeRow, ...]
    kv_free_tokens: int  # after eviction, online prompts and one decode of every running row
    is_kv_short: bool
    online_kv_tokens: int  # that online holds, or takes in this pass
    free_rows: int  # after eviction and online prompts
    chunk_tokens: int  # prompt tokens a pass takes
    started_offline: PrefillWork | None
    online_requests: int  # that a pass makes wait: decoding, or before their first token

    @property
    def yields_slot(self) -> bool:
        """Whether an offline request gives up the mid-prefill slot, or its KV, to online."""
        return (
            self.started_offline is not None
            and self.has_online
            and (self.prefill.needs_slot or self.is_kv_short)
        )

    @property
    def slack_ms(self) -> float:
        """Tightest slack of online work, decoding or waiting; inf without targets."""
        return min(self.decodes.slack_ms, self.prefill.slack_ms)


def survey(state: EngineState) -> Scene:
    """Sums up online, and evicts offline rows for the KV and rows that online lacks."""
    decodes = online_decodes(state.running, now_s=state.now_s)
    started = state.started
    started_offline = (
        started if started is not None and started.work_class is not WorkClass.ONLINE else None
    )
    has_online = bool(decodes.rows or state.waiting_online) or (
        started is not None and started_offline is None
    )
    running, parked = decodes.offline, state.parked
    chunk_tokens = state.chunk_limit_tokens
    if chunk_tokens <= 0:
        chunk_tokens = max(1, state.kv_total_tokens)
    elif state.mixes_prefill_and_decode:
        chunk_tokens = max(1, chunk_tokens - decodes.rows)
    growth = growth_tokens(state.running, page_size=state.page_size)
    prefill = OnlinePrefill()
    if state.waiting_online or (started is not None and started_offline is None):
        evictable = [row for row in (*running, *parked) if is_evictable(row)]
        prefill = online_prefill(
            state.waiting_online,
            started=started,
            now_s=state.now_s,
            chunk_tokens=chunk_tokens,
            kv_tokens=state.kv_free_tokens
            - growth
            + sum([row.context_tokens for row in evictable]),
            rows=state.free_rows + len(evictable),
        )
    starts = prefill.rows - (1 if started is not None and started_offline is None else 0)
    # Where nothing else runs, for the one row that resumes.
    resume_tokens = 0
    if not has_online and not running and any(row.can_resume for row in parked):
        resume_tokens = max(0, state.page_size - growth)
    short_tokens = growth + resume_tokens + prefill.kv_tokens - state.kv_free_tokens
    short_rows = max(0, starts) - state.free_rows
    evicted: tuple[DecodeRow, ...] = ()
    if short_tokens > 0 or short_rows > 0:
        candidates = [*running, *parked]
        evicted = choose_evictions(candidates, short_tokens=short_tokens, short_rows=short_rows)
        gone = {row.rid for row in evicted}
        if (
            not has_online
            and evicted
            and not any(
                row.can_resume or not row.is_parked for row in candidates if row.rid not in gone
            )
        ):
            gone.discard(evicted[-1].rid)  # the dearest goes on: nothing else could run
            evicted = evicted[:-1]
        running = tuple([row for row in running if row.rid not in gone])
        parked = tuple([row for row in parked if row.rid not in gone])
    kv_free = resume_tokens - short_tokens + sum([row.context_tokens for row in evicted])
    return Scene(
        decodes=decodes,
        prefill=prefill,
        has_online=has_online,
        evicted=evicted,
        running=running,
        parked=parked,
        kv_free_tokens=kv_free,
        is_kv_short=kv_free < 0,
        online_kv_tokens=decodes.context_tokens
        + prefill.kv_tokens
        + (started.cached_tokens if started is not None and started_offline is None else 0),
        free_rows=len(evicted) - short_rows,
        chunk_tokens=chunk_tokens,
        started_offline=started_offline,
        online_requests=decodes.rows
        + len(state.waiting_online)
        + (started is not None and started_offline is None),
    )
