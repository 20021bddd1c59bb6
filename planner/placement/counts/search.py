"""Better and better counts of one problem, until the work is spent.

Owns the order of the stages: what runs; its repair, with what is free filled with
offline work (`filling`); all of it at once where it is small;
what is lacking, sought near what runs (`parts`); choices of patterns where what there is is
far from the bound (`choices`); then parts of the counts in cells, each freed and solved.
Refuses time: it asks a callable whether work is left. Invariants: each standing yielded is
better than the one before; the same problem, seed and limits give the same standings,
wherever they run.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator

from planner.placement.counts.choices import chosen
from planner.placement.counts.filling import filled
from planner.placement.counts.limits import Limits
from planner.placement.counts.neighbourhoods import SHORT_KINDS, Drawing, Kind
from planner.placement.counts.parts import improved
from planner.placement.counts.patterns import Patterns
from planner.placement.counts.problem import Problem
from planner.placement.counts.programme import Programme, whole
from planner.placement.counts.repair import repaired
from planner.placement.counts.solver import SolverError, solve_mip
from planner.placement.counts.standing import Standing, merged, standing_of

_WHOLE_GAP = 1e-6


def search(
    problem: Problem,
    start: Standing,
    *,
    patterns: Patterns,
    limits: Limits,
    work_left: Callable[[], bool],
) -> Iterator[Standing]:
    """Standings, each better than the last and than `start`.

    Args:
        problem: All of it.
        start: Of counts that fit.
        patterns: Of the problem, or of one that allows more; its bound may rise on the way.
        limits: How much to do.
        work_left: False ends the search.
    """
    best = begun = start
    if work_left():
        counts = best.counts
        if best.has_shortfall:
            # On an empty fleet nobody has to yield for deadlines, and what is free goes to the
            # most valuable work.
            has_deadlines = bool(problem.held)
            counts = repaired(problem, counts, best.offline, has_deadlines=has_deadlines)
        counts = filled(problem, counts, best.offline)
        if counts != best.counts:
            found = standing_of(problem, counts, near=best)
            if found.cost < best.cost:
                begun = found  # better or not: a little of an early tier is short, say
            if found.is_better(best):
                best = found
                yield best
    if not work_left() or best.gap(patterns.bound) <= limits.close_enough:
        return
    is_small = _size(problem) <= limits.whole_integers
    if is_small:
        found, is_proven = _whole(problem, patterns, best, nodes=limits.whole_nodes)
        if found.is_better(best):
            best = begun = found
            yield best
        found = _in_tiers(problem, best)
        is_proven = is_proven and found is best
        if found is not best:
            best = begun = found
            yield best
        if is_proven:
            return
    # Of what runs most is right already: what it lacks is first sought nearby, and more than
    # that where few parts are all of it.
    has_few_parts = _size(problem) <= limits.first_parts * limits.part_integers
    if problem.held and (begun.has_shortfall or has_few_parts):
        nearby = improved(
            problem,
            begun,
            drawing=Drawing(
                problem=problem,
                random=random.Random(limits.seed),
                integers=limits.part_integers,
                kinds=SHORT_KINDS if begun.has_shortfall else frozenset(Kind),
            ),
            parts=limits.first_parts,
            limits=limits,
            work_left=work_left,
        )
        for found in nearby:
            if found.is_better(best):
                best = found
                yield best
            if not found.has_shortfall and not has_few_parts:
                break
    if best.gap(patterns.bound) > limits.choose_above:
        try:
            for found in chosen(problem, patterns, best, limits=limits, work_left=work_left):
                if found.is_better(best):
                    best = found
                    yield best
        except SolverError:
            pass  # what there is stands; parts go on from it
        if work_left():
            found = _in_tiers(problem, best)
            if found is not best:
                best = found
                yield best
    parts = improved(
        problem,
        best,
        drawing=Drawing(
            problem=problem, random=random.Random(limits.seed), integers=limits.part_integers
        ),
        parts=limits.parts,
        limits=limits,
        work_left=work_left,
    )
    for best in parts:
        yield best
        if best.gap(patterns.bound) <= limits.close_enough:
            return
    if is_small and work_left():
        found, _ = _whole(problem, patterns, best, nodes=limits.last_nodes)
        if found.is_better(best):
            yield found


def _size(problem: Problem) -> int:
    """Integers of the whole programme, about."""
    kinds = Counter(cell.kind for cell in problem.cells)
    return sum(kinds[shape.kind] + len(shape.modes) - 1 for shape in problem.shapes)


def _in_tiers(problem: Problem, best: Standing) -> Standing:
    """The same with later tiers yielding to earlier ones, where weights put them the other way."""
    if not best.has_shortfall:
        return best
    counts = repaired(problem, best.counts, best.offline)
    found = standing_of(problem, counts, near=best)
    return found if found.is_better(best) else best


def _whole(
    problem: Problem, patterns: Patterns, best: Standing, *, nodes: int
) -> tuple[Standing, bool]:
    """The answer to all of a small problem at once, and whether it is proven."""
    programme = Programme(problem, whole(problem), counts={})
    start = {column: float(best.counts.get(key, 0)) for key, column in programme.n.items()}
    start |= {column: float(best.modes.get(key, 0)) for key, column in programme.r.items()}
    try:
        solution = solve_mip(
            programme.sparse.proto(),
            node_limit=nodes,
            relative_gap=_WHOLE_GAP,
            start=start,
        )
    except SolverError:
        return best, False  # parts go on
    if problem is patterns.problem:  # of a narrower one it proves nothing
        patterns.raise_bound(solution.bound)
    return merged(problem, programme, solution, None, {}), solution.is_optimal
