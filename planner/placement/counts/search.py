"""Better and better counts of one problem, until the work is spent.

Owns the order of the stages: what runs; its repair; all of it at once where it is small;
else choices of patterns where what there is is far from the bound (`patterns`), divided over
cells and repaired; then parts of the counts in cells, each freed and solved (a large
neighbourhood search). Refuses time: it asks a callable whether work is left.
Invariants: each standing yielded is better than the one before; the same problem, seed and
limits give the same standings, wherever they run.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from planner.placement.counts.balance import balanced
from planner.placement.counts.merging import summed
from planner.placement.counts.neighbourhoods import SHORT_KINDS, Drawing, Kind
from planner.placement.counts.patterns import Patterns
from planner.placement.counts.problem import Counts, Problem
from planner.placement.counts.programme import Programme, whole
from planner.placement.counts.repair import repaired
from planner.placement.counts.solver import SolverError, solve_mip
from planner.placement.counts.split import split
from planner.placement.counts.standing import Standing, merged, standing_of

_PRICE_RANGES = (None, 0.1, 0.05)
"""By how much of themselves prices follow the mixture of patterns, round by round."""
_REPAIR_EVERY = 5  # steps, near the bound or not
_IDLE = 0  # steps without gain, after which parts of a choice are freed
_WHOLE_GAP = 1e-6
_LOST = 1e-3  # replica-equivalents of failover
_VARIATIONS = (0.2, 0.4, 0.8)
"""By how much prices are varied then, in turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a search may do; nodes and parts, never time.

    A problem of no more than `whole_integers` is solved whole. Deployments are solved at
    `prices` prices, a better choice is divided over cells up to `divisions`
    times; near the bound (`repair_below`) or now and then what is short is repaired in
    `repairs` parts; `merged_parts` free counts by device type, `parts` counts in cells. The
    gaps are relative to what a programme answers, `merged_gap` and the rest to the bound.
    """

    seed: int = 0
    parts: int = 2_000
    idle_parts: int = 150  # without gain, after which a search ends
    whole_integers: int = 150
    whole_nodes: int = 100
    last_nodes: int = 2_000  # of the whole, where parts no longer help
    first_parts: int = 8  # where something runs
    merged_parts: int = 3
    repairs: int = 8
    prices: int = 16
    divisions: int = 3
    repair_below: float = 0.02
    merged_gap: float = 1e-3
    part_nodes: int = 5
    part_gap: float = 1e-3
    part_integers: float = 150.0
    merged_integers: float = 40.0
    choose_above: float = 0.01  # gap to the bound of what there is, from which patterns are made
    close_enough: float = 1e-4  # gap to the bound at which a search ends


def search(
    problem: Problem,
    start: Counts,
    *,
    patterns: Patterns,
    limits: Limits,
    work_left: Callable[[], bool],
) -> Iterator[Standing]:
    """Standings, each better than the last; the first is that of `start`.

    Args:
        problem: All of it.
        start: Counts that fit.
        patterns: Of the problem; its bound may rise on the way.
        limits: How much to do.
        work_left: False ends the search.
    """
    best = standing_of(problem, start)
    yield best
    if work_left() and best.has_shortfall:
        found = standing_of(problem, repaired(problem, start))
        if found.is_better(best):
            best = found
            yield best
    if not work_left() or gap(best, patterns.bound) <= limits.close_enough:
        return
    is_small = _size(problem) <= limits.whole_integers
    if is_small:
        found, is_proven = _whole(problem, patterns, best, nodes=limits.whole_nodes)
        if found.is_better(best):
            best = found
            yield best
        if is_proven:
            return
    if problem.held:
        # Of what runs most is right already: what it lacks is first sought nearby.
        kinds = SHORT_KINDS if best.has_shortfall else frozenset(Kind)
        nearby = _improved(
            problem,
            best,
            drawing=Drawing(
                problem=problem,
                random=random.Random(limits.seed),
                integers=limits.part_integers,
                kinds=kinds,
            ),
            parts=limits.first_parts,
            limits=limits,
            work_left=work_left,
        )
        for best in nearby:
            yield best
    if gap(best, patterns.bound) > limits.choose_above:
        try:
            for divided, is_near in _chosen(
                problem, patterns, best, limits=limits, work_left=work_left
            ):
                repairs = limits.repairs if is_near else 0
                for found in _repaired(
                    problem, divided, repairs=repairs, limits=limits, work_left=work_left
                ):
                    if found.is_better(best):
                        best = found
                        yield best
        except SolverError:
            pass  # what there is stands; parts go on from it
    parts = _improved(
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
        if gap(best, patterns.bound) <= limits.close_enough:
            return
    if is_small and work_left():
        found, _ = _whole(problem, patterns, best, nodes=limits.last_nodes)
        if found.is_better(best):
            yield found


def gap(standing: Standing, bound: float) -> float:
    """By how much of its own size a standing may be worse than the best there is."""
    return max(0.0, standing.cost - bound) / max(1.0, abs(standing.cost))


def _size(problem: Problem) -> int:
    """Integers of the whole programme, about."""
    kinds = Counter(cell.kind for cell in problem.cells)
    return sum(kinds[shape.kind] + len(shape.modes) - 1 for shape in problem.shapes)


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
    patterns.raise_bound(solution.bound)
    return merged(problem, programme, solution, None, {}), solution.is_optimal


def _chosen(
    problem: Problem,
    patterns: Patterns,
    start: Standing,
    *,
    limits: Limits,
    work_left: Callable[[], bool],
) -> Iterator[tuple[Standing, bool]]:
    """Choices of patterns divided over the cells, and whether repairing one is worth it.

    Prices are bettered, then varied; where that no longer helps, parts of the choice are
    freed, which brings new patterns.
    """
    patterns.keep(summed(start.counts, patterns.member))
    patterns.explore(work_left=work_left)
    draw = random.Random(limits.seed)
    counts: Counts = {}
    before = divided_at = math.inf
    idle = 0
    for step in range(limits.prices):
        if step > 0 and not work_left():
            return
        if step < len(_PRICE_RANGES):
            patterns.price(within=_PRICE_RANGES[step], work_left=work_left)
            if step == 0 and not problem.held and work_left():
                continue  # of one or two patterns a deployment nothing good can be chosen
        else:
            by = _VARIATIONS[step % len(_VARIATIONS)]
            patterns.vary(draw, counts, by=by, work_left=work_left)
        counts, cost = patterns.choice()
        idle = idle + 1 if cost > before - limits.merged_gap * abs(cost) else 0
        if idle > _IDLE and step >= len(_PRICE_RANGES):
            _freed(patterns, counts, draw=draw, limits=limits, work_left=work_left)
            counts, cost = patterns.choice()
        before = cost
        is_near = cost - patterns.bound < limits.repair_below * abs(cost)
        if cost >= start.cost or (
            cost > divided_at - limits.merged_gap * abs(cost) and step % _REPAIR_EVERY
        ):
            continue
        divided_at = cost
        divided = _divided(problem, patterns, counts, limits=limits, work_left=work_left)
        yield divided, is_near or step % _REPAIR_EVERY == _REPAIR_EVERY - 1
        if not work_left() or gap(divided, patterns.bound) < limits.merged_gap:
            return


def _divided(
    problem: Problem,
    patterns: Patterns,
    counts: Counts,
    *,
    limits: Limits,
    work_left: Callable[[], bool],
) -> Standing:
    """The best of some choices once divided, each without what the last could not keep."""
    best: Standing | None = None
    for _ in range(limits.divisions):
        found = standing_of(problem, balanced(problem, split(problem, counts, patterns.member)))
        if best is None or found.is_better(best):
            best = found
        lost = {d: short for (d,), short in found.missing["failover"].items() if short > _LOST}
        if not lost or not work_left():
            break
        patterns.blame(lost)
        counts, _ = patterns.choice()
    assert best is not None
    return best


def _freed(
    patterns: Patterns,
    counts: Counts,
    *,
    draw: random.Random,
    limits: Limits,
    work_left: Callable[[], bool],
) -> None:
    """Patterns from parts of the merged counts."""
    problem = patterns.divisible
    for found in _improved(
        problem,
        standing_of(problem, counts),
        drawing=Drawing(problem=problem, random=draw, integers=limits.merged_integers),
        parts=limits.merged_parts,
        limits=limits,
        work_left=work_left,
    ):
        patterns.keep(found.counts)


def _repaired(
    problem: Problem,
    divided: Standing,
    *,
    repairs: int,
    limits: Limits,
    work_left: Callable[[], bool],
) -> Iterator[Standing]:
    """A division, and the same with parts freed as long as it lacks something."""
    yield divided
    if not divided.has_shortfall:
        return
    drawing = Drawing(
        problem=problem,
        random=random.Random(limits.seed),
        integers=limits.part_integers,
        kinds=SHORT_KINDS,
    )
    for found in _improved(
        problem,
        divided,
        drawing=drawing,
        parts=repairs,
        limits=limits,
        work_left=work_left,
    ):
        yield found
        if not found.has_shortfall:
            return


def _improved(
    problem: Problem,
    best: Standing,
    *,
    drawing: Drawing,
    parts: int,
    limits: Limits,
    work_left: Callable[[], bool],
) -> Iterator[Standing]:
    """Frees one part after another, and keeps what is better."""
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
