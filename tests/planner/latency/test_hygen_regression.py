"""HyGen's predictor (arXiv 2501.14808, latency predictor): the published form, no more."""

import random

import numpy as np
import pytest

from planner.latency.features import BatchShape
from planner.latency.hygen import HygenRegression, fit_hygen, fit_regression
from planner.latency.sample import IterationSample

TRUTH = HygenRegression(
    constant=5.0,
    prefill_rows=0.3,
    prefill_tokens=0.02,
    prefill_tokens_sq=1e-5,
    decode_rows=0.2,
    decode_rows_sq=0.003,
)


def _samples(*, seed, truth, count=400):
    rng = random.Random(seed)
    samples = []
    for _ in range(count):
        shape = BatchShape()
        for _ in range(rng.randint(0, 24)):
            shape = shape.with_decode(context_tokens=rng.randint(1, 4000))
        for _ in range(rng.randint(0, 3)):
            shape = shape.with_prefill(
                new_tokens=rng.randint(1, 512), cached_tokens=rng.randint(0, 2000)
            )
        if shape != BatchShape():
            samples.append(IterationSample(shape=shape, measured_ms=truth.predict_ms(shape)))
    return samples


def test_regression_recovers_what_its_features_explain():
    """With S_d^2 the fit is exact on what was drawn by it; without, it is not."""
    samples = _samples(seed=1, truth=TRUTH)
    exact = fit_regression(samples, with_decode_square=True)
    for name in TRUTH.__slots__:
        assert getattr(exact, name) == pytest.approx(getattr(TRUTH, name), rel=1e-6)
    bracketless = fit_regression(samples)
    assert bracketless.decode_rows_sq == 0.0
    assert bracketless.decode_rows > TRUTH.decode_rows


def test_regression_is_the_least_squares_of_numpy():
    """Ordinary, unweighted, one for all iterations: no other has smaller squares."""
    samples = _samples(seed=2, truth=TRUTH)
    fitted = fit_regression(samples)

    def squares(regression):
        return sum((regression.predict_ms(s.shape) - s.measured_ms) ** 2 for s in samples)

    best = squares(fitted)
    rng = np.random.default_rng(3)
    names = [name for name in TRUTH.__slots__ if name != "decode_rows_sq"]
    for _ in range(50):
        moved = {name: getattr(fitted, name) * (1.0 + 0.01 * rng.normal()) for name in names}
        assert squares(HygenRegression(**moved)) >= best


def test_regression_is_blind_to_context():
    """The paper lists no context feature: 2,048 tokens cost the same at any prefix."""
    fitted = fit_regression(_samples(seed=4, truth=TRUTH))
    near = BatchShape().with_prefill(new_tokens=2048, cached_tokens=0)
    far = BatchShape().with_prefill(new_tokens=2048, cached_tokens=40_000)
    assert fitted.predict_ms(near) == fitted.predict_ms(far)


def test_model_is_the_published_fit_when_no_coefficient_is_negative():
    """As a latency model: both kinds alike, no margin, no stated coverage."""
    truth = HygenRegression(
        constant=5.0,
        prefill_rows=0.3,
        prefill_tokens=0.02,
        prefill_tokens_sq=1e-5,
        decode_rows=0.2,
    )
    samples = _samples(seed=5, truth=truth)
    model = fit_hygen(samples, identity="m|hygen")
    assert model.identity == "m|hygen" and model.decode == model.prefill
    assert model.decode.coverage_ratio == 0.0
    for sample in samples:
        assert model.predict_ms(sample.shape) == pytest.approx(sample.measured_ms, rel=1e-4)
        assert model.bound_ms(sample.shape) == model.predict_ms(sample.shape)


def test_model_has_no_negative_coefficient_when_the_published_fit_has():
    """Where longer prompts happen to be quicker, least squares says so and the model not."""
    truth = HygenRegression(
        constant=50.0,
        prefill_rows=-2.0,
        prefill_tokens=0.01,
        prefill_tokens_sq=0.0,
        decode_rows=0.2,
    )
    samples = _samples(seed=6, truth=truth)
    assert fit_regression(samples).prefill_rows < 0.0
    assert fit_hygen(samples, identity="m").prefill.prefill_rows == 0.0


@pytest.mark.parametrize("fitting", [fit_regression, lambda s: fit_hygen(s, identity="m")])
def test_regression_refuses_no_samples(fitting):
    """The message says what to do."""
    with pytest.raises(ValueError, match="measure iterations first"):
        fitting([])
