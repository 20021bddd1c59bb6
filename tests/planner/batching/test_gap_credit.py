"""The mean gap grows by the credit at most, and work is done beside few requests."""

from dataclasses import replace

import pytest
from engine_states import MODEL, engine_state, offline_prompt, offline_row, online_row
from hypothesis import given
from hypothesis import strategies as st

from planner.batching import credit
from planner.batching.decide import plan_iteration
from planner.batching.state import Budgets, Memory, WorkClass
from planner.simulation.replay import replay
from planner.simulation.request import SimulatedRequest
from planner.simulation.settings import EngineSettings
from planner.simulation.workload import ClosedLoop
from planner.workload.generate import generate

_BUDGETS = Budgets(latency_budget_ms=60.0, gap_credit_ms=2.0)


def _booked(memory, **fields):
    saved, mean = credit.book(memory, budgets=_BUDGETS, **fields)
    return replace(memory, credit_ms=saved, mean_requests=mean)


@given(
    passes=st.lists(st.tuples(st.integers(0, 20), st.floats(0.0, 60.0)), max_size=300),
    saved=st.floats(0.0, 5_000.0),
)
def test_lengthening_is_paid_by_credit_but_for_one_passs_debt(passes, saved):
    """Whatever a pass would take where it is let: the sum holds after each."""
    memory = Memory(credit_ms=saved)
    spent = earned = worst = 0.0
    for requests, wanted_ms in passes:
        is_let = credit.may_lengthen(memory, budgets=_BUDGETS, requests=requests)
        lengthened_ms = wanted_ms if is_let else 0.0
        memory = _booked(memory, requests=requests, lengthened_ms=lengthened_ms)
        if requests:
            spent += requests * lengthened_ms
            earned += requests * _BUDGETS.gap_credit_ms
            worst = max(worst, requests * lengthened_ms)
        assert spent <= saved + earned + worst + 1e-6


@given(requests=st.integers(1, 40), saved=st.floats(-1e4, 1e6))
def test_fewer_requests_are_let_wherever_more_are(requests, saved):
    """A threshold; and with nobody waiting, or no credit kept, always."""
    memory = Memory(credit_ms=saved, mean_requests=5.0)
    if credit.may_lengthen(memory, budgets=_BUDGETS, requests=requests):
        assert credit.may_lengthen(memory, budgets=_BUDGETS, requests=requests - 1)
    assert credit.may_lengthen(memory, budgets=_BUDGETS, requests=0)
    assert credit.may_lengthen(memory, budgets=Budgets(), requests=requests)


def test_saved_credit_lets_twice_the_mean_in_at_the_most():
    """However long nothing is spent."""
    memory = Memory()
    for _ in range(20_000):
        memory = _booked(memory, requests=4, lengthened_ms=0.0)
    assert memory.mean_requests == pytest.approx(4.0)
    let = [n for n in range(1, 40) if credit.may_lengthen(memory, budgets=_BUDGETS, requests=n)]
    assert let == list(range(1, 9))


@pytest.mark.parametrize("mixes", [False, True])
def test_no_offline_work_runs_while_a_debt_is_open(mixes):
    """Rows sit out with their KV; with nobody online they run at once."""
    state = engine_state(
        mixes_prefill_and_decode=mixes,
        running=(online_row(), offline_row()),
        waiting_offline=(offline_prompt(),),
        memory=Memory(credit_ms=-1.0, mean_requests=1.0),
    )
    plan = plan_iteration(state, model=MODEL, budgets=_BUDGETS)
    assert plan.park == ("off0",) and plan.offline_chunk_tokens == 0
    assert plan.memory.credit_ms == pytest.approx(1.0)  # one request's, earned
    alone = replace(state, running=(offline_row(),))
    plan = plan_iteration(alone, model=MODEL, budgets=_BUDGETS)
    assert not plan.park and plan.memory.credit_ms == -1.0


@pytest.mark.parametrize("mixes", [False, True])
def test_a_chunk_costs_what_it_lengthens_the_gaps_by(mixes):
    """All of its pass where passes take turns; what it adds to the decodes where they mix."""
    state = engine_state(
        mixes_prefill_and_decode=mixes,
        running=(online_row("on0"), online_row("on1")),
        waiting_offline=(offline_prompt(),),
        memory=Memory(credit_ms=4_000.0, mean_requests=2.0),
    )
    plan = plan_iteration(state, model=MODEL, budgets=_BUDGETS)
    assert plan.offline_chunk_tokens == 100
    # 5 ms + 0.1 a token; mixed 1 a row besides, of which the two rows alone take 2 + 2.
    chunk_ms, alone_ms = (17.0, 4.0) if mixes else (15.0, 0.0)
    assert plan.predicted_ms == pytest.approx(chunk_ms)
    saved = 4_000.0 + 2 * (2.0 - (chunk_ms - alone_ms))
    assert plan.memory.credit_ms == pytest.approx(saved)


def _run(budgets, *, offline, mixes=True, watch=None):
    requests = [
        SimulatedRequest(
            rid=f"on{i}",
            work_class=WorkClass.ONLINE,
            at_s=10.0 + r.at_s,
            prompt_tokens=max(1, r.prompt_tokens // 8),
            output_tokens=max(1, r.output_tokens // 8),
        )
        for i, r in enumerate(generate(seed=3, duration_s=60.0, requests_per_s=12.0))
    ]
    batch = (
        SimulatedRequest(
            rid=f"off{i}", work_class=WorkClass.OFFLINE, prompt_tokens=200, output_tokens=20
        )
        for i in range(100_000)
    )
    return replay(
        settings=EngineSettings(kv_tokens=20_000, chunked_prefill_size=256, mixes=mixes),
        policy=plan_iteration,
        model=MODEL,
        budgets=budgets,
        truth=MODEL.predict_ms,
        scheduled=requests,
        clients=[ClosedLoop(source=batch, in_flight=16)] if offline else [],
        from_s=10.0,
        to_s=70.0,
        watch=watch,
    )


def test_credit_does_more_work_than_one_budget_when_the_mean_gap_is_shorter():
    """Four fifths busy; longer passes keep requests longer, so gaps grow by more than paid."""
    alone = _run(Budgets(), offline=False)
    flat = _run(Budgets(latency_budget_ms=14.0, idle_budget_ms=40.0), offline=True)
    held = _run(
        Budgets(latency_budget_ms=40.0, idle_budget_ms=40.0, gap_credit_ms=1.0), offline=True
    )
    assert held.itl.mean < flat.itl.mean
    assert held.offline_tokens_per_s > flat.offline_tokens_per_s
    assert 0.5 < held.itl.mean - alone.itl.mean < 3.0


@pytest.mark.parametrize("mixes", [False, True])
@pytest.mark.parametrize("gap_credit_ms", [0.5, 2.0])
def test_passes_of_a_run_are_lengthened_by_what_was_earned(mixes, gap_credit_ms):
    """The invariant on passes as they ran, their online part reckoned from their rows."""
    earned, lengthened = [], []

    class Reckoning:
        def passed(self, record):
            run = record.run
            rows = [live for live in run.decodes if not live.is_offline]
            chunks = [(live, chunk) for live, chunk in run.prompts if not live.is_offline]
            requests = len(rows) + len(chunks)
            alone_ms = 2.0 + 1.0 * len(rows) if rows else 0.0  # MODEL's round numbers
            if chunks:
                alone_ms = 5.0 + 0.1 * sum(chunk for _, chunk in chunks) + 1.0 * len(rows)
            if run.plan.memory.credit_ms:  # planned, not passed over
                earned.append(requests * gap_credit_ms)
                lengthened.append(requests * max(0.0, record.lasted_ms - alone_ms))

        def settled(self, settled, *, at_s):
            pass

        def ended(self, ended):
            pass

    done = _run(
        Budgets(
            latency_budget_ms=40.0,
            idle_budget_ms=40.0,
            gap_credit_ms=gap_credit_ms,
            max_stall_ms=60.0,
        ),
        offline=True,
        mixes=mixes,
        watch=Reckoning(),
    )
    assert done.offline_tokens_per_s > 0.0 and sum(lengthened) > 0.0
    spent = saved = 0.0
    for added, cost in zip(earned, lengthened, strict=True):
        spent, saved = spent + cost, saved + added
        assert spent <= saved + max(lengthened) + 1e-6
