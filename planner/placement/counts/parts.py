"""Parts of the counts freed and solved, one after another: a large neighbourhood search.

Owns the loop and when it ends. Refuses to draw parts: `neighbourhoods` does. Invariant: what
it yields only gets better.
"""

from collections.abc import Callable, Iterator

from planner.placement.counts.limits import Limits
from planner.placement.counts.neighbourhoods import Drawing
from planner.placement.counts.problem import Problem
from planner.placement.counts.programme import Programme
from planner.placement.counts.solver import SolverError, solve_mip
from planner.placement.counts.standing import Standing, merged


def improved(
    problem: Problem,
    best: Standing,
    *,
    drawing: Drawing,
    parts: int,
    limits: Limits,
    work_left: Callable[[], bool],
) -> Iterator[Standing]:
    """Frees one part after another, and keeps what is better.

    Args:
        problem: All of it.
        best: Where to begin.
        drawing: Which parts; it learns how large they may be.
        parts: How many at the most.
        limits: How much to do in each.
        work_left: False ends it.

    Yields:
        Standings, each better than the one before and than `best`.
    """
    idle = 0
    for _ in range(parts):
        if not work_left() or idle >= limits.idle_parts:
            return
        idle += 1
        part = drawing.draw(best)
        programme = Programme(problem, part, counts=best.counts, offline=best.offline)
        start = {column: float(best.counts.get(key, 0)) for key, column in programme.n.items()}
        start |= {column: float(best.modes.get(key, 0)) for key, column in programme.r.items()}
        try:
            solution = solve_mip(
                programme.sparse.proto(),
                node_limit=limits.part_nodes,
                relative_gap=limits.part_gap,
                start=start,
            )
        except SolverError:
            drawing.learn(is_solved=False)
            continue
        drawing.learn(is_solved=solution.is_optimal)
        found = merged(problem, programme, solution, best, best.counts)
        if found.is_better(best):
            best, idle = found, 0
            yield best
