"""Static caps interpolated to an SLO."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.colocate.caps import interpolate, within_limit

_curve = st.lists(
    st.tuples(st.floats(1.0, 1000.0), st.floats(0.0, 5000.0)), min_size=1, max_size=6
).map(lambda points: [(points[0][0], 0.0), *points[1:]])


def test_caps_are_interpolated_when_the_limit_lies_between_two() -> None:
    """Cap 1 at 100 ms does 500, cap 2 at 200 ms 900: 150 ms is worth 700."""
    curve = [(80.0, 0.0), (100.0, 500.0), (200.0, 900.0)]
    assert within_limit(curve, limit=150.0) == pytest.approx(700.0)
    assert within_limit(curve, limit=90.0) == pytest.approx(250.0)
    assert within_limit(curve, limit=1000.0) == 900.0
    assert within_limit(curve, limit=79.0) == 0.0


def test_caps_get_the_better_side_when_noise_bends_the_curve_back() -> None:
    """Cap 4 measured better than cap 2 counts for all it did."""
    curve = [(80.0, 0.0), (200.0, 500.0), (90.0, 900.0)]
    assert within_limit(curve, limit=100.0) == 900.0


@given(_curve, st.floats(1.0, 1000.0))
def test_caps_are_worth_at_least_each_that_holds_when_measured(
    curve: list[tuple[float, float]], limit: float
) -> None:
    """Benefit of the doubt: no measured cap within the limit does more."""
    worth = within_limit(curve, limit=limit)
    assert all(worth >= rate for metric, rate in curve if metric <= limit)
    assert worth <= max(rate for _, rate in curve)


@given(_curve, st.floats(1.0, 500.0), st.floats(0.0, 500.0))
def test_caps_are_worth_no_less_when_the_limit_is_wider(
    curve: list[tuple[float, float]], limit: float, more: float
) -> None:
    """Monotone in the limit."""
    assert within_limit(curve, limit=limit + more) >= within_limit(curve, limit=limit) - 1e-9


def test_the_tightest_metric_decides_when_there_are_several() -> None:
    """The least over metrics; without limits there is nothing to compare with."""
    curves = {"a": [(1.0, 0.0), (2.0, 100.0)], "b": [(1.0, 0.0), (3.0, 100.0)]}
    assert interpolate(curves, limits={"a": 2.0, "b": 2.0}) == pytest.approx(50.0)
    assert math.isnan(interpolate(curves, limits={}))
