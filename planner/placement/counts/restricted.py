"""A MIP around the LP's counts: the first good counts of a whole fleet.

Owns the window left open around the relaxation. Rounding the LP is useless (tail models
get no replica at all), and a window of floor to ceiling alone is poor: one more on either
side, a small window for deployments that the LP gives a fraction of a replica, and
failover asked with a margin are what make it work.
"""

import math
from dataclasses import dataclass

from planner.placement.counts.merging import merged_cells
from planner.placement.counts.problem import Problem
from planner.placement.counts.programme import Part, Programme, whole
from planner.placement.counts.solver import solve_lp, solve_mip

FAILOVER_MARGINS = (1.0, 1.04)
"""Failover asked of merged cells: as it is, and with what dividing them over domains loses."""

_TAIL_REPLICAS = 3.0
_TAIL_WINDOW = 2
_ZERO = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """Counts by device type, and what was proven on the way."""

    counts: dict[tuple[int, int], int]  # (merged cell, shape)
    merged: Problem
    member: tuple[int, ...]  # of each cell: its merged one


def lp_bound(problem: Problem) -> float:
    """A lower bound on the weighted cost of any counts.

    Raises:
        SolverError: The solver failed.
    """
    merged, _ = merged_cells(problem)
    programme = Programme(merged, whole(merged), counts={})
    constant = merged.weights.drop * sum(merged.held.values())
    return solve_lp(programme.sparse.proto(is_relaxed=True)).bound + constant


def guess(problem: Problem, *, failover: float, node_limit: int, relative_gap: float) -> Guess:
    """Counts of the merged problem from a MIP restricted to a window around its LP.

    Args:
        problem: All of it.
        failover: Factor on the failover asked for.
        node_limit: Nodes of branch and bound.
        relative_gap: Where to stop.

    Raises:
        SolverError: The solver failed.
    """
    merged, member = merged_cells(problem.scaled(failover=failover))
    relaxed = Programme(merged, whole(merged), counts={})
    values = solve_lp(relaxed.sparse.proto(is_relaxed=True)).values
    share: dict[int, float] = {}
    for (_, q), column in relaxed.n.items():
        d = merged.shapes[q].deployment
        share[d] = share.get(d, 0.0) + values[column]
    bounds: dict[tuple[int, int], tuple[int, int]] = {}
    for (c, q), column in relaxed.n.items():
        value = values[column]
        fits = int(relaxed.sparse.upper[column])
        if value > _ZERO:
            above = 2 if value < _TAIL_WINDOW else 1
            low = max(0, math.floor(value) - 1)
            bounds[c, q] = (low, min(fits, math.ceil(value) + above))
        elif share[merged.shapes[q].deployment] < _TAIL_REPLICAS:
            bounds[c, q] = (0, min(fits, _TAIL_WINDOW))
        else:
            bounds[c, q] = (0, min(fits, merged.held.get((c, q), 0)))
    part = Part(deployments=whole(merged).deployments, cells=whole(merged).cells, bounds=bounds)
    programme = Programme(merged, part, counts={})
    solution = solve_mip(programme.sparse.proto(), node_limit=node_limit, relative_gap=relative_gap)
    counts = {key: round(solution.values[column]) for key, column in programme.n.items()}
    return Guess(
        counts={key: count for key, count in counts.items() if count},
        merged=merged,
        member=member,
    )
