"""What is counted: what fits, and what must be left when a failure domain is lost."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from planner.placement.counts.problem import Mode, OnlineDemand, failover_needs
from tests.planner.placement.drawn_counts import CELL, ONLINE, SHAPE, WANTED, problem_of


@pytest.mark.parametrize(
    ("host_of_node", "host_of_replica", "is_alone", "most", "held"),
    [
        (float("inf"), 0.0, False, None, 8),
        (float("inf"), 3.0, False, None, 8),
        (10.0, 3.0, False, None, 6),
        (9.0, 3.0, False, None, 6),
        (2.0, 3.0, False, None, 0),
        (float("inf"), 3.0, True, None, 2),
        (10.0, 3.0, False, 1, 1),
    ],
)
def test_fits_counts_devices_and_host_memory_node_by_node(
    host_of_node, host_of_replica, is_alone, most, held
):
    """Two nodes of four devices; host memory that nobody told bounds nothing."""
    problem = problem_of(
        cells=(replace(CELL, nodes=2, slots=4, host_bytes=host_of_node),),
        shapes=(replace(SHAPE, host_bytes=host_of_replica),),
        wanted=(replace(WANTED, is_alone=is_alone),),
        most={} if most is None else {(0, 0): most},
    )

    assert problem.fits(0, 0) == held


@st.composite
def _two_classes(draw):
    bears = st.sampled_from([0.0, 0.1, 0.25, 0.4321, 0.7])
    shapes = tuple(
        replace(
            SHAPE,
            modes=(
                Mode(served=0, max_online=tight, segments=()),
                Mode(served=1, max_online=tight + draw(bears), segments=()),
            ),
        )
        for tight in draw(st.lists(bears, min_size=1, max_size=3))
    )
    work = st.sampled_from([0.0, 0.2, 0.61, 1.3])
    wanted = replace(
        WANTED,
        classes=tuple(
            OnlineDemand(
                work=draw(work), failover_ratio=draw(st.sampled_from([0.5, 1.0])), weight=1
            )
            for _ in range(2)
        ),
    )
    return wanted, shapes, tuple(draw(st.integers(0, 3)) for _ in shapes)


def _servable(wanted, shapes, left):
    """The largest part of all needs that so many replicas serve, their time divided freely."""
    needs = [one.failover_ratio * one.work for one in wanted.classes]
    n = len(shapes)
    # columns: time of each shape's replicas at tight, at loose; then the part
    serves = []
    for k in range(2):
        row = [-shape.modes[k].max_online if k == j else 0.0 for j in range(2) for shape in shapes]
        serves.append([*row, needs[k]])
    times = [[float(i % n == q) for i in range(2 * n)] + [0.0] for q in range(n)]
    found = linprog(
        [0.0] * (2 * n) + [-1.0],
        A_ub=serves + times,
        b_ub=[0.0, 0.0, *left],
        bounds=[(0.0, None)] * (2 * n) + [(0.0, 1.0)],
    )
    return found.x[-1]


@settings(max_examples=150, deadline=None, database=None, derandomize=True)
@given(_two_classes())
def test_needs_say_what_part_is_served_when_time_is_divided_among_two_classes(drawn):
    """Duality: the least fulfilled direction is the part that a linear programme reaches."""
    wanted, shapes, left = drawn
    part = min(
        (
            sum(n * gain for n, gain in zip(left, gives, strict=True)) / needed
            for needed, gives in failover_needs(wanted, shapes)
        ),
        default=1.0,
    )

    assert min(1.0, part) == pytest.approx(_servable(wanted, shapes, left), abs=1e-6)


def test_needs_hide_nothing_when_a_bend_has_many_digits():
    """At 0.51/0.3007 a rounded direction would pass what lacks half an engine-ms."""
    shapes = (
        replace(
            SHAPE,
            modes=(
                Mode(served=0, max_online=0.3007, segments=()),
                Mode(served=1, max_online=0.5100, segments=()),
            ),
        ),
    )
    classes = (replace(ONLINE, work=0.3007), replace(ONLINE, work=0.5105))
    wanted = replace(WANTED, classes=tuple(replace(one, failover_ratio=1.0) for one in classes))

    assert _servable(wanted, shapes, (2,)) < 1.0
    assert any(2 * gives[0] < needed - 1e-5 for needed, gives in failover_needs(wanted, shapes))


def test_needs_ask_the_tightest_mode_for_all_when_classes_are_three():
    """Enough, and perhaps more than is needed; with one class or none it is what is asked."""
    third = replace(ONLINE, work=0.4, failover_ratio=0.5)
    of = {n: failover_needs(replace(WANTED, classes=(third,) * n), (SHAPE,)) for n in (1, 3)}

    assert of[1] == ((0.2, (0.5,)),)
    assert of[3] == ((pytest.approx(0.6), (0.5,)),)
    assert failover_needs(WANTED, (SHAPE,)) == ()
