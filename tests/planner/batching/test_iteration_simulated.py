"""Many iterations in a row: nothing starves, online keeps its gap, batches finish.

A small engine runs each plan as SGLang does: prompts win over decodes where passes take
turns, finished prompts join the running rows, time goes on by the model's mean.
"""

from dataclasses import dataclass, field, replace

import pytest
from engine_states import MODEL, engine_state, offline_prompt, offline_row, online_row

from planner.batching.decide import plan_iteration
from planner.batching.state import Budgets, DecodeRow, Memory, PrefillWork, WorkClass


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


def _online(count, **fields):
    return [online_row(f"on{index}", last_token_s=1000.0, **fields) for index in range(count)]


def _batch(count, **fields):
    return [
        offline_prompt(f"b{index:03d}", prompt_key=bytes([index % 7, index % 256]), **fields)
        for index in range(count)
    ]


@pytest.mark.parametrize("mixes", [False, True])
@pytest.mark.parametrize("online", [0, 3])
def test_batch_finishes_and_online_keeps_its_gap(mixes, online):
    """Every request of a batch ends while no online gap exceeds the latency budget."""
    engine = SmallEngine(
        budgets=Budgets(latency_budget_ms=25.0),
        mixes=mixes,
        online=_online(online, itl_target_ms=60.0),
        waiting=_batch(60),
    )
    while len(engine.finished) < 60:
        engine.step()
        assert engine.passes < 4_000
    assert engine.longest_gap_ms <= 25.0 + 1e-6
    # A prompt's row joins within what the budget still takes: parking stays rare.
    assert engine.park_moves <= 60


def test_max_stall_lengthens_gaps_but_never_beyond_the_target():
    """With overdraft, single gaps reach towards the ITL target and their mean the budget."""
    engine = SmallEngine(
        budgets=Budgets(latency_budget_ms=8.0, max_stall_ms=60.0),
        mixes=False,
        online=_online(3, itl_target_ms=40.0),
        waiting=_batch(30),
        output_tokens=5,
    )
    while len(engine.finished) < 30:
        engine.step()
        assert engine.passes < 4_000
    assert 8.0 < engine.longest_gap_ms <= 40.0 + 1e-6
    elapsed_ms = (engine.now_s - 1000.0) * 1e3
    assert elapsed_ms / engine.decodes <= 8.0 + 60.0 / engine.decodes
    # A tight budget without overdraft takes no chunk at all: 5 ms + 0.1 ms a token.
    strict = SmallEngine(
        budgets=Budgets(latency_budget_ms=8.0),
        mixes=False,
        online=_online(3),
        waiting=_batch(1),
    )
    for _ in range(50):
        strict.step()
    assert not strict.finished


def test_no_row_is_parked_forever_when_newer_rows_keep_coming():
    """A parked row runs again within max_parked_passes + parked rows x min_resident_passes.

    The budget takes 3 of 12 rows. Least-served first alone would starve the row with the
    most tokens; its age brings it back.
    """
    budgets = Budgets(latency_budget_ms=6.0, max_parked_passes=64)
    engine = SmallEngine(
        budgets=budgets, mixes=False, online=_online(1), waiting=[], output_tokens=100_000
    )
    engine.running = [offline_row("eldest", generated_tokens=50_000)] + [
        offline_row(f"off{index:02d}", generated_tokens=1) for index in range(11)
    ]
    for _ in range(2_000):
        engine.step()
    bound = budgets.max_parked_passes + 12 * (budgets.min_resident_passes + 1)
    assert engine.longest_parked <= bound
    eldest = next(r for r in [*engine.running, *engine.parked] if r.rid == "eldest")
    assert eldest.generated_tokens > 50_100


def test_no_request_waits_forever_when_preferred_prompts_keep_coming():
    """Past aged_passes a request goes before all younger ones, whatever its prompt.

    New prompts that sort first arrive at every pass. Stated bound: aged_passes, plus one
    chunk pass for each elder request and what such a pass waits for decodes.
    """
    engine = SmallEngine(
        budgets=Budgets(latency_budget_ms=30.0, aged_passes=50),
        mixes=False,
        online=_online(1),
        waiting=[offline_prompt("last", prompt_key=b"zzz", queued_pass=0)],
        output_tokens=2,
    )
    for number in range(400):
        engine.waiting.append(
            offline_prompt(f"n{number:04d}", prompt_key=b"aaa", queued_pass=number)
        )
        engine.step()
        if "last" in engine.finished:
            break
    assert "last" in engine.finished
    assert engine.passes <= 50 + 10


def test_two_ranks_decide_alike_when_their_queues_are_laid_out_differently():
    """Driven from one recorded stamp and queue, two engines make one history."""
    ranks = [
        SmallEngine(
            budgets=Budgets(latency_budget_ms=20.0),
            mixes=True,
            online=online,
            waiting=waiting,
        )
        for online, waiting in (
            (_online(2), _batch(20)),
            (list(reversed(_online(2))), list(reversed(_batch(20)))),
        )
    ]
    for _ in range(300):
        for rank in ranks:
            rank.step()
    first, second = ranks
    assert first.passes == second.passes and first.now_s == second.now_s
    assert set(first.finished) == set(second.finished) and len(first.finished) == 20
    assert all(row.work_class is WorkClass.ONLINE for row in first.online)
