"""A curve through simulated points: it falls, is concave and promises no more than was seen."""

import itertools
from math import inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.interference.derive_hull import MOST_POINTS, frontier_through
from planner.interference.frontier import offline_limit, online_limit

_WORK = st.floats(0.0, 50_000.0)
_POINTS = st.lists(st.tuples(_WORK, _WORK), min_size=1, max_size=6)


def _heights(frontier, count=50):
    end = frontier.max_online_work
    return [offline_limit(frontier, end * i / count) for i in range(count + 1)]


@settings(max_examples=300, deadline=None)
@given(_POINTS)
def test_curve_falls_is_concave_and_exceeds_no_point(points):
    """Whatever was seen: losses grow with online work, and no point lies under the curve."""
    frontier = frontier_through(points, source="derived")
    heights = _heights(frontier)
    slack = 1e-6 * max(1.0, *(y for _, y in points))

    assert frontier.source == "derived"
    assert frontier.max_online_work == max(x for x, _ in points)
    assert online_limit(frontier) <= frontier.max_online_work
    losses = [one - other for one, other in itertools.pairwise(heights)]
    assert all(loss >= -slack for loss in losses)
    assert all(later >= earlier - slack for earlier, later in itertools.pairwise(losses))
    for x, y in points:
        assert offline_limit(frontier, x) <= y + slack


@settings(max_examples=200, deadline=None)
@given(_POINTS, st.floats(0.0, 1.0))
def test_curve_ends_at_a_point_within_what_may_be_given_up(points, ratio):
    """Online work is given up only as far as allowed, and never a point exceeded for it."""
    frontier = frontier_through(points, source="derived", least_online_ratio=ratio)
    slack = 1e-6 * max(1.0, *(y for _, y in points))

    assert frontier.max_online_work in {x for x, _ in points}
    assert frontier.max_online_work >= ratio * max(x for x, _ in points)
    for x, y in points:
        if x <= frontier.max_online_work:
            assert offline_limit(frontier, x) <= y + slack


def test_curve_runs_through_all_points_when_they_are_concave():
    """Chords, nothing pressed down: tangents would promise more than was seen between them."""
    points = [(0.0, 900.0), (300.0, 800.0), (600.0, 500.0), (700.0, 0.0)]
    frontier = frontier_through(points, source="derived")

    for x, y in points:
        assert offline_limit(frontier, x) == pytest.approx(y)
    assert offline_limit(frontier, 450.0) == pytest.approx(650.0)
    assert online_limit(frontier) == 700.0


def test_curve_gives_up_the_first_offline_work_when_online_presence_costs_most():
    """A cliff from idle to shared: the rest is kept, where scaling all would lose half of it."""
    points = [(0.0, 6213.0), (1359.0, 2756.0), (3549.0, 1379.0), (6512.0, 348.0)]
    frontier = frontier_through(points, source="derived")

    assert offline_limit(frontier, 3549.0) > 0.9 * 1379.0
    assert offline_limit(frontier, 0.0) < 6213.0


def test_curve_ends_early_when_the_last_level_would_leave_no_offline_work():
    """The last fifth of online work for nearly all offline work, where that may be given up."""
    points = [(0.0, 900.0), (400.0, 700.0), (800.0, 2.0), (1000.0, 1.0)]

    whole = frontier_through(points, source="derived")
    cut = frontier_through(points, source="derived", least_online_ratio=0.75)

    assert (whole.max_online_work, cut.max_online_work) == (1000.0, 800.0)
    assert offline_limit(whole, 400.0) < 10.0
    assert offline_limit(cut, 400.0) == pytest.approx(700.0)


def test_curve_keeps_all_online_work_when_little_is_to_be_had_for_it():
    """No level is given up for a few per cent of area."""
    points = [(0.0, 23000.0), (6450.0, 11921.0), (11765.0, 8931.0), (16159.0, 6439.0)]
    points += [(23310.0, 3807.0), (29981.0, 1598.0)]

    frontier = frontier_through(points, source="derived", least_online_ratio=0.75)
    assert frontier.max_online_work == 29981.0


def test_curve_is_level_when_there_is_one_point():
    """Offline-only: one figure at no online work."""
    frontier = frontier_through([(0.0, 5000.0)], source="derived")

    assert online_limit(frontier) == 0.0
    assert offline_limit(frontier, 0.0) == 5000.0


@pytest.mark.parametrize(
    "points", [[], [(0.0, -1.0)], [(nan, 1.0)], [(0.0, inf)], [(0.0, 1.0)] * (MOST_POINTS + 1)]
)
def test_curve_is_refused_when_points_are_out_of_range(points):
    """None, too many, or no numbers."""
    with pytest.raises(ValueError, match="frontier"):
        frontier_through(points, source="derived")
