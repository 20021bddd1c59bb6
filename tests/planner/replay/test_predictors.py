"""What policies plan by: two fits of the same iterations, the truth, and the truth with errors."""

import re
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_scenarios import MACHINE, chat, scenario

from planner.batching.state import Budgets
from planner.hardware.oracle import oracle_model
from planner.hardware.truth import ground_truth
from planner.latency.features import BatchShape
from planner.latency.fit import fit
from planner.latency.hygen import fit_hygen
from planner.latency.predictor import default_model
from planner.replay.policies import policy_named
from planner.replay.predictors import Predictor, blurred, gather_iterations, predictor

ORACLE = oracle_model(MACHINE)


@pytest.fixture(scope="module")
def samples():
    return gather_iterations(scenario(), seconds=4.0)


def shape(*, rows=0, context=0, chunk=0, cached=0):
    decodes = BatchShape(
        decode_rows=rows,
        decode_context_tokens=rows * context,
        decode_max_context_tokens=context if rows else 0,
    )
    return decodes.with_prefill(new_tokens=chunk, cached_tokens=cached) if chunk else decodes


def error_ratio(model, samples):
    return statistics.median(abs(model.predict_ms(s.shape) / s.measured_ms - 1.0) for s in samples)


def test_iterations_are_those_of_the_workload_at_several_sizes(samples):
    """Online alone, and passes of each size; every one as it was measured."""
    assert 500 < len(samples) <= 6000
    assert all(s.measured_ms > 0.0 for s in samples)
    computed = {s.shape.prefill_tokens + s.shape.decode_rows for s in samples}
    assert any(size <= 48 for size in computed) and any(size > 384 for size in computed)
    assert any(s.shape.prefill_rows and s.shape.decode_rows for s in samples)
    assert any(not s.shape.prefill_rows for s in samples)


def test_gathering_is_deterministic_and_does_not_ask_the_model(samples):
    """The scenario's model has no say in what is gathered."""
    other = scenario(model=default_model("a100-40gb"))
    assert gather_iterations(other, seconds=4.0) == samples


def test_gathering_thins_long_runs_evenly_over_all_of_them(monkeypatch, samples):
    """At most so many, of the first run and the last alike."""
    monkeypatch.setattr("planner.replay.predictors._MOST_SAMPLES", 200)
    thinned = gather_iterations(scenario(), seconds=4.0)
    step = -(-len(samples) // 200)
    assert thinned == samples[::step] and 100 <= len(thinned) <= 200


def test_both_fits_are_of_the_samples_handed_in(samples):
    """HyGen's features and this project's on the very same iterations, none kept back."""
    ours = predictor(Predictor.FITTED, machine=MACHINE, samples=samples)
    hygen = predictor(Predictor.HYGEN, machine=MACHINE, samples=samples)
    incumbent = default_model(MACHINE.device.name)
    assert ours == fit(samples, identity=MACHINE.name, incumbent=incumbent).model
    assert hygen == fit_hygen(samples, identity=MACHINE.name)
    later = [replace(s, measured_ms=3.0 * s.measured_ms) for s in samples]
    for kind, model in ((Predictor.FITTED, ours), (Predictor.HYGEN, hygen)):
        slower = predictor(kind, machine=MACHINE, samples=later)
        assert slower.predict_ms(samples[0].shape) == pytest.approx(
            3.0 * model.predict_ms(samples[0].shape), rel=0.05
        )


def test_fits_are_near_iterations_they_have_not_seen(samples):
    """Of another seed's chat and noise: our features within 5 %, HyGen's within 10 %."""
    unseen = gather_iterations(scenario(online=chat(seed=5)), seconds=4.0)
    ours = predictor(Predictor.FITTED, machine=MACHINE, samples=samples)
    hygen = predictor(Predictor.HYGEN, machine=MACHINE, samples=samples)
    assert error_ratio(ours, unseen) < 0.05
    assert error_ratio(hygen, unseen) < 0.10


def test_too_few_samples_are_refused_with_the_machine(samples):
    """A fit of ten iterations is none."""
    with pytest.raises(ValueError, match=re.escape(MACHINE.name)):
        predictor(Predictor.FITTED, machine=MACHINE, samples=samples[:10])


@given(
    rows=st.integers(0, 64),
    context=st.integers(1, 4000),
    chunk=st.integers(0, 2048),
    cached=st.integers(0, 2000),
)
def test_oracle_is_the_truth_without_noise(rows, context, chunk, cached):
    """Mean and bound alike, of every composition that runs."""
    if not rows + chunk:
        return
    asked = shape(rows=rows, context=context, chunk=chunk, cached=cached)
    truth = ground_truth(MACHINE, noise_ratio=0.0)
    oracle = predictor(Predictor.ORACLE, machine=MACHINE, samples=())
    assert oracle.predict_ms(asked) == truth(asked) == oracle.bound_ms(asked)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("ratio", [0.05, 0.2])
def test_factor_of_an_error_has_mean_one_and_the_deviation_named(ratio):
    """Over many sets of decodes, within three standard errors."""
    model = blurred(ORACLE, error_ratio=ratio, seed=1)
    factors = []
    for rows in range(1, 41):
        for context in range(100, 200):
            asked = shape(rows=rows, context=context)
            factors.append(model.predict_ms(asked) / ORACLE.predict_ms(asked))
    deviation = statistics.pstdev(factors)
    assert abs(statistics.fmean(factors) - 1.0) < 3 * ratio / len(factors) ** 0.5
    assert deviation == pytest.approx(ratio, rel=0.06)


def test_error_is_the_same_by_seed_and_another_by_another():
    """Whatever was asked before, in whatever order."""
    shapes = [shape(rows=rows, context=300) for rows in range(1, 30)]
    one = [blurred(ORACLE, error_ratio=0.1, seed=1).predict_ms(s) for s in shapes]
    again = [blurred(ORACLE, error_ratio=0.1, seed=1).predict_ms(s) for s in reversed(shapes)]
    other = [blurred(ORACLE, error_ratio=0.1, seed=2).predict_ms(s) for s in shapes]
    assert one == again[::-1]
    assert all(a != b for a, b in zip(one, other, strict=True))


@given(
    rows=st.integers(0, 64),
    context=st.integers(1, 4000),
    chunks=st.tuples(st.integers(1, 2048), st.integers(1, 2048)),
    cached=st.integers(0, 2000),
)
def test_error_is_one_factor_for_all_chunks_beside_the_same_decodes(rows, context, chunks, cached):
    """So that a pass never seems shorter with more of a prompt in it."""
    model = blurred(ORACLE, error_ratio=0.2, seed=3)
    factors = []
    for chunk in chunks:
        asked = shape(rows=rows, context=context, chunk=chunk, cached=cached)
        factors.append(model.predict_ms(asked) / ORACLE.predict_ms(asked))
    assert factors[0] == pytest.approx(factors[1], rel=1e-12)


@given(
    rows=st.integers(0, 64),
    context=st.integers(1, 2000),
    cached=st.integers(0, 2000),
    budget_ms=st.floats(5.0, 300.0),
    limit=st.integers(0, 300),
    page=st.sampled_from([1, 16]),
)
def test_largest_chunk_is_exact_under_errors(rows, context, cached, budget_ms, limit, page):
    """As by trying every page, on the blurred fit's own bound."""
    model = blurred(default_model("a100"), error_ratio=0.2, seed=4)
    beside = shape(rows=rows, context=context)
    found = model.max_prefill_tokens(
        beside, cached_tokens=cached, budget_ms=budget_ms, limit_tokens=limit, page_size=page
    )
    within = [
        chunk
        for chunk in range(page, limit + 1, page)
        if model.bound_ms(beside.with_prefill(new_tokens=chunk, cached_tokens=cached)) <= budget_ms
    ]
    assert found == max(within, default=0)


def test_no_error_is_the_exact_model_and_a_bad_one_is_refused():
    """0 changes nothing; below it, or none at all, is no standard deviation."""
    asked = shape(rows=3, context=100, chunk=64)
    assert blurred(ORACLE, error_ratio=0.0, seed=1).predict_ms(asked) == ORACLE.predict_ms(asked)
    for ratio in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="error_ratio"):
            blurred(ORACLE, error_ratio=ratio, seed=1)


def test_model_with_errors_does_not_travel():
    """Its flat form would be the exact model's."""
    with pytest.raises(TypeError, match="no flat form"):
        blurred(default_model("a100"), error_ratio=0.1, seed=1).to_values()


def test_policies_plan_by_the_error(samples):
    """A run by a model that errs is another than one by the exact model; and HyGen's too."""
    exact = scenario()
    errs = replace(exact, model=blurred(ORACLE, error_ratio=0.3, seed=1))
    budgets = Budgets(latency_budget_ms=20.0, idle_budget_ms=40.0)
    for name in ("hygen", "slacktide"):
        choice = policy_named(name, budgets=budgets)
        assert exact.run(choice).online != errs.run(choice).online
