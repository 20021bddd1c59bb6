"""Pass times drawn from an engine's own iterations."""

import itertools
import random
from statistics import mean, median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_engines import MODEL

from planner.latency.features import BatchShape
from planner.latency.sample import IterationSample
from planner.simulation.measured import MeasuredTimes


def _decode(rows):
    return BatchShape(decode_rows=rows, decode_context_tokens=100 * rows)


def _prompt(tokens):
    return BatchShape().with_prefill(new_tokens=tokens, cached_tokens=0)


def _samples(ratio_of, *, count=400):
    """Decodes and prompts in turn; `ratio_of(index, shape)` is measured over predicted."""
    shapes = [_decode(1 + i % 20) if i % 4 else _prompt(8 + i % 120) for i in range(count)]
    return [
        IterationSample(shape=shape, measured_ms=MODEL.predict_ms(shape) * ratio_of(i, shape))
        for i, shape in enumerate(shapes)
    ]


def _draw(times, shape, *, seed=0, count=4000, **kwargs):
    truth = times.truth(seed=seed, **kwargs)
    return [truth(shape) / MODEL.predict_ms(shape) for _ in range(count)]


def test_durations_are_the_models_when_the_engine_keeps_to_it():
    """No noise where there was none."""
    times = MeasuredTimes(MODEL, _samples(lambda *_: 1.0))
    assert _draw(times, _decode(3), count=50) == pytest.approx([1.0] * 50)


def test_bias_is_taken_from_like_iterations_when_the_model_is_off_for_some():
    """Short decodes slow, long ones as predicted, prompts fast."""

    def off(_, shape):
        if shape.prefill_rows:
            return 0.8
        return 1.5 if shape.decode_rows <= 5 else 1.0

    times = MeasuredTimes(MODEL, _samples(off))
    assert times.typical_ms(_decode(2)) == pytest.approx(1.5 * MODEL.predict_ms(_decode(2)))
    assert times.typical_ms(_decode(18)) == pytest.approx(MODEL.predict_ms(_decode(18)))
    assert times.typical_ms(_prompt(60)) == pytest.approx(0.8 * MODEL.predict_ms(_prompt(60)))


def test_decodes_of_as_many_rows_are_alike_when_time_falls_with_rows():
    """Four rows faster than three: no model that never falls knows that."""

    def sawtooth(_, shape):
        return 1.0 if shape.prefill_rows or shape.decode_rows % 4 == 0 else 1.4

    times = MeasuredTimes(MODEL, _samples(sawtooth, count=2000))
    three, four = (times.typical_ms(_decode(rows)) for rows in (3, 4))
    assert three == pytest.approx(1.4 * MODEL.predict_ms(_decode(3)))
    assert four == pytest.approx(MODEL.predict_ms(_decode(4)))
    assert four < three


@settings(max_examples=20, deadline=None)
@given(spread=st.floats(0.05, 0.3), seed=st.integers(0, 1000))
def test_quantiles_are_those_measured_when_noise_is_independent(spread, seed):
    """Of a skewed noise: median and tail within a tenth."""
    source = random.Random(seed)
    noise = [source.lognormvariate(0.0, spread) for _ in range(2000)]
    times = MeasuredTimes(MODEL, _samples(lambda i, _: noise[i], count=2000))
    drawn = sorted(
        x for rows in range(1, 21) for x in _draw(times, _decode(rows), seed=rows, count=200)
    )
    seen = sorted(noise)
    for share in (0.5, 0.95):
        there, here = (each[int(share * len(each))] for each in (drawn, seen))
        assert there == pytest.approx(here, rel=0.1)


def test_slow_stretches_last_when_the_machine_was_slow_for_a_while():
    """As many slow passes as measured, and neighbours alike; shuffled they would not be."""
    times = MeasuredTimes(MODEL, _samples(lambda i, _: 1.5 if i // 200 % 2 else 1.0, count=2000))
    drawn = _draw(times, _decode(10), count=20_000)
    high, low = (sorted(drawn)[int(share * len(drawn))] for share in (0.9, 0.1))
    assert high / low == pytest.approx(1.5, rel=0.05)
    is_slow = [x > (high + low) / 2 for x in drawn]
    assert mean(is_slow) == pytest.approx(0.5, abs=0.15)
    changes = sum(a is not b for a, b in itertools.pairwise(is_slow))
    assert changes < len(drawn) / 50


def test_pace_is_the_median_over_typical_when_a_machine_slows_down():
    """And drawing at that pace gives such passes."""
    source = random.Random(5)
    times = MeasuredTimes(MODEL, _samples(lambda *_: source.lognormvariate(0.0, 0.1)))
    slowed = _samples(lambda *_: 1.3 * source.lognormvariate(0.0, 0.1))
    pace = times.pace_of(slowed)
    assert pace == pytest.approx(1.3, rel=0.05)
    drawn = _draw(times, _decode(10), pace_ratio=pace)
    assert median(drawn) == pytest.approx(1.3, rel=0.1)


def test_pace_counts_time_when_short_and_long_passes_differ():
    """A third of the passes, but most of the time: prompts that got slower are the pace."""
    times = MeasuredTimes(MODEL, _samples(lambda *_: 1.0))
    mixed = [(_decode(1), 1.0)] * 20 + [(_prompt(120), 1.4)] * 10
    passes = [IterationSample(shape=s, measured_ms=MODEL.predict_ms(s) * r) for s, r in mixed]
    assert times.pace_of(passes) == pytest.approx(1.4)


def test_draws_are_equal_when_seeds_are():
    """And differ where they do."""
    source = random.Random(1)
    times = MeasuredTimes(MODEL, _samples(lambda *_: source.uniform(0.8, 1.4)))
    assert _draw(times, _decode(4), seed=3, count=20) == _draw(times, _decode(4), seed=3, count=20)
    assert _draw(times, _decode(4), seed=3, count=20) != _draw(times, _decode(4), seed=4, count=20)


def test_measuring_longer_is_asked_for_when_a_kind_was_hardly_seen():
    """Naming it."""
    only_decodes = [s for s in _samples(lambda *_: 1.0) if s.shape.is_decode_only]
    with pytest.raises(ValueError, match=r"prefill: 0.*measure longer"):
        MeasuredTimes(MODEL, only_decodes)
    times = MeasuredTimes(MODEL, _samples(lambda *_: 1.0))
    with pytest.raises(ValueError, match="pace_ratio"):
        times.truth(seed=0, pace_ratio=0.0)
    with pytest.raises(ValueError, match="no iteration"):
        times.pace_of([])
