"""What is counted: what fits, and what must be left when a failure domain is lost."""

from dataclasses import replace

import pytest

from tests.planner.placement.drawn_counts import CELL, SHAPE, WANTED, problem_of


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
