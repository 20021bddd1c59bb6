"""The line through measured points, and its nearest that never falls."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import tables

from planner.hardware.curve import Curve


@given(points=tables(99))
def test_curve_goes_through_its_points(points):
    """Exact where measured, level before the first."""
    curve = Curve.through(points)
    for at, value in points.items():
        assert curve(at) == pytest.approx(value, abs=1e-9)
    assert curve(0.5) == curve(min(points))


def test_curve_goes_on_as_its_upper_half_rose():
    """The last two points, which jitter, do not say how it goes on."""
    curve = Curve.through({1.0: 1.0, 50.0: 10.0, 99.0: 21.0, 100.0: 20.0})
    assert curve(75.0) == pytest.approx(10.0 + 11.0 * 25.0 / 49.0)
    assert curve(200.0) == pytest.approx(20.0 + 10.0 * 100.0 / 50.0)
    assert Curve.through({1.0: 2.0, 2.0: 1.0})(9.0) == 1.0


@given(points=tables(99), at=st.lists(st.floats(0.0, 300.0), min_size=2))
def test_monotone_curve_never_falls(points, at):
    """Between, before and beyond its points."""
    curve = Curve.through(points).monotone()
    values = [curve(place) for place in sorted(at)]
    for low, high in pairwise(values):
        assert high >= low - 1e-9


@given(values=st.lists(st.integers(0, 6), min_size=2, max_size=6))
def test_monotone_curve_is_the_nearest(values):
    """Least squares: it is the best of all ways to pool neighbours, tried one by one."""
    read = Curve.through({float(i): float(v) for i, v in enumerate(values)}).monotone()

    def error(candidate):
        return sum((c - v) ** 2 for c, v in zip(candidate, values, strict=True))

    best = min(
        error(pooled)
        for count in range(len(values))
        for cuts in combinations(range(1, len(values)), count)
        if (pooled := _pooled(values, cuts)) == sorted(pooled)
    )
    assert list(read.values) == sorted(read.values)
    assert error(read.values) == pytest.approx(best, abs=1e-9)


def _pooled(values, cuts):
    edges = [0, *cuts, len(values)]
    pooled = []
    for start, end in pairwise(edges):
        pooled += [sum(values[start:end]) / (end - start)] * (end - start)
    return pooled


@given(points=tables(99))
def test_monotone_curve_of_one_that_rises_is_itself(points):
    """Nothing is changed where nothing falls."""
    rising = Curve.through(dict(zip(sorted(points), sorted(points.values()), strict=True)))
    assert rising.monotone().values == pytest.approx(rising.values)


def test_curve_of_one_point_is_refused():
    """No line goes through one point only."""
    with pytest.raises(ValueError, match="at least two"):
        Curve.through({1.0: 1.0})
