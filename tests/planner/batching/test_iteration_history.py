"""What holds over many decisions in a row, whatever the batch and the budgets."""

from dataclasses import replace

from engine_states import MODEL, engine_state, offline_prompt, offline_row, online_row
from hypothesis import given, settings
from hypothesis import strategies as st
from small_engine import SmallEngine, online_rows

from planner.batching.decide import plan_iteration
from planner.batching.state import Budgets, Memory

live_budgets = st.builds(
    Budgets,
    latency_budget_ms=st.sampled_from([0.0, 8.0, 15.0, 40.0]),
    idle_budget_ms=st.sampled_from([1.0, 60.0]),
    max_stall_ms=st.sampled_from([0.0, 60.0]),
    max_parked_rows=st.sampled_from([4, 64]),
    min_chunk_tokens=st.sampled_from([0, 32]),
    age_share=st.sampled_from([0.0, 0.1, 1.0]),
)

batches = st.lists(
    st.tuples(st.integers(1, 600), st.binary(max_size=2)), min_size=1, max_size=15
).map(
    lambda prompts: [
        offline_prompt(f"b{i:02d}", remaining_tokens=tokens, prompt_key=key, arrival_s=float(i))
        for i, (tokens, key) in enumerate(prompts)
    ]
)


@settings(max_examples=60, deadline=None)
@given(
    waiting=batches,
    budgets=live_budgets,
    mixes=st.booleans(),
    online=st.integers(1, 3),
    target_ms=st.sampled_from([None, 30.0, 100.0]),
)
def test_no_gap_spends_its_budget_twice(waiting, budgets, mixes, online, target_ms):
    """Over any run, offline decodes, chunks and stalls of one gap are within one limit.

    The model is exact here, so a gap is what was planned for it: at most the latency
    budget, or the longest stall, or what online takes by itself; and never beyond a target
    that online alone would meet.
    """
    engine = SmallEngine(
        budgets=budgets,
        mixes=mixes,
        online=online_rows(online, itl_target_ms=target_ms),
        waiting=waiting,
        output_tokens=12,
    )
    for _ in range(120):
        engine.step()
    alone_ms = 2.0 + online
    gap_ms = (
        budgets.latency_budget_ms if mixes else max(budgets.latency_budget_ms, budgets.max_stall_ms)
    )
    if budgets.latency_budget_ms == 0.0:
        gap_ms = 0.0
    if target_ms is not None:
        gap_ms = min(gap_ms, target_ms)
    assert engine.longest_gap_ms <= max(alone_ms, gap_ms) + 1e-6


@settings(max_examples=30, deadline=None)
@given(waiting=batches.map(lambda batch: batch[:4]), budgets=live_budgets, mixes=st.booleans())
def test_every_request_of_a_batch_ends_when_nothing_is_online(waiting, budgets, mixes):
    """Progress, whatever the budgets: zero and too small ones included.

    Without a floor and with no time at all, it is one prompt token or one decode a pass.
    """
    most_passes = sum(work.remaining_tokens for work in waiting) + 20 * len(waiting)
    engine = SmallEngine(budgets=budgets, mixes=mixes, online=[], waiting=waiting, output_tokens=4)
    for _ in range(most_passes):
        if len(engine.finished) == len(waiting):
            return
        engine.step()
        assert len(engine.parked) <= budgets.max_parked_rows
    raise AssertionError(f"unfinished after {engine.passes} passes: {engine.waiting}")


@given(
    debt_ms=st.floats(0.0, 500.0),
    rows=st.integers(1, 5),
    latency_budget_ms=st.sampled_from([8.0, 20.0, 50.0]),
)
def test_debt_is_always_repaid_before_the_next_chunk(debt_ms, rows, latency_budget_ms):
    """Each decode earns what it leaves of the budget; no chunk starts while a debt is open."""
    budgets = Budgets(latency_budget_ms=latency_budget_ms, max_stall_ms=200.0)
    state = engine_state(
        running=tuple(online_row(f"on{i}") for i in range(rows)),
        waiting_offline=(offline_prompt(remaining_tokens=400),),
        memory=Memory(debt_ms=debt_ms),
    )
    earned_ms = latency_budget_ms - (2.0 + rows)
    passes, was_ms = 0, debt_ms
    while (plan := plan_iteration(state, model=MODEL, budgets=budgets)).offline_chunk_tokens == 0:
        assert plan.memory.debt_ms < was_ms or was_ms == 0.0
        state, was_ms = replace(state, memory=plan.memory), plan.memory.debt_ms
        passes += 1
        assert passes <= debt_ms / earned_ms + 1
    assert was_ms == 0.0


@settings(max_examples=60, deadline=None)
@given(
    contexts=st.lists(st.integers(1, 400), min_size=2, max_size=20),
    parked=st.integers(0, 19),
    budget_ms=st.sampled_from([4.0, 6.0, 9.0]),
)
def test_no_parked_row_waits_beyond_the_bound_when_the_budget_holds_a_few(
    contexts, parked, budget_ms
):
    """max_parked_passes, and a turn of `min_resident_passes` for each row parked as long."""
    budgets = Budgets(
        latency_budget_ms=budget_ms, max_parked_passes=20, min_resident_passes=3, max_parked_rows=20
    )
    engine = SmallEngine(
        budgets=budgets, mixes=True, online=online_rows(1), waiting=[], output_tokens=10**6
    )
    rows = [
        offline_row(f"r{i:02d}", context_tokens=tokens, generated_tokens=37 * i)
        for i, tokens in enumerate(contexts)
    ]
    engine.running = rows[parked:]
    engine.parked = [replace(row, is_parked=True) for row in rows[:parked]]
    for _ in range(400):
        engine.step()
    assert engine.longest_parked <= 20 + (len(rows) + 1) * (budgets.min_resident_passes + 1)
