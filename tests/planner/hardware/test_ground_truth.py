"""Noise, drift and stalls around the mean."""

from itertools import pairwise
from statistics import fmean

import pytest
from machines import decodes, of_curve

from planner.hardware.duration import Duration
from planner.hardware.effects import NO_EFFECTS, Effects
from planner.hardware.truth import ground_truth
from planner.latency.features import BatchShape

MACHINE = of_curve({1.0: 8.0, 64.0: 12.0, 512.0: 64.0})
SHAPE = decodes(20, context_tokens=500)
MEAN_MS = Duration(MACHINE, Effects())(SHAPE)


def lasted(count=4000, **fields):
    truth = ground_truth(MACHINE, **fields)
    return [truth(SHAPE) for _ in range(count)]


def test_mean_stands_without_disturbance():
    """Exactly, and with the effects asked for."""
    assert lasted(2, noise_ratio=0.0) == [MEAN_MS] * 2
    smooth = ground_truth(MACHINE, effects=NO_EFFECTS, noise_ratio=0.0)
    assert smooth(SHAPE) == MACHINE.iteration_ms(SHAPE)


def test_equal_seeds_give_equal_times():
    """Of noise and of stalls; other seeds give others."""
    fields = {"stall_ratio": 0.1, "stall_ms": 30.0}
    assert lasted(200, seed=3, **fields) == lasted(200, seed=3, **fields)
    assert lasted(200, seed=3, **fields) != lasted(200, seed=4, **fields)


def test_drift_grows_with_the_time_iterations_took():
    """10 % an hour: after half an hour of iterations 5 %."""
    truth = ground_truth(MACHINE, noise_ratio=0.0, drift_ratio=0.1)
    busy_ms = 0.0
    while busy_ms < 1_800_000.0:
        busy_ms += truth(SHAPE)
    assert truth(SHAPE) == pytest.approx(1.05 * MEAN_MS, rel=1e-4)


def test_stalls_are_rare_and_as_long_as_said():
    """Two percent of iterations, each 50 ms longer."""
    times = lasted(noise_ratio=0.0, stall_ratio=0.02, stall_ms=50.0)
    assert set(times) == {MEAN_MS, MEAN_MS + 50.0}
    assert 0.01 < times.count(MEAN_MS + 50.0) / len(times) < 0.03


def test_noise_has_mean_one_and_is_correlated():
    """Its mean is the machine's; neighbours are alike by as much as said."""
    times = lasted(20_000, noise_ratio=0.1, noise_correlation=0.8, seed=5)
    assert fmean(times) == pytest.approx(MEAN_MS, rel=0.01)
    off = [ms / MEAN_MS - 1.0 for ms in times]
    together = fmean(a * b for a, b in pairwise(off)) / fmean(a * a for a in off)
    assert together == pytest.approx(0.8, abs=0.05)


def test_empty_iteration_takes_no_time():
    """However noisy: nothing stalls in nothing."""
    truth = ground_truth(MACHINE, stall_ratio=1.0, stall_ms=50.0)
    assert truth(BatchShape()) == 0.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"noise_ratio": -0.1},
        {"noise_correlation": 1.0},
        {"drift_ratio": -0.1},
        {"drift_ratio": float("nan")},
        {"stall_ratio": 1.1},
        {"stall_ms": -1.0},
    ],
)
def test_nonsense_disturbance_is_refused(wrong):
    """Each by its name."""
    with pytest.raises(ValueError, match=next(iter(wrong)).removeprefix("noise_")):
        ground_truth(MACHINE, **wrong)
