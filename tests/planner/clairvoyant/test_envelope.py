"""The least duration of passes."""

import random
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from planner.batching.state import WorkClass
from planner.clairvoyant.envelope import least_passes
from planner.latency.coefficients import TOKEN_KNOTS, Coefficients
from planner.latency.features import BatchShape
from planner.latency.predictor import LatencyModel
from planner.simulation.request import SimulatedRequest
from planner.simulation.settings import EngineSettings

LONGEST = SimulatedRequest(
    rid="longest", work_class=WorkClass.OFFLINE, prompt_tokens=900, output_tokens=100
)
SETTINGS = EngineSettings(kv_tokens=6000, chunked_prefill_size=256, max_running_requests=24)


def drawn_shape(source):
    """A pass that the engine could run."""
    shape = BatchShape()
    rows = source.randint(0, 24)
    left = source.randint(0, 256 - rows)
    while left:
        new = source.randint(1, left)
        shape = shape.with_prefill(new_tokens=new, cached_tokens=source.randint(0, 1000 - new))
        left -= new
    for _ in range(rows):
        shape = shape.with_decode(context_tokens=source.randint(1, 6000 // 24))
    return shape


def linear(**terms):
    both = Coefficients(constant=5.0, **terms)
    return LatencyModel(identity="test", decode=both, prefill=both).predict_ms


def stepped(shape):
    """Tiles of 32 tokens, launches for prompts, attention that is better when longer."""
    tokens = shape.prefill_tokens + shape.decode_rows
    pairs = shape.prefill_attention
    matrices_ms = 3.0 + 0.9 * -(-tokens // 32) + 1.5 * (shape.prefill_rows > 0)
    attention_ms = 1e-4 * (pairs + sqrt(4e4 * shape.prefill_rows * pairs))
    return matrices_ms + attention_ms + 2e-3 * shape.decode_context_tokens


TRUTHS = {
    "tokens": linear(prefill_tokens=0.1, decode_rows=0.4),
    "attention": linear(prefill_tokens=0.1, prefill_attention=1e-4, decode_context=2e-3),
    "knee": linear(tokens_over_knee=0.1, knee_tokens=40.0, decode_context=1e-3),
    "curve": linear(
        token_curve_ms=tuple(0.8 * i for i in range(len(TOKEN_KNOTS))), prefill_context=1e-3
    ),
    "padded": linear(prefill_padded_sq=1e-4, decode_padded_context=1e-3),
    "stepped": stepped,
}


@pytest.fixture(scope="module", params=sorted(TRUTHS))
def enveloped(request):
    pass_ms = TRUTHS[request.param]
    return pass_ms, least_passes(pass_ms, settings=SETTINGS, requests=[LONGEST])


@hypothesis_settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 1 << 30))
def test_no_pass_is_shorter_than_the_envelope(enveloped, seed):
    """Of any truth that never falls, whatever it is made of."""
    pass_ms, envelope = enveloped
    shape = drawn_shape(random.Random(seed))
    if shape.prefill_tokens + shape.decode_rows:
        assert envelope.least_ms(shape) <= pass_ms(shape) + 1e-9


@pytest.mark.parametrize("name", ["tokens", "attention", "knee"])
def test_envelope_is_near_a_truth_without_steps(name):
    """Tokens and attention that add up are found but for the boxes' tolerance."""
    pass_ms = TRUTHS[name]
    envelope = least_passes(pass_ms, settings=SETTINGS, requests=[LONGEST])
    source = random.Random(1)
    for _ in range(200):
        shape = drawn_shape(source)
        if shape.prefill_tokens + shape.decode_rows:
            assert envelope.least_ms(shape) >= 0.98 * pass_ms(shape)


def test_pass_overhead_is_part_of_every_pass():
    """The engine adds it to the truth, so does the envelope."""
    slow = EngineSettings(
        kv_tokens=6000, chunked_prefill_size=256, max_running_requests=24, pass_overhead_ms=3.0
    )
    shape = BatchShape().with_decode(context_tokens=10)
    plain, slower = (
        least_passes(TRUTHS["tokens"], settings=engine, requests=[LONGEST]).least_ms(shape)
        for engine in (SETTINGS, slow)
    )
    assert slower == pytest.approx(plain + 3.0)


@pytest.mark.parametrize(
    "falling",
    [
        lambda shape: 10.0 - 0.01 * shape.prefill_tokens,
        lambda shape: 10.0 + 1.0 / (1.0 + shape.decode_context_tokens),
    ],
)
def test_truth_that_falls_is_refused(falling):
    """A bound built on it would be none."""
    with pytest.raises(ValueError, match="must never fall"):
        least_passes(falling, settings=SETTINGS, requests=[LONGEST])
