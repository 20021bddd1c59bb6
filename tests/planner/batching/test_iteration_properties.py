"""What holds of every iteration decision, whatever the engine's state."""

from dataclasses import replace

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
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.batching.decide import plan_iteration
from planner.batching.eviction import growth_tokens, is_evictable
from planner.batching.state import Budgets, Memory, WorkClass
from planner.latency.features import BatchShape
from planner.latency.predictor import default_model

# Draws of a property: all of this file within seconds on one core.
EXAMPLES = 150

MODELS = (MODEL, default_model("cpu"), default_model("a100"))


@st.composite
def offline_rows(draw, *, is_parked, prefix):
    count = draw(st.integers(0, 8))
    return tuple(
        offline_row(
            f"{prefix}{index}",
            is_parked=is_parked,
            context_tokens=draw(st.integers(1, 3_000)),
            generated_tokens=draw(st.integers(1, 500)),
            must_run=draw(st.sampled_from([False] * 9 + [True])),
            can_park=draw(st.sampled_from([True] * 9 + [False])),
            can_resume=draw(st.sampled_from([True] * 4 + [False])),
            passes_in_state=draw(st.integers(0, 400)),
            recompute_tokens=draw(st.integers(0, 3_000)),
            arrival_s=draw(st.floats(0.0, NOW_S)),
        )
        for index in range(count)
    )


@st.composite
def online_rows(draw):
    count = draw(st.integers(0, 6))
    return tuple(
        online_row(
            f"on{index}",
            context_tokens=draw(st.integers(1, 3_000)),
            generated_tokens=draw(st.sampled_from([0, 10, 10, 10])),
            last_token_s=NOW_S - draw(st.floats(0.0, 0.1)),
            first_token_s=draw(st.sampled_from([0.0, NOW_S - 0.5])),
            itl_target_ms=draw(st.sampled_from([None, 40.0, 200.0])),
            tpot_target_ms=draw(st.sampled_from([None, 60.0])),
        )
        for index in range(count)
    )


@st.composite
def prompts(draw, make, prefix, *, max_size=5):
    count = draw(st.integers(0, max_size))
    return tuple(
        make(
            f"{prefix}{index}",
            remaining_tokens=draw(st.integers(1, 900)),
            cached_tokens=draw(st.integers(0, 900)),
            arrival_s=NOW_S - draw(st.floats(0.0, 0.3)),
            queued_pass=1 - draw(st.integers(0, 2_000)),
            ttft_target_ms=draw(st.sampled_from([None, 300.0])),
            deadline_s=draw(st.sampled_from([None, NOW_S - 1.0, NOW_S + 50.0, 1e12])),
            prompt_key=draw(st.binary(max_size=3)),
        )
        for index in range(count)
    )


@st.composite
def engines(draw):
    started = draw(
        st.sampled_from(
            [
                None,
                None,
                online_prompt("mid", is_started=True, remaining_tokens=300, cached_tokens=512),
                offline_prompt("mid", is_started=True, remaining_tokens=300, cached_tokens=512),
            ]
        )
    )
    return engine_state(
        running=draw(online_rows()) + draw(offline_rows(is_parked=False, prefix="off")),
        parked=draw(offline_rows(is_parked=True, prefix="park")),
        started=started,
        waiting_online=draw(prompts(online_prompt, "won")),
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
                    Memory(stall_ms=5.0, debt_ms=9.0),
                    Memory(calm_gaps_left=2),
                    Memory(has_rested=True),
                ]
            )
        ),
    )


budget_settings = st.builds(
    Budgets,
    enabled=st.sampled_from([True, True, True, False]),
    latency_budget_ms=st.sampled_from([0.0, 5.0, 15.0, 50.0, 200.0]),
    idle_budget_ms=st.sampled_from([1.0, 200.0]),
    max_offline_rows=st.sampled_from([0, 1, 4, 256]),
    max_parked_rows=st.sampled_from([0, 3, 64]),
    max_stall_ms=st.sampled_from([0.0, 80.0]),
    calm_budget_ms=st.sampled_from([0.0, 0.0, 8.0, 30.0]),
    burst_rows=st.sampled_from([1, 12]),
)


def _has_online(state):
    return bool(
        state.waiting_online
        or any(row.work_class is WorkClass.ONLINE for row in state.running)
        or (state.started and state.started.work_class is WorkClass.ONLINE)
    )


def _survivors(state, plan):
    """Offline rows that run after the plan, and those that are parked."""
    gone = set(plan.evict)
    offline = [row for row in state.running if row.work_class is WorkClass.OFFLINE]
    running = [row for row in offline if row.rid not in gone and row.rid not in plan.park]
    running += [row for row in state.parked if row.rid in plan.resume]
    parked = [row for row in state.parked if row.rid not in gone and row.rid not in plan.resume]
    parked += [row for row in offline if row.rid in plan.park]
    return running, parked


@settings(max_examples=EXAMPLES, deadline=None)
@given(state=engines(), budgets=budget_settings, model=st.sampled_from(MODELS))
def test_plan_moves_only_what_it_may(state, budgets, model):
    """Only offline rows are named, each once, and none the engine cannot move."""
    plan = plan_iteration(state, model=model, budgets=budgets)
    offline = {row.rid: row for row in state.running if row.work_class is WorkClass.OFFLINE}
    parked = {row.rid: row for row in state.parked}
    named = [*plan.park, *plan.resume, *plan.evict]
    assert len(named) == len(set(named))
    assert all(offline[rid].can_park and not offline[rid].must_run for rid in plan.park)
    assert all(parked[rid].can_resume for rid in plan.resume)
    assert all(is_evictable((offline | parked)[rid]) for rid in plan.evict)
    assert set(plan.offline_order) <= {work.rid for work in state.waiting_offline}
    _, left = _survivors(state, plan)
    stuck = [row for row in left if not is_evictable(row)]
    if plan.park or plan.evict:
        assert len(left) <= max(budgets.max_parked_rows, len(stuck), len(state.parked))
    assert plan.budget_ms >= 0.0 and plan.bound_ms >= plan.predicted_ms >= 0.0


@settings(max_examples=EXAMPLES, deadline=None)
@given(state=engines(), budgets=budget_settings, model=st.sampled_from(MODELS))
def test_online_is_never_delayed_beyond_the_bound(state, budgets, model):
    """Offline work in an iteration by choice keeps its bound within budget and slack.

    By choice: rows that must run or cannot be parked are the engine's, and so are rows
    that sit through a pass of online prompts.
    """
    plan = plan_iteration(state, model=model, budgets=budgets)
    if not _has_online(state):
        return
    running, _ = _survivors(state, plan)
    chosen = [row for row in running if not row.must_run and row.can_park]
    online = [row for row in state.running if row.work_class is WorkClass.ONLINE]
    decodes_online_prompts = (
        plan.offline_chunk_tokens == 0
        and not state.mixes_prefill_and_decode
        and (state.waiting_online or state.started)
    )
    if plan.offline_chunk_tokens:
        assert budgets.enabled and budgets.latency_budget_ms > 0.0
        assert plan.bound_ms <= plan.budget_ms * (1 + 1e-9)
    elif chosen and not decodes_online_prompts:
        assert plan.bound_ms <= plan.budget_ms * (1 + 1e-9)
        longest_ms = budgets.latency_budget_ms
        if budgets.calm_budget_ms > 0.0 and not state.mixes_prefill_and_decode:
            longest_ms = max(longest_ms, budgets.max_stall_ms)  # a burst is one gap of few
        assert plan.budget_ms <= longest_ms
    if plan.offline_chunk_tokens or (chosen and not decodes_online_prompts):
        for row in online:
            if row.itl_target_ms is not None:
                since_s = state.now_s - row.last_token_s if row.generated_tokens else 0.0
                slack_ms = row.itl_target_ms - since_s * 1000.0
                assert plan.bound_ms <= slack_ms * (1 + 1e-9) + 1e-6


@settings(max_examples=EXAMPLES, deadline=None)
@given(state=engines(), budgets=budget_settings, model=st.sampled_from(MODELS))
def test_budget_is_never_spent_twice_when_passes_take_turns(state, budgets, model):
    """Stalls of a gap, the chunk and the decode after it are within one gap limit."""
    state = replace(state, mixes_prefill_and_decode=False)
    plan = plan_iteration(state, model=model, budgets=budgets)
    online = [row for row in state.running if row.work_class is WorkClass.ONLINE]
    if not plan.offline_chunk_tokens or not online:
        return
    running, _ = _survivors(state, plan)
    shape = BatchShape()
    for row in [*online, *running]:
        shape = shape.with_decode(context_tokens=row.context_tokens)
    gap_ms = state.memory.stall_ms + plan.bound_ms + model.bound_ms(shape)
    assert gap_ms <= max(budgets.latency_budget_ms, budgets.max_stall_ms) * (1 + 1e-9)
    assert state.memory.debt_ms == 0.0


@settings(max_examples=EXAMPLES, deadline=None)
@given(state=engines(), budgets=budget_settings, model=st.sampled_from(MODELS))
def test_a_first_token_waits_for_overdue_rows_at_most_when_passes_take_turns(state, budgets, model):
    """Beside them only rows that cannot or may not be set aside, and no chunk."""
    fresh = online_row("fresh", generated_tokens=0, last_token_s=NOW_S)
    state = replace(state, running=(fresh, *state.running), mixes_prefill_and_decode=False)
    plan = plan_iteration(state, model=model, budgets=budgets)
    assert plan.offline_chunk_tokens == 0
    if state.waiting_online or (state.started and state.started.work_class is WorkClass.ONLINE):
        return  # a pass of prompts: it decodes nothing
    running, _ = _survivors(state, plan)
    is_lot_full = len(state.parked) + len(plan.park) >= budgets.max_parked_rows
    for row in running:
        is_overdue = row.is_parked and row.passes_in_state > budgets.max_parked_passes
        assert row.must_run or not row.can_park or is_overdue or is_lot_full


@settings(max_examples=EXAMPLES, deadline=None)
@given(state=engines(), budgets=budget_settings, model=st.sampled_from(MODELS))
def test_something_runs_when_nothing_online_exists(state, budgets, model):
    """Progress: the engine never idles beside offline work that it could run."""
    plan = plan_iteration(state, model=model, budgets=budgets)
    if _has_online(state) or not budgets.runs_offline:
        return
    running, _ = _survivors(state, plan)
    resumable = [row for row in state.parked if row.can_resume]
    offline = [row for row in state.running if row.work_class is WorkClass.OFFLINE]
    if offline or resumable:
        assert running or plan.offline_chunk_tokens
    elif (state.waiting_offline or state.started) and state.kv_free_tokens:
        assert plan.offline_chunk_tokens > 0


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    state=engines(),
    budgets=budget_settings,
    model=st.sampled_from(MODELS),
    online=st.integers(0, 2),
    running=st.integers(0, 4),
    parked=st.integers(0, 8),
    pages=st.integers(0, 12),
    offset=st.integers(0, 3),
)
def test_what_is_resumed_or_computed_has_its_kv(
    state, budgets, model, online, running, parked, pages, offset
):
    """A next token for every row that runs, and the chunk, are within what is free.

    But for the one row that runs where nothing else would.
    """
    contexts = [16 * (i + 5) + (i % 4 < offset) for i in range(8)]
    state = replace(
        state,
        running=(
            *[online_row(f"on{i}", context_tokens=contexts[i]) for i in range(online)],
            *[offline_row(f"off{i}", context_tokens=contexts[i]) for i in range(running)],
        ),
        parked=tuple(
            offline_row(f"park{i}", is_parked=True, context_tokens=contexts[i])
            for i in range(parked)
        ),
        waiting_online=(),
        started=None,
        kv_free_tokens=pages * state.page_size,
    )
    plan = plan_iteration(state, model=model, budgets=budgets)
    kept, _ = _survivors(state, plan)
    alone = not _has_online(state) and len(kept) == 1
    if not plan.offline_chunk_tokens and (not plan.resume or alone):
        return
    online_rows = [row for row in state.running if row.work_class is WorkClass.ONLINE]
    held = {row.rid: row.context_tokens for row in (*state.running, *state.parked)}
    free = state.kv_free_tokens + sum(held[rid] for rid in plan.evict)
    growth = growth_tokens([*online_rows, *kept], page_size=state.page_size)
    assert growth + plan.offline_chunk_tokens <= free


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    state=engines(),
    budgets=budget_settings,
    model=st.sampled_from(MODELS),
    seed=st.integers(0, 1_000),
)
def test_plan_does_not_depend_on_the_order_of_its_inputs(state, budgets, model, seed):
    """Every rank decides alike, however its queues are laid out."""
    other = laid_out_otherwise(state, seed=seed)
    assert plan_iteration(other, model=model, budgets=budgets) == plan_iteration(
        state, model=model, budgets=budgets
    )
