"""The time model: monotone, invertible, serialisable, and careful by default."""

import math
from dataclasses import replace
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.latency.coefficients import TERMS, TOKEN_KNOTS, Coefficients
from planner.latency.features import BatchShape
from planner.latency.predictor import (
    DEFAULT_MODELS,
    LatencyModel,
    default_model,
    identity_of,
)

_TERM = st.one_of(st.just(0.0), st.floats(1e-7, 5.0))


@st.composite
def coefficients(draw):
    values = {term: draw(_TERM) for term in TERMS}
    stretches = len(TOKEN_KNOTS) - 1
    rises = draw(st.one_of(st.just([0.0]), st.lists(_TERM, min_size=1, max_size=stretches)))
    rises = (rises * stretches)[:stretches]
    return Coefficients(
        **values,
        token_curve_ms=tuple(accumulate(rises, initial=0.0)),
        knee_tokens=draw(st.sampled_from([0.0, 16.0, 64.0, 512.0])),
        margin_ratio=draw(st.floats(0.0, 1.0)),
        margin_ms=draw(st.floats(0.0, 5.0)),
        coverage_ratio=draw(st.floats(0.0, 0.99)),
    )


@st.composite
def models(draw):
    return LatencyModel(identity="m", decode=draw(coefficients()), prefill=draw(coefficients()))


@st.composite
def shapes(draw):
    shape = BatchShape()
    for context in draw(st.lists(st.integers(1, 4000), max_size=5)) * draw(
        st.sampled_from([1, 1, 30])
    ):
        shape = shape.with_decode(context_tokens=context)
    for new, cached in draw(
        st.lists(st.tuples(st.integers(1, 600), st.integers(0, 3000)), max_size=3)
    ):
        shape = shape.with_prefill(new_tokens=new, cached_tokens=cached)
    return shape


@given(
    model=models(),
    shape=shapes(),
    cached=st.integers(0, 2000),
    limit=st.integers(0, 1500),
    page=st.sampled_from([1, 16, 64]),
    budget=st.floats(0.0, 500.0),
)
def test_max_prefill_tokens_inverts_the_bound_within_one_page(
    model, shape, cached, limit, page, budget
):
    """HyGen's get_max_tokens: what it gives fits, and one page more would not."""
    tokens = model.max_prefill_tokens(
        shape, cached_tokens=cached, budget_ms=budget, limit_tokens=limit, page_size=page
    )

    def bound(chunk):
        return model.bound_ms(shape.with_prefill(new_tokens=chunk, cached_tokens=cached))

    assert tokens % page == 0 and 0 <= tokens <= limit
    if tokens:
        assert bound(tokens) <= budget
    if tokens + page <= limit:
        assert bound(tokens + page) > budget


@given(model=models(), shape=shapes(), context=st.integers(0, 4000), new=st.integers(1, 600))
def test_bound_never_falls_when_the_batch_grows(model, shape, context, new):
    """A larger iteration of the same kind is never predicted shorter."""
    more_decodes = shape.with_decode(context_tokens=context)
    assert model.bound_ms(more_decodes) >= model.bound_ms(shape) * (1 - 1e-12)
    if not shape.is_decode_only:
        more_prefill = shape.with_prefill(new_tokens=new, cached_tokens=context)
        assert model.bound_ms(more_prefill) >= model.bound_ms(shape) * (1 - 1e-12)
    assert model.bound_ms(shape) >= model.predict_ms(shape) >= 0.0


@given(
    model=models(),
    shape=shapes(),
    budgets=st.tuples(st.floats(0.0, 500.0), st.floats(0.0, 500.0)),
    cached=st.integers(0, 2000),
)
def test_max_prefill_tokens_never_falls_when_the_budget_grows(model, shape, budgets, cached):
    """More time never buys a smaller chunk."""
    small, large = (
        model.max_prefill_tokens(
            shape, cached_tokens=cached, budget_ms=budget, limit_tokens=4096, page_size=16
        )
        for budget in sorted(budgets)
    )
    assert small <= large


@given(model=models(), shape=shapes(), new=st.integers(1, 3000), cached=st.integers(0, 3000))
def test_longer_chunks_and_prefixes_are_never_predicted_shorter(model, shape, new, cached):
    """One token more of a chunk, or of its prefix, costs something or nothing."""
    base = model.bound_ms(shape.with_prefill(new_tokens=new, cached_tokens=cached))
    longer = model.bound_ms(shape.with_prefill(new_tokens=new + 1, cached_tokens=cached))
    deeper = model.bound_ms(shape.with_prefill(new_tokens=new, cached_tokens=cached + 1))
    assert longer >= base * (1 - 1e-12)
    assert deeper >= base * (1 - 1e-12)


@given(model=models(), shape=shapes(), context=st.integers(1, 5000))
def test_marginal_evaluation_from_sums_equals_the_prediction(model, shape, context):
    """One more decode row, from running sums, is the shape with that row."""
    assert model.mean_ms(
        shape.prefill_rows,
        shape.prefill_tokens,
        shape.prefill_attention,
        shape.prefill_padded_sq,
        shape.decode_rows + 1,
        shape.decode_context_tokens + context,
        max(shape.decode_max_context_tokens, context),
        shape.prefill_context_tokens,
    ) == model.predict_ms(shape.with_decode(context_tokens=context))


@given(rises=st.lists(st.floats(0.0, 9.0), min_size=22, max_size=22), tokens=st.integers(1, 4000))
def test_token_curve_is_the_line_through_its_knots(rises, tokens):
    """Level outside, linear between: against a plain search of the stretch."""
    heights = tuple(accumulate(rises, initial=0.0))
    flat = Coefficients(constant=1.0)
    model = LatencyModel(identity="m", decode=flat, prefill=replace(flat, token_curve_ms=heights))
    expected = heights[-1]
    for index in range(len(TOKEN_KNOTS) - 1):
        start, end = TOKEN_KNOTS[index : index + 2]
        if start <= tokens < end:
            share = (tokens - start) / (end - start)
            expected = heights[index] * (1.0 - share) + heights[index + 1] * share
            break
    shape = BatchShape().with_prefill(new_tokens=tokens, cached_tokens=0)
    assert model.predict_ms(shape) == pytest.approx(1.0 + expected, abs=1e-9)


@pytest.mark.parametrize(
    "curve",
    [
        (0.0,),
        (1.0,) * len(TOKEN_KNOTS),
        (0.0, 2.0, *(1.0,) * (len(TOKEN_KNOTS) - 2)),
        (0.0, *(math.nan,) * (len(TOKEN_KNOTS) - 1)),
        (0.0, *(math.inf,) * (len(TOKEN_KNOTS) - 1)),
        (0.0, -1.0, *(0.0,) * (len(TOKEN_KNOTS) - 2)),
    ],
)
def test_coefficients_refuse_a_curve_that_falls_or_is_none(curve):
    """A curve that falls would make a larger batch look cheaper."""
    with pytest.raises(ValueError, match="token_curve_ms"):
        Coefficients(token_curve_ms=curve)


def test_predict_is_zero_when_the_iteration_is_empty():
    """Nothing takes no time, also under a margin."""
    model = default_model("cpu")
    assert model.predict_ms(BatchShape()) == 0.0
    assert model.bound_ms(BatchShape()) == 0.0


def test_predict_bends_at_the_knee():
    """Flat up to the knee, linear beyond it (Niyama: two pieces)."""
    flat = Coefficients(constant=9.0, tokens_over_knee=0.1, knee_tokens=64.0)
    model = LatencyModel(identity="m", decode=flat, prefill=flat)

    def prefill_ms(tokens):
        return model.predict_ms(BatchShape().with_prefill(new_tokens=tokens, cached_tokens=0))

    assert prefill_ms(1) == prefill_ms(64) == 9.0
    assert prefill_ms(164) == pytest.approx(19.0)


@given(model=models())
def test_values_round_trip(model):
    """What to_values writes, from_values reads, the identity travelling beside it."""
    assert LatencyModel.from_values(model.to_values(), identity="m") == model


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"decode_constant": math.nan}, "decode_constant|constant"),
        ({"prefill_tokens_over_knee": -1.0}, "tokens_over_knee"),
        ({"decode_margin_ms": math.inf}, "margin_ms"),
        ({"prefill_coverage_ratio": 1.0}, "coverage_ratio"),
        ({"version": 99.0}, "version 99.0"),
        ({"version": 1.0}, "version 1.0"),
        ({"version": math.nan}, "version nan"),
        ({"decode_token_curve_ms_5": math.nan}, "token_curve_ms_5"),
        ({"decode_token_curve_ms_5": 2.0}, "must never fall"),
        ({"decode_velocity": 1.0}, "decode_velocity"),
        ({"decode_rows": None}, "missing.*decode_decode_rows|unknown.*decode_rows"),
        ({"decode_decode_rows": "3"}, "must be a number"),
        ({"decode_decode_rows": True}, "must be a number"),
    ],
)
def test_from_values_refuses_what_it_cannot_trust(change, said):
    """Each refusal names the model and the value."""
    values = default_model("cpu").to_values() | change
    with pytest.raises(ValueError, match=said) as refusal:
        LatencyModel.from_values(values, identity="m|cpu")
    assert "m|cpu" in str(refusal.value)


@pytest.mark.parametrize("key", ["version", "decode_constant", "prefill_margin_ratio"])
def test_from_values_refuses_when_a_key_is_missing(key):
    """A partial model is no model."""
    values = default_model("cpu").to_values()
    del values[key]
    with pytest.raises(ValueError, match=key.removeprefix("decode_").removeprefix("prefill_")):
        LatencyModel.from_values(values, identity="m")


@pytest.mark.parametrize(
    ("shape", "measured_ms"),
    [
        (BatchShape().with_decode(context_tokens=150), 7.5),
        (BatchShape().with_prefill(new_tokens=128, cached_tokens=0), 44.0),
        (BatchShape().with_prefill(new_tokens=256, cached_tokens=0), 78.0),
    ],
)
def test_default_cpu_model_bounds_its_source(shape, measured_ms):
    """The default holds for the measurements it was made from."""
    model = default_model("cpu")
    assert model.bound_ms(shape) >= measured_ms
    assert model.decode.coverage_ratio == 0.0


def test_default_model_is_slowest_when_the_device_is_unknown():
    """An unknown accelerator counts as the slowest known, and larger weights as slower."""
    shape = BatchShape().with_prefill(new_tokens=512, cached_tokens=100)
    unknown = default_model("tpu-v9").bound_ms(shape)
    assert unknown == max(
        model.bound_ms(shape) for name, model in DEFAULT_MODELS.items() if name != "cpu"
    )
    assert default_model("NVIDIA A100-SXM4-40GB").identity == "default|a100"
    small = default_model("cpu", weights_bytes=1)
    large = default_model("cpu", weights_bytes=376_000_000)
    assert small == DEFAULT_MODELS["cpu"]
    assert large.predict_ms(shape) == pytest.approx(10 * small.predict_ms(shape))
    assert large.identity.startswith("default|cpu")


def test_identity_names_all_that_a_fit_depends_on():
    """Two engines that differ in any part have different identities."""
    base = {
        "model": "tiny",
        "device_type": "cpu",
        "tensor_parallel_size": 1,
        "engine_build": "0.5.23",
    }
    others = [
        base | {"model": "x"},
        base | {"device_type": "a100"},
        base | {"tensor_parallel_size": 2},
        base | {"engine_build": "0.6"},
    ]
    assert len({identity_of(**key) for key in [base, *others]}) == 5
