"""What runs beyond what would fit today: bounds stay bounds, and it may stay."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.placement.counts.merging import merged_cells
from planner.placement.counts.patterns import Patterns
from planner.placement.counts.programme import Programme, whole
from planner.placement.counts.solver import solve_lp
from planner.placement.counts.standing import standing_of
from tests.planner.placement.drawn_counts import CELL, SHAPE, WANTED, problem_of, problems

_FEW = settings(
    max_examples=40,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize(
    "fields",
    [
        {"cells": (replace(CELL, host_bytes=1.0),), "shapes": (replace(SHAPE, host_bytes=1.0),)},
        {"wanted": (replace(WANTED, is_alone=True),)},
        {"most": {(0, 0): 1}},
        {"cells": (replace(CELL, slots=1),)},
        {"cells": (replace(CELL, slots=1, node_cost=0.0),)},
    ],
    ids=["host memory", "anti-affinity", "closed", "devices", "devices for nothing"],
)
def test_bound_is_no_more_than_what_runs_costs_when_more_runs_than_would_fit(fields):
    """Two replicas run and serve; were one all that fits, half of the work would be short."""
    problem = problem_of(held={(0, 0): 2}, **fields)
    problem = replace(
        problem,
        wanted=tuple(
            replace(one, classes=(replace(one.classes[0], work=1.0),)) for one in problem.wanted
        ),
    )
    runs = standing_of(problem, problem.held)

    assert problem.fits(0, 0) < 2
    assert runs.shortfalls[1] == pytest.approx(0.0)
    assert Patterns(problem).bound <= runs.cost + 1e-6
    assert _whole_bound(problem) <= runs.cost + 1e-6


@_FEW
@given(problems(), st.data())
def test_bound_is_no_more_than_what_runs_costs_when_a_fleet_shrinks(problem, data):
    """Memory, devices or permissions are taken away under what runs, and some of it goes."""
    shrunk = replace(
        problem,
        cells=tuple(
            replace(
                cell,
                host_bytes=data.draw(st.sampled_from([cell.host_bytes, 1.0])),
                slots=data.draw(st.sampled_from([cell.slots, 1])),
            )
            for cell in problem.cells
        ),
        most={key: 0 for key in problem.held if data.draw(st.booleans())},
        max_moves=None,
    )
    stays = {
        key: data.draw(st.integers(problem.least.get(key, 0), count))
        for key, count in problem.held.items()
    }

    cost = standing_of(shrunk, stays).cost
    assert Patterns(shrunk).bound <= cost + 1e-5 * max(1.0, abs(cost))
    assert _whole_bound(shrunk) <= cost + 1e-5 * max(1.0, abs(cost))


def _whole_bound(problem):
    """Of the LP in cells, as `Patterns.bound` is of merged ones."""
    assert merged_cells(problem)[0].domains == problem.domains
    programme = Programme(problem, whole(problem), counts={})
    constant = problem.weights.drop * sum(problem.held.values())
    return solve_lp(programme.sparse.proto(is_relaxed=True)).bound + constant
