"""Noise around a mean: its distribution, its memory, its seed."""

from itertools import pairwise
from math import log
from statistics import fmean, pstdev

import pytest

from planner.simulation.noise import correlated_noise


def factors(count, **fields):
    noise = correlated_noise(**fields)
    return [noise() for _ in range(count)]


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_factors_have_mean_one_and_the_deviation_asked_for(correlation):
    """Log-normal, whatever the correlation."""
    drawn = factors(60_000, noise_ratio=0.2, correlation=correlation, seed=7)
    assert fmean(drawn) == pytest.approx(1.0, abs=0.02)
    logs = [log(factor) for factor in drawn]
    assert pstdev(logs) == pytest.approx(0.2, rel=0.05)
    middle = fmean(logs)
    centred = [value - middle for value in logs]
    together = fmean(a * b for a, b in pairwise(centred)) / fmean(a * a for a in centred)
    assert together == pytest.approx(correlation, abs=0.02)


def test_first_factor_is_as_spread_as_any():
    """The noise starts in its stationary state."""
    first = [
        log(factors(1, noise_ratio=0.2, correlation=0.9, seed=seed)[0]) for seed in range(4000)
    ]
    assert pstdev(first) == pytest.approx(0.2, rel=0.05)


def test_equal_seeds_give_equal_noise():
    """And none gives none."""
    assert factors(9, noise_ratio=0.2, seed=1) == factors(9, noise_ratio=0.2, seed=1)
    assert factors(9, noise_ratio=0.2, seed=1) != factors(9, noise_ratio=0.2, seed=2)
    assert factors(3, noise_ratio=0.0) == [1.0] * 3


@pytest.mark.parametrize(
    "wrong", [{"noise_ratio": -1.0}, {"noise_ratio": float("nan")}, {"correlation": 1.0}]
)
def test_nonsense_is_refused(wrong):
    """By its name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        correlated_noise(**{"noise_ratio": 0.1, **wrong})
