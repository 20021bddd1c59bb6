"""A simulated engine: SGLang's loop with the plugin's steps in it.

Owns the requests inside the engine and carries each plan out as the plugin does: evict,
park, resume, then prefill with the offline tokens capped. Online prompts go SGLang's way,
prefill wins over decode where passes take turns, and decodes that find no KV evict
offline rows before any other. Refuses time: the caller says when a pass begins and ends.

Invariants: a request is in exactly one of waiting, started, running, parked or ended;
the policy is asked only when offline work is in the engine or its memory is not empty,
as the plugin asks it.
"""

from dataclasses import dataclass, replace

from planner.batching.eviction import cheapest_first
from planner.batching.policy import Policy
from planner.batching.state import (
    Budgets,
    EngineState,
    IterationPlan,
    Memory,
    PrefillWork,
    WorkClass,
)
from planner.latency.features import BatchShape
from planner.latency.predictor import LatencyModel
from planner.simulation.admission import Admission
from planner.simulation.live import LiveRequest
from planner.simulation.memory import KvMemory
from planner.simulation.request import SimulatedRequest
from planner.simulation.settings import EngineSettings

_NOTHING = IterationPlan()
# SGLang's estimate of what running rows still generate: SGLANG_INIT_NEW_TOKEN_RATIO,
# its least, and its fall over 600 decodes.
_FIRST_NEW_TOKEN_RATIO = 0.7
_LEAST_NEW_TOKEN_RATIO = 0.7 * 0.14
_NEW_TOKEN_RATIO_DECAY = (_FIRST_NEW_TOKEN_RATIO - _LEAST_NEW_TOKEN_RATIO) / 600


@dataclass(slots=True, kw_only=True)
class EngineCounters:
    """What happened, over the run."""

    passes: int = 0
    prefill_passes: int = 0
    decisions: int = 0
    parked: int = 0
    resumed: int = 0
    evicted: int = 0
    requeued: int = 0
    retracted_online: int = 0
    recomputed_tokens: int = 0
    cached_tokens: int = 0
    over_bound: int = 0  # passes that lasted longer than the plan's bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One iteration: what runs, and its plan."""

    shape: BatchShape
    prompts: tuple[tuple[LiveRequest, int], ...]
    finished_prompts: tuple[LiveRequest, ...]
    decodes: tuple[LiveRequest, ...]
    plan: IterationPlan
    online_rows: int
    offline_rows: int
    changed_rows: int  # parked, resumed or evicted before it


class Engine:
    """One engine and the policy that plans its passes."""

    def __init__(
        self, settings: EngineSettings, *, policy: Policy, model: LatencyModel, budgets: Budgets
    ) -> None:
        self.settings = settings
        self.memory = KvMemory(
            total_tokens=settings.kv_tokens,
            page_size=settings.page_size,
            caches_prefixes=settings.caches_prefixes,
        )
        self.counters = EngineCounters()
        self.budgets = budgets
        self._policy, self._model = policy, model
        self._online: list[LiveRequest] = []  # waiting
        self._offline: list[LiveRequest] = []
        self._started: LiveRequest | None = None
        self._running: list[LiveRequest] = []
        self._finishing: list[LiveRequest] = []  # last token launched, not settled
        self._parked: list[LiveRequest] = []
        self._released: list[LiveRequest] = []
        self._plan_memory = Memory()
        self._changed_rows = 0  # since the last launch
        self._number = 0
        self._last_pass_ms = 0.0
        self._new_token_ratio = _FIRST_NEW_TOKEN_RATIO
        self._offline_live = 0  # in the engine, anywhere
        self.live = 0

    # ------------------------------------------------------------ arrivals

    def add(self, request: SimulatedRequest) -> None:
        """Queues an arrival.

        Raises:
            ValueError: It can never fit the engine.
        """
        needed = request.prompt_tokens + request.longest_output_tokens + self.settings.page_size
        if needed > self.memory.total_tokens:
            raise ValueError(
                f"request {request.rid}: needs {needed} tokens of KV, the engine has "
                f"{self.memory.total_tokens}; shorten it or give more kv_tokens"
            )
        live = LiveRequest(
            request, page_size=self.settings.page_size, prompt_key=_prompt_key(request)
        )
        self.live += 1
        self._offline_live += live.is_offline
        self._queue(live)

    def _queue(self, live: LiveRequest) -> None:
        if live.is_offline:
            self._offline.append(live)
            return
        self._online.append(live)
        self._online.sort(key=_online_order)

    @property
    def has_work(self) -> bool:
        """Whether any request has not ended."""
        return self.live > 0

    # ------------------------------------------------------------ one pass

    def begin_pass(self, *, now_s: float) -> Pass | None:
        """Plans and launches the next pass; None where nothing runs."""
        self._number += 1
        plan = self._decide(now_s=now_s)
        self._plan_memory = plan.memory
        self._carry_out(plan)
        admission = self._admit(plan)
        self._requeue_released()
        prompts = tuple(admission.prompts)
        if prompts:
            decodes = tuple(self._running) if self.settings.mixes else ()
        else:
            decodes = tuple(self._running)
        if decodes:
            decodes = self._make_room(decodes)
            self._requeue_released()
        if not prompts and not decodes:
            return None
        return self._launch(prompts, decodes, plan=plan)

    def settle(self, run: Pass, *, at_s: float, lasted_ms: float) -> list[LiveRequest]:
        """Emits the pass's tokens at `at_s`; the requests that end with it."""
        self._last_pass_ms = lasted_ms
        if run.plan.bound_ms and lasted_ms > run.plan.bound_ms:
            self.counters.over_bound += 1
        ended = []
        for live, _ in run.prompts:
            live.in_flight -= 1
        for live in run.decodes:
            live.in_flight -= 1
            live.generated += 1
            live.emitted_s.append(at_s)
            if live.generated == live.request.output_tokens:
                ended.append(live)
        for live in run.finished_prompts:
            live.generated += 1
            live.emitted_s.append(at_s)
            if live.generated == live.request.output_tokens:
                ended.append(live)
        if ended and self._finishing:
            self._finishing = [r for r in self._finishing if r not in ended]
        for live in ended:
            live.leave(self.memory, keeps=False)
            self.live -= 1
            self._offline_live -= live.is_offline
        return ended

    # ------------------------------------------------------------ the plan

    def _decide(self, *, now_s: float) -> IterationPlan:
        if not self._offline_live and self._plan_memory.is_settled:
            # What it remembers of online bursts and prefix order outlives the pause.
            return replace(_NOTHING, memory=self._plan_memory)
        self.counters.decisions += 1
        number, memory = self._number, self.memory
        started = self._started
        state = EngineState(
            now_s=now_s,
            pass_number=number,
            running=tuple(
                [
                    r.as_row(number=number, is_parked=False)
                    for r in (*self._running, *self._finishing)
                ]
            ),
            parked=tuple([r.as_row(number=number, is_parked=True) for r in self._parked]),
            started=None
            if started is None
            else started.as_work(memory, number=number, is_started=True),
            waiting_online=self._waiting(self._online),
            waiting_offline=self._waiting(self._offline),
            kv_free_tokens=memory.free_tokens,
            kv_total_tokens=memory.total_tokens,
            page_size=memory.page_size,
            chunk_limit_tokens=self.settings.chunked_prefill_size,
            mixes_prefill_and_decode=self.settings.mixes,
            last_pass_ms=self._last_pass_ms,
            free_rows=self._free_rows(),
            memory=self._plan_memory,
        )
        return self._policy(state, model=self._model, budgets=self.budgets)

    def _waiting(self, requests: list[LiveRequest]) -> tuple[PrefillWork, ...]:
        """As the policy sees them; a view stays as it is until its prefix is looked up again."""
        number, memory = self._number, self.memory
        return tuple(
            [
                r.work
                if number < r.match_due and r.queued_pass is not None
                else r.as_work(memory, number=number, is_started=False)
                for r in requests
            ]
        )

    def _carry_out(self, plan: IterationPlan) -> None:
        if plan.evict:
            for rid in plan.evict:
                self._evict(rid)
        if plan.park:
            aside = set(plan.park)
            gone = [r for r in self._running if r.rid in aside and r.is_offline]
            self._running = [r for r in self._running if r.rid not in aside or not r.is_offline]
            self._move(gone, self._parked)
            self.counters.parked += len(gone)
            self._changed_rows += len(gone)
        if plan.resume:
            wanted = set(plan.resume)
            back = [r for r in self._parked if r.rid in wanted and not r.in_flight]
            names = {r.rid for r in back}
            self._parked = [r for r in self._parked if r.rid not in names]
            self._move(back, self._running)
            self.counters.resumed += len(back)
            self._changed_rows += len(back)

    def _move(self, requests: list[LiveRequest], to: list[LiveRequest]) -> None:
        for live in requests:
            live.state_pass = self._number
        to.extend(requests)

    def _admit(self, plan: IterationPlan) -> Admission:
        admission = Admission(
            settings=self.settings,
            memory=self.memory,
            plan=plan,
            number=self._number,
            new_token_ratio=self._new_token_ratio,
            running=self._running,
            parked=self._parked,
            free_rows=self._free_rows(),
            reserve_tokens=plan.kv_reserve_tokens,
            evict_one=self._evict_cheapest,
        )
        if self._started is not None:
            admission.continue_started(self._started)
        elif not self._online and not plan.offline_chunk_tokens:
            return admission
        admission.admit(self._in_order(plan))
        self._started = admission.unfinished
        if admission.requeued is not None:
            self._released.append(admission.requeued)
            self.counters.requeued += 1
        taken = {live.rid for live, _ in admission.prompts}
        if taken:
            self._online = [r for r in self._online if r.rid not in taken]
            self._offline = [r for r in self._offline if r.rid not in taken]
        return admission

    def _in_order(self, plan: IterationPlan) -> list[LiveRequest]:
        """Online by priority and arrival, then offline as the plan orders it."""
        if plan.offline_chunk_tokens <= 0 or not self._offline:
            return self._online
        place = {rid: i for i, rid in enumerate(plan.offline_order)}
        last = len(place)
        return [*self._online, *sorted(self._offline, key=lambda r: place.get(r.rid, last))]

    # ------------------------------------------------------------ running it

    def _make_room(self, decodes: tuple[LiveRequest, ...]) -> tuple[LiveRequest, ...]:
        """Takes KV for the next token of every row; offline rows, then the newest, go."""
        needed = (
            len(decodes)
            if self.memory.page_size == 1
            else sum([r.growth_tokens(self.memory) for r in decodes])
        )
        while needed > self.memory.free_tokens and self._running:
            if self._evict_cheapest() is None:
                self._retract()
            still = {r.rid for r in self._running}
            decodes = tuple([r for r in decodes if r.rid in still])
            needed = sum([r.growth_tokens(self.memory) for r in decodes])
        for live in decodes:
            live.grow(self.memory, 1)
        return decodes

    def _launch(
        self,
        prompts: tuple[tuple[LiveRequest, int], ...],
        decodes: tuple[LiveRequest, ...],
        *,
        plan: IterationPlan,
    ) -> Pass:
        tokens = 0
        attention = padded_sq = 0.0
        context_before = 0
        finished = []
        online_rows = 0
        for live, chunk in prompts:
            before = live.kv_tokens - chunk
            tokens += chunk
            context_before += before
            attention += chunk * (before + chunk / 2.0)
            padded_sq += float(live.kv_tokens * live.kv_tokens)
            online_rows += not live.is_offline
            live.in_flight += 1
            live.share(self.memory)
            if live.kv_tokens == live.target_tokens:
                finished.append(live)
        context = longest = 0
        for live in decodes:
            kv = live.kv_tokens
            context += kv
            if kv > longest:
                longest = kv
            online_rows += not live.is_offline
            live.in_flight += 1
            live.launched += 1
        for live in finished:
            live.launched += 1
            live.state_pass = self._number + 1  # a row from the next pass on
        rows = [*self._running, *finished] if finished else self._running
        if decodes or finished:
            self._running = [r for r in rows if not r.is_launched_out]
            if len(self._running) < len(rows):
                self._finishing += [r for r in rows if r.is_launched_out]
        counters = self.counters
        counters.passes += 1
        if prompts:
            counters.prefill_passes += 1
        else:
            self._new_token_ratio = max(
                _LEAST_NEW_TOKEN_RATIO, self._new_token_ratio - _NEW_TOKEN_RATIO_DECAY
            )
        changed_rows, self._changed_rows = self._changed_rows, 0
        return Pass(
            shape=BatchShape(
                prefill_tokens=tokens,
                prefill_rows=len(prompts),
                prefill_context_tokens=context_before,
                prefill_attention=attention,
                prefill_padded_sq=padded_sq,
                decode_rows=len(decodes),
                decode_context_tokens=context,
                decode_max_context_tokens=longest,
            ),
            prompts=prompts,
            finished_prompts=tuple(finished),
            decodes=decodes,
            plan=plan,
            online_rows=online_rows,
            offline_rows=len(prompts) + len(decodes) - online_rows,
            changed_rows=changed_rows,
        )

    # ------------------------------------------------------------ eviction

    def _free_rows(self) -> int:
        held = len(self._running) + len(self._parked) + (self._started is not None)
        return self.settings.max_running_requests - held

    def _evict_cheapest(self) -> LiveRequest | None:
        """Gives up the offline row that is cheapest to compute again."""
        number = self._number
        rows = cheapest_first(
            live.as_row(number=number, is_parked=is_parked)
            for requests, is_parked in ((self._parked, True), (self._running, False))
            for live in requests
            if live.is_offline and not live.in_flight
        )
        return self._evict(rows[0].rid) if rows else None

    def _evict(self, rid: str) -> LiveRequest | None:
        for requests in (self._parked, self._running):
            for live in requests:
                if live.rid == rid and live.is_offline and not live.in_flight:
                    requests.remove(live)
                    live.leave(self.memory, keeps=True)
                    self._released.append(live)
                    self.counters.evicted += 1
                    self._changed_rows += 1
                    return live
        return None

    def _retract(self) -> None:
        """SGLang's last resort: the newest row of any class starts again."""
        live = self._running.pop()
        live.leave(self.memory, keeps=True)
        self._released.append(live)
        self.counters.retracted_online += not live.is_offline

    def _requeue_released(self) -> None:
        """Back to the queue, once the pass has its batch."""
        for live in self._released:
            live.queued_pass = None
            self._queue(live)
        self._released.clear()


def _online_order(live: LiveRequest) -> tuple[int, float, str]:
    return -live.request.priority, live.arrival_s, live.rid


def _prompt_key(request: SimulatedRequest) -> bytes:
    """Lexicographic order of keys is depth-first order of prefixes."""
    if request.work_class is not WorkClass.OFFLINE:
        return b""
    return b"".join(block.to_bytes(8, "big") for block in request.blocks) + request.rid.encode()
