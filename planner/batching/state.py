"""Input and output of one iteration's decision.

Owns the values that cross between the pure decision and whatever drives it (the SGLang
plugin, the simulator). Refuses engine objects: rows are named by request id.
Invariants: times are seconds on the clock that stamps `now_s`; every rank builds the
same state from the same broadcast. A decision changes nothing here; whoever drives it may
reuse rows from pass to pass, so one that keeps states copies them. Rows are not frozen
by the language because one is made for every request in every pass, and a frozen one of
17 fields takes 2-4 times as long to make (measured: 6.5 us against 1.5 us).
"""

from dataclasses import dataclass
from enum import Enum
from sys import maxsize


class WorkClass(Enum):
    """Whose request it is. Unlabelled requests are online."""

    ONLINE = "online"
    OFFLINE = "offline"


@dataclass(slots=True, kw_only=True)  # not frozen: see the module's docstring
class DecodeRow:
    """A request past its prefill, running or parked with its KV held."""

    rid: str
    work_class: WorkClass
    context_tokens: int  # KV length its next decode reads
    generated_tokens: int
    is_parked: bool = False
    must_run: bool = False  # finishing or aborted: must be in the next batch
    can_park: bool = True  # False where its batch alone holds its state, or a result is in flight
    can_resume: bool = True  # False while its last result is in flight
    arrival_s: float = 0.0
    last_token_s: float = 0.0
    first_token_s: float = 0.0  # 0: not known; a TPOT target then holds every gap
    itl_target_ms: float | None = None
    tpot_target_ms: float | None = None
    max_gap_ms: float | None = None  # longest single gap beside a TPOT target
    deadline_s: float | None = None
    passes_in_state: int = 0  # passes since it was last parked or resumed
    recompute_tokens: int = 0  # tokens an eviction would have to compute again


@dataclass(slots=True, kw_only=True)  # not frozen: see the module's docstring
class PrefillWork:
    """A request whose prompt is not computed yet, or only in part."""

    rid: str
    work_class: WorkClass
    remaining_tokens: int  # uncached prompt tokens still to compute
    cached_tokens: int  # prefix found in the cache, or computed already
    is_started: bool = False  # holds the engine's one mid-prefill slot
    arrival_s: float = 0.0
    ttft_target_ms: float | None = None
    deadline_s: float | None = None
    queued_pass: int = maxsize  # pass that first saw it wait; the default never counts as aged
    prompt_key: bytes = b""  # lexicographic order of keys is depth-first order of prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """Live settings of an engine. A budget of 0 stops offline work while online exists."""

    enabled: bool = True
    latency_budget_ms: float = 50.0  # while online work exists
    idle_budget_ms: float = 200.0  # while none does, so that an arrival waits little
    max_offline_rows: int = 256  # offline decodes in one iteration
    # Offline rows that hold KV before another prompt begins while online requests wait. Each
    # reads its whole context in every pass, beside all of them: a few rows do nearly the work
    # of many, for less of the online gaps. Rows there already go on.
    max_rows_beside_online: int = 256
    max_parked_rows: int = 64
    min_chunk_tokens: int = 32  # smaller offline chunks waste the pass
    min_parked_passes: int = 4  # hysteresis
    min_resident_passes: int = 4
    # KV kept free for online bursts, as shares of it: never less than the first, never more
    # than the second; between them, what online held recently and gave back.
    kv_reserve_ratio: float = 0.1
    kv_reserve_ceiling_ratio: float = 0.5
    kv_burst_half_life_s: float = 30.0  # in which a recent peak counts half; 0: never counts
    # Longest gap an offline chunk may cause where the engine cannot mix; what exceeds the
    # latency budget is earned back before the next chunk. Below that budget: no overdraft.
    max_stall_ms: float = 0.0
    # Where the engine cannot mix: what an ordinary gap between online tokens may last, below
    # the latency budget, which then holds the mean. Longer gaps are few: each is followed by
    # `calm_gaps` ordinary ones, and decodes all rows parked meanwhile once there are
    # `burst_rows` of them. 0: all gaps alike, held to the latency budget.
    calm_budget_ms: float = 0.0
    calm_gaps: int = 2
    burst_rows: int = 12
    # By how much offline work may lengthen online gaps on average, spent in passes that few
    # online requests wait for (`credit`). 0: no such book, it runs whoever waits.
    gap_credit_ms: float = 0.0
    # Share of offline prompt tokens that goes to the eldest request instead of the next in
    # prefix order. 0: prefix order alone; 1: order of arrival.
    age_share: float = 0.1
    aged_passes: int = 1024  # a request that waited longer goes first, eldest first
    max_parked_passes: int = 256  # a row parked longer goes first, eldest first
    urgent_laxity_s: float = 60.0  # a deadline nearer than this goes before prefix order
    # Share of a limit for iterations whose bound no measurement has calibrated: a default
    # model's bound was seen exceeded fourfold on a machine shared with others.
    uncalibrated_ratio: float = 0.25

    @property
    def runs_offline(self) -> bool:
        """Whether any offline work may run at all."""
        return self.enabled and self.max_offline_rows > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What one decision leaves to the next.

    The driver hands `IterationPlan.memory` back as the next `EngineState.memory`; a
    fresh one is always safe for one gap.
    """

    stall_ms: float = 0.0  # offline chunks since online last decoded, by their bounds
    debt_ms: float = 0.0  # stalls beyond the latency budget, not yet earned back
    has_stalled: bool = False  # a prompt of either class ran since online last decoded
    calm_gaps_left: int = 0  # ordinary gaps owed before the next long one
    credit_ms: float = 0.0  # saved of `gap_credit_ms`, times requests; < 0: a debt
    mean_requests: float = 0.0  # online ones that waited for a pass; a running mean
    has_rested: bool = False  # offline rows sat the last decode out for an online first token
    prompt_cursor: tuple[bytes, float, str] | None = None  # last prompt taken in prefix order
    age_owed_tokens: float = 0.0  # prompt tokens the eldest are owed; < 0: they had more
    online_kv_peak_tokens: float = 0.0  # decayed maximum, as of `peak_s`
    peak_s: float = 0.0

    @property
    def is_settled(self) -> bool:
        """Whether a pass without offline work may be run unplanned: no gap is open."""
        return self.stall_ms == 0.0 and self.debt_ms == 0.0 and not self.has_stalled


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineQueue:
    """Waiting offline requests in their standing orders; `prefixes` makes and keeps it."""

    by_prompt: tuple[PrefillWork, ...] = ()  # prompt key, arrival, rid
    by_age: tuple[PrefillWork, ...] = ()  # queued pass, arrival, rid
    by_deadline: tuple[PrefillWork, ...] = ()  # those that have one: deadline, arrival, rid


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """Everything the decision may look at."""

    now_s: float
    pass_number: int
    running: tuple[DecodeRow, ...]
    parked: tuple[DecodeRow, ...]
    started: PrefillWork | None  # the mid-prefill request, of either class
    waiting_online: tuple[PrefillWork, ...]
    waiting_offline: tuple[PrefillWork, ...]
    kv_free_tokens: int  # free plus evictable from the prefix cache
    kv_total_tokens: int
    page_size: int
    chunk_limit_tokens: int  # chunked_prefill_size; <= 0: prompts are never split
    mixes_prefill_and_decode: bool
    last_pass_ms: float = 0.0
    free_rows: int = 1 << 20  # requests the engine may hold beside those it holds
    memory: Memory = Memory()
    # The requests of `waiting_offline`, in order already; None: the decision sorts them.
    offline_queue: OfflineQueue | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IterationPlan:
    """What the next iteration runs of offline work; online runs all it wants.

    Applied in order: evict, park, resume; then prefill with the offline chunk capped.
    """

    park: tuple[str, ...] = ()  # running offline rows to set aside, KV held
    resume: tuple[str, ...] = ()  # parked rows to bring back
    evict: tuple[str, ...] = ()  # offline rows, running or parked, whose KV is given up
    offline_chunk_tokens: int = 0  # all offline prefill of the pass, in tokens
    # The waiting offline requests that go first, first first: those the plan takes and a few
    # behind them. Empty when no offline prefill is planned.
    offline_order: tuple[str, ...] = ()
    kv_reserve_tokens: int = 0  # KV that offline prompts leave free for online bursts
    requeue_started: bool = False  # an offline mid-prefill request yields its slot
    predicted_ms: float = 0.0  # mean prediction of the planned iteration
    bound_ms: float = 0.0  # its upper bound
    budget_ms: float = 0.0  # what offline work in it was held to, >= 0
    memory: Memory = Memory()
