"""The window of samples: bounded, and rare shapes stay in it."""

import pytest

from planner.latency.features import BatchShape
from planner.latency.sample import IterationSample
from planner.latency.window import SampleWindow

DECODE = BatchShape().with_decode(context_tokens=100)
PREFILL = BatchShape().with_prefill(new_tokens=2000, cached_tokens=0)


def test_window_keeps_rare_shapes_when_common_ones_flood_it():
    """Ten thousand decodes do not push out three prefills."""
    window = SampleWindow(per_stratum=16)
    for index in range(3):
        window.add(IterationSample(shape=PREFILL, measured_ms=80.0 + index))
    for index in range(10_000):
        window.add(IterationSample(shape=DECODE, measured_ms=2.0 + index))
    samples = window.samples()
    assert [s.measured_ms for s in samples if s.shape == PREFILL] == [80.0, 81.0, 82.0]
    assert [s.measured_ms for s in samples if s.shape == DECODE] == [
        2.0 + index for index in range(9_984, 10_000)
    ]
    assert len(window) == 19 and window.added == 10_003


def test_window_drops_the_kind_unseen_longest_when_kinds_are_too_many():
    """The total is bounded whatever comes."""
    window = SampleWindow(per_stratum=2, max_strata=3)
    for power in range(8):
        shape = BatchShape().with_prefill(new_tokens=2**power, cached_tokens=0)
        for _ in range(5):
            window.add(IterationSample(shape=shape, measured_ms=1.0))
    assert len(window) == 6
    assert min(s.shape.prefill_tokens for s in window.samples()) == 32


@pytest.mark.parametrize("measured_ms", [float("nan"), float("inf"), 0.0, -3.0])
def test_window_refuses_samples_that_measure_nothing(measured_ms):
    """A broken clock leaves no trace."""
    window = SampleWindow()
    assert not window.add(IterationSample(shape=DECODE, measured_ms=measured_ms))
    assert not window.add(IterationSample(shape=BatchShape(), measured_ms=1.0))
    assert len(window) == 0


@pytest.mark.parametrize("bounds", [{"per_stratum": 0}, {"max_strata": 0}])
def test_window_refuses_bounds_below_one(bounds):
    """The message names both bounds."""
    with pytest.raises(ValueError, match="must be >= 1"):
        SampleWindow(**bounds)
