"""The states that `make bench-batching` decides for, and what it makes of its samples."""

from bench.batching.decisions import Sample, figures_of
from bench.batching.states import PARKED_ROWS, RUNNING_ROWS, WAITING, draw_cases
from planner.batching.decide import plan_iteration
from planner.batching.state import WorkClass


def test_states_are_of_the_stated_size_and_varied() -> None:
    """64 running, 64 parked, 256 waiting; the decisions differ: chunks, parking, evictions."""
    cases = draw_cases(seed=1, draws=1)
    plans = []
    for case in cases:
        state = case.state
        sizes = (len(state.running), len(state.parked), len(state.waiting_offline))
        assert sizes == (RUNNING_ROWS, PARKED_ROWS, WAITING)
        plans.append(plan_iteration(state, model=case.model, budgets=case.budgets))
    assert {case.state.mixes_prefill_and_decode for case in cases} == {False, True}
    assert {case.state.page_size for case in cases} == {1, 16}
    online = [
        sum(row.work_class is WorkClass.ONLINE for row in case.state.running) for case in cases
    ]
    assert min(online) == 0 and max(online) == 32
    assert any(plan.offline_chunk_tokens for plan in plans)
    assert any(plan.park for plan in plans) and any(plan.evict for plan in plans)


def test_states_are_the_same_when_the_seed_is() -> None:
    """A rerun decides for the same engines."""
    assert draw_cases(seed=3, draws=1) == draw_cases(seed=3, draws=1)
    assert draw_cases(seed=3, draws=1) != draw_cases(seed=4, draws=1)


def test_figures_take_the_tail_from_every_decision() -> None:
    """A hundredth of slow decisions shows in the p99, and misses its target."""
    quick = Sample(label="turns idle", wall_us=50.0, cpu_us=40.0)
    slow = Sample(label="mixes online", wall_us=900.0, cpu_us=60.0)
    run = [quick] * 980 + [slow] * 20
    figures = {figure.name: figure for figure in figures_of([run, run], [[5.0], [7.0]])}
    assert figures["decision, median"].value == 50.0 and figures["decision, median"].met
    assert figures["decision, p99"].value == 900.0 and not figures["decision, p99"].met
    assert figures["decision, CPU median"].value == 40.0
    assert figures["mixes online, CPU median"].value == 60.0
    assert figures["mixes online, median"].value == 900.0
    assert figures["state made, median"].value == 6.0
