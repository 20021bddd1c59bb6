"""A small engine that runs each plan as SGLang does, for tests over many passes.

Prompts win over decodes where passes take turns, finished prompts join the running rows,
time goes on by the model's mean.
"""

from dataclasses import dataclass, field, replace

from engine_states import MODEL, engine_state, offline_prompt, offline_row, online_row

from planner.batching.decide import plan_iteration
from planner.batching.state import Budgets, DecodeRow, Memory, PrefillWork


@dataclass
class SmallEngine:
    """Runs plans; counts how long requests wait and rows stay parked."""

    budgets: Budgets
    mixes: bool
    online: list[DecodeRow]
    waiting: list[PrefillWork]
    output_tokens: int = 40
    now_s: float = 1000.0
    passes: int = 0
    running: list[DecodeRow] = field(default_factory=list)
    parked: list[DecodeRow] = field(default_factory=list)
    started: PrefillWork | None = None
    memory: Memory = field(default_factory=Memory)
    finished: list[str] = field(default_factory=list)
    longest_gap_ms: float = 0.0
    decodes: int = 0
    longest_parked: int = 0
    longest_waited: int = 0
    park_moves: int = 0

    def step(self) -> None:
        plan = plan_iteration(
            engine_state(
                now_s=self.now_s,
                pass_number=self.passes,
                running=(*self.online, *self.running),
                parked=tuple(self.parked),
                started=self.started,
                waiting_offline=tuple(self.waiting),
                mixes_prefill_and_decode=self.mixes,
                memory=self.memory,
            ),
            model=MODEL,
            budgets=self.budgets,
        )
        assert not plan.evict
        self.memory = plan.memory
        self.now_s += plan.predicted_ms / 1000.0
        self.passes += 1
        self._move(plan)
        joined = self._prefill(plan)
        if self.mixes or not plan.offline_chunk_tokens:
            self._decode()
        self.running += joined

    def _move(self, plan):
        by_rid = {row.rid: row for row in [*self.running, *self.parked]}
        self.park_moves += len(plan.park)
        held = [replace(row, passes_in_state=row.passes_in_state + 1) for row in self.parked]
        self.parked = [row for row in held if row.rid not in plan.resume] + [
            replace(by_rid[rid], is_parked=True, passes_in_state=0) for rid in plan.park
        ]
        kept = [replace(row, passes_in_state=row.passes_in_state + 1) for row in self.running]
        self.running = [row for row in kept if row.rid not in plan.park] + [
            replace(by_rid[rid], is_parked=False, passes_in_state=0) for rid in plan.resume
        ]
        self.longest_parked = max([self.longest_parked, *(r.passes_in_state for r in self.parked)])

    def _prefill(self, plan):
        left, joined = plan.offline_chunk_tokens, []
        order = {rid: place for place, rid in enumerate(plan.offline_order)}
        queue = sorted(self.waiting, key=lambda work: order.get(work.rid, 1 << 30))
        if self.started is not None:
            queue.insert(0, self.started)
        self.started, rest = None, []
        for work in queue:
            chunk = min(left, work.remaining_tokens)
            left -= chunk
            if chunk and not work.is_started:
                self.longest_waited = max(self.longest_waited, self.passes - work.queued_pass)
            done = work.cached_tokens + chunk
            if chunk == work.remaining_tokens:
                joined.append(
                    offline_row(
                        work.rid, context_tokens=done, generated_tokens=1, passes_in_state=0
                    )
                )
            elif chunk or work.is_started:
                self.started = replace(
                    work,
                    is_started=True,
                    cached_tokens=done,
                    remaining_tokens=work.remaining_tokens - chunk,
                )
            else:
                rest.append(work)
        self.waiting = rest
        return joined

    def _decode(self):
        self.decodes += 1
        for row in self.online:
            self.longest_gap_ms = max(self.longest_gap_ms, (self.now_s - row.last_token_s) * 1e3)
        self.online = [replace(row, last_token_s=self.now_s) for row in self.online]
        advanced = [
            replace(
                row,
                context_tokens=row.context_tokens + 1,
                generated_tokens=row.generated_tokens + 1,
            )
            for row in self.running
        ]
        self.finished += [r.rid for r in advanced if r.generated_tokens >= self.output_tokens]
        self.running = [r for r in advanced if r.generated_tokens < self.output_tokens]


def online_rows(count, **fields):
    return [online_row(f"on{index}", last_token_s=1000.0, **fields) for index in range(count)]


def offline_batch(count, **fields):
    return [
        offline_prompt(f"b{index:03d}", prompt_key=bytes([index % 7, index % 256]), **fields)
        for index in range(count)
    ]
