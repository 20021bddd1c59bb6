"""What holds of every rival's plan, so that one simulation can run them all."""

from dataclasses import replace

import pytest
from engine_states import (
    MODEL,
    NOW_S,
    engine_state,
    laid_out_otherwise,
    offline_prompt,
    offline_row,
    online_prompt,
    online_row,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.batching.baselines.blind_hybrid import BlindHybrid
from planner.batching.baselines.hygen import Hygen, PsmMemory
from planner.batching.baselines.offline_only import OfflineOnly
from planner.batching.baselines.online_only import OnlineOnly
from planner.batching.baselines.qoserve import QoServe
from planner.batching.baselines.rate_cap import OfflineRateCap, RateMemory
from planner.batching.baselines.sglang_priority import ConcurrencyCap, SglangPriority
from planner.batching.eviction import is_evictable
from planner.batching.state import Budgets, Memory, WorkClass
from planner.latency.predictor import default_model

RIVALS = {
    "online_only": OnlineOnly(),
    "offline_only": OfflineOnly(chunk_tokens=300, max_rows=12),
    "blind_hybrid": BlindHybrid(token_budget=300),
    "rate_cap": OfflineRateCap(requests_per_s=2.0),
    "hygen": Hygen(),
    "hygen_fair": Hygen(utility_ratio=0.7, predictor=default_model("cpu")),
    "sglang_priority": SglangPriority(),
    "concurrency_cap": ConcurrencyCap(max_in_flight=4),
    "qoserve": QoServe(),
}
MODELS = (MODEL, default_model("cpu"), default_model("a100"))

every_rival = pytest.mark.parametrize("policy", RIVALS.values(), ids=RIVALS.keys())
many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def offline_rows(draw, *, prefix, is_parked):
    return tuple(
        offline_row(
            f"{prefix}{index}",
            is_parked=is_parked,
            context_tokens=draw(st.integers(1, 2_000)),
            generated_tokens=draw(st.integers(1, 300)),
            must_run=draw(st.sampled_from([False] * 7 + [True])),
            can_park=draw(st.sampled_from([True] * 7 + [False])),
            can_resume=draw(st.sampled_from([True] * 3 + [False])),
            # Equal arrivals are drawn often, so that ties are.
            arrival_s=float(draw(st.integers(0, 3))),
        )
        for index in range(draw(st.integers(0, 6)))
    )


@st.composite
def prompts(draw, make, prefix):
    return tuple(
        make(
            f"{prefix}{index}",
            remaining_tokens=draw(st.integers(1, 900)),
            cached_tokens=draw(st.integers(0, 900)),
            arrival_s=float(draw(st.integers(0, 3))),
            ttft_target_ms=draw(st.sampled_from([None, 300.0])),
            deadline_s=draw(st.sampled_from([None, NOW_S - 1.0, NOW_S + 500.0])),
            prompt_key=draw(st.binary(max_size=2)),
        )
        for index in range(draw(st.integers(0, 5)))
    )


@st.composite
def engines(draw, *, has_online=None):
    holds_online = draw(st.booleans()) if has_online is None else has_online
    started = [None, None, offline_prompt("mid", is_started=True, remaining_tokens=300)]
    online, waiting_online = (), ()
    if holds_online:
        started.append(online_prompt("mid", is_started=True, remaining_tokens=300))
        online = tuple(
            online_row(
                f"on{index}",
                context_tokens=draw(st.integers(1, 2_000)),
                last_token_s=NOW_S - draw(st.floats(0.0, 0.1)),
                first_token_s=draw(st.sampled_from([0.0, NOW_S - 0.5])),
                itl_target_ms=draw(st.sampled_from([None, 40.0])),
                tpot_target_ms=draw(st.sampled_from([None, 60.0])),
            )
            for index in range(draw(st.integers(0, 5)))
        )
        waiting_online = draw(prompts(online_prompt, "won"))
    return engine_state(
        running=online + draw(offline_rows(prefix="off", is_parked=False)),
        parked=draw(offline_rows(prefix="park", is_parked=True)),
        started=draw(st.sampled_from(started)),
        waiting_online=waiting_online,
        waiting_offline=draw(prompts(offline_prompt, "woff")),
        kv_free_tokens=draw(st.sampled_from([0, 100, 1_000, 50_000])),
        page_size=draw(st.sampled_from([1, 16])),
        chunk_limit_tokens=draw(st.sampled_from([-1, 256, 1024])),
        free_rows=draw(st.sampled_from([0, 1, 100])),
        mixes_prefill_and_decode=draw(st.booleans()),
        memory=draw(
            st.sampled_from(
                [
                    Memory(),
                    Memory(stall_ms=30.0),
                    RateMemory(stall_ms=3.0, spent_until_s=NOW_S - 0.1),
                    PsmMemory(stall_ms=3.0, oldest_owed=0.6),
                ]
            )
        ),
    )


budget_settings = st.builds(
    Budgets,
    enabled=st.sampled_from([True, True, True, False]),
    latency_budget_ms=st.sampled_from([0.0, 5.0, 15.0, 50.0, 200.0]),
    max_offline_rows=st.sampled_from([0, 1, 4, 256]),
)


def offline_of(rows):
    return {row.rid: row for row in rows if row.work_class is WorkClass.OFFLINE}


def rows_that_run(state, plan):
    running = set(offline_of(state.running)) - set(plan.park)
    return (running | set(plan.resume)) - set(plan.evict)


@every_rival
@many
@given(state=engines(), budgets=budget_settings, model=st.sampled_from(MODELS))
def test_rival_moves_only_offline_rows_that_can_be_moved(policy, state, budgets, model):
    """No unknown id, no online row, each once, none that the engine holds on to."""
    plan = policy(state, model=model, budgets=budgets)
    running, parked = offline_of(state.running), {row.rid: row for row in state.parked}
    named = [*plan.park, *plan.resume, *plan.evict]
    assert len(named) == len(set(named))
    assert all(running[rid].can_park and not running[rid].must_run for rid in plan.park)
    assert all(parked[rid].can_resume for rid in plan.resume)
    assert all(is_evictable((running | parked)[rid]) for rid in plan.evict)
    assert len(plan.offline_order) == len(set(plan.offline_order))
    assert set(plan.offline_order) <= {work.rid for work in state.waiting_offline}
    assert plan.bound_ms >= plan.predicted_ms >= 0.0 and plan.budget_ms >= 0.0
    assert plan.memory.stall_ms >= 0.0
    if plan.requeue_started:
        assert state.started is not None and state.started.work_class is WorkClass.OFFLINE


@every_rival
@many
@given(state=engines(), budgets=budget_settings, model=st.sampled_from(MODELS))
def test_rival_chunk_is_within_what_engine_and_settings_hold(policy, state, budgets, model):
    """Offline tokens stay within the pass's tokens, KV, rows and pages, and the switch."""
    plan = policy(state, model=model, budgets=budgets)
    tokens = plan.offline_chunk_tokens
    assert tokens >= 0
    if not budgets.runs_offline:
        assert tokens == 0
    if not tokens:
        assert not plan.offline_order
        return
    limit = state.chunk_limit_tokens if state.chunk_limit_tokens > 0 else state.kv_total_tokens
    if state.mixes_prefill_and_decode:
        online = sum(row.work_class is WorkClass.ONLINE for row in state.running)
        decodes = online + len(rows_that_run(state, plan))
        assert tokens <= max(1, limit - decodes)
    assert tokens <= limit
    given_up = offline_of(state.running) | {row.rid: row for row in state.parked}
    freed = sum(given_up[rid].context_tokens for rid in plan.evict)
    assert tokens <= state.kv_free_tokens + freed
    # In order, whole prompts and at most one that is cut, at a page.
    left, began = tokens, 0
    waiting = {work.rid: work for work in state.waiting_offline}
    queue = [waiting[rid] for rid in plan.offline_order]
    if state.started is not None and state.started.work_class is WorkClass.OFFLINE:
        queue.insert(0, state.started)
    for work in queue:
        if left <= 0:
            break
        chunk = min(left, work.remaining_tokens)
        began += not work.is_started
        left -= chunk
        if chunk < work.remaining_tokens:
            assert chunk % state.page_size == 0
    assert left == 0
    assert began <= state.free_rows + len(plan.evict)
    held = len(rows_that_run(state, plan)) + len(plan.park)
    assert not began or held + began <= budgets.max_offline_rows


@every_rival
@many
@given(state=engines(has_online=True), budgets=budget_settings)
def test_rival_leaves_the_pass_to_online_prompts(policy, state, budgets):
    """Online is never refused: what it needs of a pass, offline prompts leave free.

    SGLang alone lets an offline prompt go on that it has begun.
    """
    plan = policy(state, model=MODEL, budgets=budgets)
    online = list(state.waiting_online)
    if state.started is not None and state.started.work_class is WorkClass.ONLINE:
        online.append(state.started)
    needed = sum(work.remaining_tokens for work in online)
    if not online or state.free_rows < 5 or state.kv_free_tokens < 50_000:
        return
    limit = state.chunk_limit_tokens if state.chunk_limit_tokens > 0 else state.kv_total_tokens
    begun = state.started if state.started not in online else None
    if isinstance(policy, SglangPriority | ConcurrencyCap) and begun is not None:
        assert plan.offline_chunk_tokens <= max(limit - needed, begun.remaining_tokens)
    else:
        assert plan.offline_chunk_tokens <= max(0, limit - needed)


@every_rival
@many
@given(
    state=engines(),
    budgets=budget_settings,
    model=st.sampled_from(MODELS),
    seed=st.integers(0, 1_000),
)
def test_rival_decides_alike_however_its_queues_are_laid_out(policy, state, budgets, model, seed):
    """Deterministic under permutation of equal inputs, ties included."""
    other = laid_out_otherwise(state, seed=seed)
    assert policy(other, model=model, budgets=budgets) == policy(
        state, model=model, budgets=budgets
    )


@pytest.mark.parametrize(
    "policy",
    [policy for name, policy in RIVALS.items() if name not in ("online_only", "rate_cap")],
    ids=[name for name in RIVALS if name not in ("online_only", "rate_cap")],
)
@many
@given(state=engines(has_online=False), model=st.sampled_from(MODELS), budgets=budget_settings)
def test_rival_makes_progress_when_nothing_online_exists(policy, state, model, budgets):
    """A row runs, or a prompt that the engine can hold."""
    if not budgets.runs_offline:
        return
    plan = policy(state, model=model, budgets=budgets)
    rows = [*offline_of(state.running).values(), *(r for r in state.parked if r.can_resume)]
    if rows:
        assert rows_that_run(state, plan) or plan.offline_chunk_tokens
        return
    if state.parked:
        return
    room = min(state.kv_free_tokens, 256)
    if state.started is not None:
        assert not room or plan.offline_chunk_tokens
    elif state.waiting_offline and state.free_rows and state.kv_free_tokens == 50_000:
        assert plan.offline_chunk_tokens


@many
@given(state=engines(has_online=False), model=st.sampled_from(MODELS))
def test_rate_cap_makes_progress_when_its_rate_is_not_used_up(state, model):
    """The cap is of requests that begin: rows run on, and one a period begins."""
    plan = RIVALS["rate_cap"](replace(state, memory=Memory()), model=model, budgets=Budgets())
    rows = [*offline_of(state.running).values(), *(r for r in state.parked if r.can_resume)]
    if rows:
        assert rows_that_run(state, plan)
    elif (
        (state.waiting_offline or state.started)
        and state.kv_free_tokens == 50_000
        and state.free_rows
        and not state.parked
    ):
        assert plan.offline_chunk_tokens
