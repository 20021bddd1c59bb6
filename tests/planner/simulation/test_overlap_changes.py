"""Rows whose result is in flight are parked and evicted as the plugin does it."""

import pytest
from simulated_engines import MODEL, offline, online, run, settings, unbounded

from planner.batching.state import Budgets, IterationPlan
from planner.simulation.engine import Engine
from planner.simulation.settings import Loop

OVERLAPS = [Loop.OVERLAP, Loop.OVERLAP_BLOCKING]


class Once:
    """Computes all offline prompts; one change, where `when` first holds of the state."""

    def __init__(self, when, **change):
        self._when, self._change = when, change
        self.waiting_tokens = []  # the views change from pass to pass: values are kept
        self.parked = []

    def __call__(self, state, *, model, budgets):
        self.waiting_tokens += [w.remaining_tokens + w.cached_tokens for w in state.waiting_offline]
        self.parked += [(row.generated_tokens, row.can_resume) for row in state.parked]
        plan = unbounded(state, model=model, budgets=budgets)
        if self._change and self._when(state):
            change, self._change = self._change, {}
            return IterationPlan(
                offline_chunk_tokens=plan.offline_chunk_tokens,
                offline_order=plan.offline_order,
                **change,
            )
        return plan


def in_flight_row(state, *, generated=3):
    """Whether the offline row runs in a pass that has no result yet."""
    return any(
        row.rid == "b" and row.generated_tokens == generated and not row.can_resume
        for row in state.running
    )


@pytest.mark.parametrize("loop", OVERLAPS)
def test_row_in_flight_is_evicted_and_its_result_is_void(loop):
    """It starts again from the tokens its client has; the token on its way is computed anew."""
    policy = Once(in_flight_row, evict=("b",))
    done = run(engine=settings(loop=loop), policy=policy, scheduled=[offline("b", output_tokens=8)])
    assert done.counters.evicted == 1
    # 100 of its prompt, then the 3 tokens settled; not the one in flight.
    assert policy.waiting_tokens == [100, 103]
    assert done.offline_output_tokens == 8 and done.offline_ended == 1
    assert done.offline_prompt_tokens == 100


@pytest.mark.parametrize("loop", OVERLAPS)
def test_row_on_its_last_token_is_evicted_too(loop):
    """The plugin does not know that the result in flight is the last; it is void all the same."""
    last = Once(lambda state: in_flight_row(state, generated=7), evict=("b",))
    done = run(engine=settings(loop=loop), policy=last, scheduled=[offline("b", output_tokens=8)])
    assert done.counters.evicted == 1
    assert done.offline_output_tokens == 8 and done.offline_ended == 1


@pytest.mark.parametrize("loop", OVERLAPS)
def test_row_in_flight_is_parked_and_resumes_when_its_result_is_in(loop):
    """Parked with a result on the way, it keeps that token and cannot resume at once."""

    class ParkThenResume(Once):
        def __call__(self, state, *, model, budgets):
            plan = super().__call__(state, model=model, budgets=budgets)
            if state.parked:
                return IterationPlan(resume=("b",))
            return plan

    policy = ParkThenResume(in_flight_row, park=("b",))
    done = run(
        engine=settings(loop=loop),
        policy=policy,
        scheduled=[online("a", output_tokens=30), offline("b", output_tokens=8)],
    )
    assert policy.parked == [(4, True)]
    assert done.counters.parked == done.counters.resumed == 1
    assert done.offline_output_tokens == 8


@pytest.mark.parametrize("loop", OVERLAPS)
def test_parked_row_ends_when_its_last_result_comes_in(loop):
    """Nothing has to resume it."""
    policy = Once(lambda state: in_flight_row(state, generated=7), park=("b",))
    done = run(engine=settings(loop=loop), policy=policy, scheduled=[offline("b", output_tokens=8)])
    assert done.counters.parked == 1 and done.counters.resumed == 0
    assert done.offline_output_tokens == 8 and done.offline_ended == 1


def test_online_prompt_takes_the_kv_of_rows_in_flight():
    """Under overlap every running row is in flight at every plan, and still makes way."""
    done = run(
        engine=settings(kv_tokens=600, loop=Loop.OVERLAP),
        policy=unbounded,
        budgets=Budgets(kv_reserve_ratio=0.0),
        scheduled=[
            offline("b", prompt_tokens=400, output_tokens=150),
            online("a", prompt_tokens=300, output_tokens=10, at_s=0.06),
        ],
    )
    assert done.counters.evicted == 1 and done.counters.retracted_online == 0
    assert done.offline_output_tokens == 150
    (trace,) = done.online
    assert trace.chunks[0].at_s < 0.2  # the row alone would decode for 0.7 s


def test_started_prompt_in_flight_yields_its_slot():
    """A chunk on its way does not hold the mid-prefill slot; it stays in the cache."""

    def yielding(state, *, model, budgets):
        plan = unbounded(state, model=model, budgets=budgets)
        is_wanted = state.started is not None and state.waiting_online
        return IterationPlan(
            offline_chunk_tokens=0 if is_wanted else plan.offline_chunk_tokens,
            offline_order=plan.offline_order,
            requeue_started=bool(is_wanted),
        )

    engine = Engine(settings(loop=Loop.OVERLAP), policy=yielding, model=MODEL, budgets=Budgets())
    engine.add(offline("b", prompt_tokens=300))
    first = engine.begin_pass(now_s=0.0)
    assert [chunk for _, chunk in first.prompts] == [128]
    engine.add(online("a", prompt_tokens=100))
    second = engine.begin_pass(now_s=0.001)  # the first has no result yet
    assert [live.rid for live, _ in second.prompts] == ["a"]
    assert engine.counters.requeued == 1
    void = engine.settle(first, at_s=0.02, lasted_ms=20.0)
    assert void.offline_prompt_tokens == 0
