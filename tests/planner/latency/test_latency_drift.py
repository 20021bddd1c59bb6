"""Drift: the window's error and coverage, and when they stop being noise."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.latency.drift import (
    MIN_ITERATIONS,
    DriftLimits,
    DriftVerdict,
    DriftWindow,
)


def _run(window, *, count, slowdown=1.0, noise=0.1, seed=0, coverage=0.9):
    """An engine whose mean is 10 ms and whose bound holds 90 % at slowdown 1."""
    rng = random.Random(seed)
    for _ in range(count):
        window.add(
            predicted_ms=10.0,
            bound_ms=10.0 * (1.0 + 1.2816 * noise),  # the normal distribution's 0.9 quantile
            measured_ms=10.0 * slowdown * rng.gauss(1.0, noise),
            coverage_ratio=coverage,
        )
    return window.report()


@pytest.mark.parametrize("seed", range(5))
def test_drift_holds_when_the_engine_is_as_modelled(seed):
    """Noise that the bound was calibrated for is no drift."""
    report = _run(DriftWindow(), count=2000, seed=seed)
    assert report.verdict is DriftVerdict.HOLDS
    assert report.coverage_ratio == pytest.approx(0.9, abs=0.05)
    assert report.error_ratio == pytest.approx(0.08, abs=0.02)
    assert report.target_coverage_ratio == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("slowdown", "verdict"),
    [
        (1.15, DriftVerdict.COVERAGE_TOO_LOW),
        (1.6, DriftVerdict.ERROR_TOO_LARGE),
        (0.5, DriftVerdict.ERROR_TOO_LARGE),
    ],
)
def test_drift_is_seen_when_the_engine_slows_or_speeds(slowdown, verdict):
    """A little slower breaks the bound before the mean; much slower or faster, the mean."""
    window = DriftWindow()
    assert _run(window, count=600).verdict is DriftVerdict.HOLDS
    assert _run(window, count=600, slowdown=slowdown, seed=1).verdict is verdict


def test_drift_says_nothing_when_iterations_are_too_few():
    """Also a wildly wrong model is not judged on a handful."""
    window = DriftWindow()
    assert window.report().verdict is DriftVerdict.TOO_FEW
    assert math.isnan(window.report().error_ratio)
    assert _run(window, count=MIN_ITERATIONS - 1, slowdown=9.0).verdict is DriftVerdict.TOO_FEW
    assert _run(window, count=1, slowdown=9.0).verdict is DriftVerdict.ERROR_TOO_LARGE
    window.clear()
    assert window.report().verdict is DriftVerdict.TOO_FEW


def test_drift_does_not_judge_coverage_when_the_bound_is_uncalibrated():
    """Defaults promise no coverage, so they cannot break it."""
    report = _run(DriftWindow(), count=600, slowdown=1.2, coverage=0.0)
    assert report.verdict is DriftVerdict.HOLDS
    assert report.target_coverage_ratio == 0.0 and report.coverage_ratio < 0.5


@given(
    entries=st.lists(
        st.tuples(st.floats(allow_nan=True), st.floats(allow_nan=True), st.floats(allow_nan=True)),
        max_size=60,
    )
)
def test_drift_report_is_that_of_the_newest_whatever_comes(entries):
    """The window forgets; what measures nothing leaves no trace; errors stay within 1."""
    limits = DriftLimits(min_iterations=1)
    window, newest = DriftWindow(size=16, limits=limits), DriftWindow(size=16, limits=limits)
    taken = [
        entry
        for entry in entries
        if window.add(
            predicted_ms=entry[0], bound_ms=entry[1], measured_ms=entry[2], coverage_ratio=0.9
        )
    ]
    assert all(math.isfinite(entry[2]) and entry[2] > 0.0 for entry in taken)
    assert len(window) == min(16, len(taken))
    for predicted, bound, measured in taken[-16:]:
        newest.add(predicted_ms=predicted, bound_ms=bound, measured_ms=measured, coverage_ratio=0.9)
    if taken:
        assert window.report() == newest.report()
        assert 0.0 <= window.report().error_ratio <= 1.0


@pytest.mark.parametrize(
    "limits",
    [
        {"max_error_ratio": float("nan")},
        {"max_error_ratio": 0.0},
        {"max_coverage_lack": -0.1},
        {"max_coverage_lack": 1.5},
        {"min_iterations": 0},
    ],
)
def test_drift_refuses_limits_that_decide_nothing(limits):
    """The message names the limit."""
    with pytest.raises(ValueError, match=next(iter(limits))):
        DriftLimits(**limits)


def test_drift_refuses_a_window_too_small_for_a_verdict():
    """The message says how many it takes."""
    with pytest.raises(ValueError, match=f"below the {MIN_ITERATIONS}"):
        DriftWindow(size=MIN_ITERATIONS - 1)
