"""Iterations as a server might run them."""

import random
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import of_curve

from planner.hardware.sampling import draw_rows, draw_shapes
from planner.hardware.truth import ground_truth
from planner.latency.fit import fit
from planner.latency.predictor import default_model
from planner.latency.sample import IterationSample

FLAT = {1.0: 8.0, 4096.0: 160.0}


@given(
    seed=st.integers(0, 999),
    kv_tokens=st.integers(4096, 200_000),
    longest=st.sampled_from([128, 4096, 32_768]),
    most=st.integers(2, 256),
)
def test_rows_stay_within_the_server(seed, kv_tokens, longest, most):
    """Contexts within the longest, decodes within KV, batches within their tokens."""
    for rows in islice(
        draw_rows(
            random.Random(seed),
            kv_tokens=max(kv_tokens, longest),
            longest_context_tokens=longest,
            most_decodes=most,
            largest_batch_tokens=1024,
        ),
        20,
    ):
        assert 0 < rows.tokens <= 1024
        assert len(rows.decodes) <= most and len(rows.prefills) <= 4
        assert sum(rows.decodes) <= max(kv_tokens, longest)
        assert all(0 < context <= longest for context in rows.decodes)
        assert all(new > 0 and 0 <= cached <= longest - new for new, cached in rows.prefills)


def test_kinds_are_mixed_as_said():
    """Half decode only, a third mixed, the rest prompts only; equal seeds equal draws."""
    machine = of_curve(FLAT)
    drawn = draw_shapes(machine, seed=3, count=900)
    assert drawn == draw_shapes(machine, seed=3, count=900)
    assert drawn != draw_shapes(machine, seed=4, count=900)
    assert 0.45 < sum(s.is_decode_only for s in drawn) / 900 < 0.55
    assert 0.28 < sum(s.prefill_rows > 0 and s.decode_rows > 0 for s in drawn) / 900 < 0.38
    assert all(s.decode_max_context_tokens <= 4096 for s in drawn)  # Llama-2's context


def test_machine_without_room_for_a_context_is_refused():
    """70B does not fit one device."""
    with pytest.raises(ValueError, match="KV holds 0 tokens"):
        draw_shapes(of_curve(FLAT, model="llama2-70b"), seed=1, count=1)


def test_predictor_can_be_fitted_on_a_machine():
    """On a held-out draw its mean error is small, and not nought: effects are no features."""
    machine = of_curve({1.0: 8.0, 64.0: 9.0, 512.0: 40.0, 4096.0: 320.0})
    truth = ground_truth(machine, noise_ratio=0.0)

    def samples(seed):
        return [
            IterationSample(shape=shape, measured_ms=truth(shape))
            for shape in draw_shapes(machine, seed=seed, count=1500)
        ]

    model = fit(samples(1), identity="h100", incumbent=default_model("h100")).model
    assert model is not None
    off = [abs(model.predict_ms(s.shape) / s.measured_ms - 1.0) for s in samples(2)]
    assert 0.001 < sum(off) / len(off) < 0.15
