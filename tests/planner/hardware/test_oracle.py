"""The oracle is the truth but for noise, and policies can plan by it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import decodes, effects, machines, of_curve, shapes

from planner.batching.baselines.hygen import Hygen, mean_of
from planner.batching.budget import trusted_ms
from planner.batching.decide import plan_iteration
from planner.batching.state import Budgets, DecodeRow, EngineState, PrefillWork, WorkClass
from planner.hardware.effects import Effects
from planner.hardware.oracle import oracle_model
from planner.hardware.truth import ground_truth

MACHINE = of_curve({1.0: 8.0, 64.0: 12.0, 128.0: 16.0, 256.0: 32.0, 512.0: 64.0})


@given(machine=machines(), effects=effects, shape=shapes)
def test_oracle_is_the_noiseless_truth(machine, effects, shape):
    """Mean and bound, also without the margins it does not have."""
    model = oracle_model(machine, effects=effects)
    truth_ms = ground_truth(machine, effects=effects, noise_ratio=0.0)(shape)
    assert model.predict_ms(shape) == model.bound_ms(shape) == truth_ms
    assert mean_of(model).predict_ms(shape) == truth_ms


@given(
    machine=machines(),
    effects=effects,
    rows=st.integers(0, 300),
    cached=st.integers(0, 8192),
    page=st.sampled_from([1, 16]),
    limit=st.integers(0, 600),
    data=st.data(),
)
def test_largest_chunk_is_exact_to_one_page(machine, effects, rows, cached, page, limit, data):
    """As tried one by one, also where matrices step."""
    model = oracle_model(machine, effects=effects)
    beside = decodes(rows, context_tokens=200)

    def bound_ms(chunk):
        return model.bound_ms(beside.with_prefill(new_tokens=chunk, cached_tokens=cached))

    budget_ms = data.draw(st.floats(0.0, bound_ms(limit) * 1.1 + 1.0))
    chunk = model.max_prefill_tokens(
        beside, cached_tokens=cached, budget_ms=budget_ms, limit_tokens=limit, page_size=page
    )
    fitting = [c for c in range(page, limit + 1, page) if bound_ms(c) <= budget_ms - 1e-9]
    barely = [c for c in range(page, limit + 1, page) if bound_ms(c) <= budget_ms + 1e-9]
    assert max(fitting, default=0) <= chunk <= max(barely, default=0)


def test_policies_trust_it():
    """All of a limit is planned for, as where measurements calibrated the bound."""
    model = oracle_model(MACHINE)
    for coefficients in (model.decode, model.prefill):
        assert trusted_ms(40.0, coefficients=coefficients, budgets=Budgets()) == 40.0


def test_it_refuses_to_travel():
    """It has no flat form."""
    with pytest.raises(TypeError, match="oracle"):
        oracle_model(MACHINE).to_values()


def test_it_is_a_value_among_models():
    """Replaced and hashed as any model; another machine's differs."""
    model = oracle_model(MACHINE)
    assert replace(model, identity="x").predict_ms(decodes(3, context_tokens=9)) > 0.0
    assert len({model, replace(model), oracle_model(MACHINE, effects=Effects())}) == 2


@pytest.mark.parametrize("policy", [plan_iteration, Hygen()])
def test_policies_fill_the_budget_by_it(policy):
    """One decode of each class and a waiting prompt: the chunk is the largest that fits."""
    model = oracle_model(MACHINE)
    state = EngineState(
        now_s=1000.0,
        pass_number=9,
        running=(
            DecodeRow(
                rid="on",
                work_class=WorkClass.ONLINE,
                context_tokens=300,
                generated_tokens=5,
                last_token_s=1000.0,
                passes_in_state=9,
            ),
        ),
        parked=(),
        started=None,
        waiting_online=(),
        waiting_offline=(
            PrefillWork(
                rid="off",
                work_class=WorkClass.OFFLINE,
                remaining_tokens=2000,
                cached_tokens=0,
                arrival_s=1000.0,
            ),
        ),
        kv_free_tokens=50_000,
        kv_total_tokens=100_000,
        page_size=1,
        chunk_limit_tokens=2048,
        mixes_prefill_and_decode=True,
    )
    plan = policy(state, model=model, budgets=Budgets(latency_budget_ms=40.0))
    beside = decodes(1, context_tokens=300)
    # From 256 tokens to 512 matrices step from 32 to 64 ms: 255 beside the decode.
    assert plan.offline_chunk_tokens == 255
    mixed = beside.with_prefill(new_tokens=255, cached_tokens=0)
    assert plan.predicted_ms == plan.bound_ms == model.predict_ms(mixed)
    assert plan.bound_ms <= 40.0
