"""Choices of patterns made counts by cell.

Owns which prices are tried in which order, and what becomes of a choice: divided over the
cells, blamed for what is lost on the way, repaired where it is near the bound. Refuses to
price or to choose: `patterns` does. Deterministic by seed.
"""

import math
import random
from collections.abc import Callable, Iterator

from planner.placement.counts.balance import balanced
from planner.placement.counts.limits import Limits
from planner.placement.counts.merging import summed
from planner.placement.counts.neighbourhoods import SHORT_KINDS, Drawing
from planner.placement.counts.parts import improved
from planner.placement.counts.patterns import Patterns
from planner.placement.counts.problem import Counts, Problem
from planner.placement.counts.split import split
from planner.placement.counts.standing import Standing, standing_of

_PRICE_RANGES = (None, 0.1, 0.05)
"""By how much of themselves prices follow the mixture of patterns, round by round."""
_VARIATIONS = (0.2, 0.4, 0.8)
"""By how much prices are varied then, in turn."""
_REPAIR_EVERY = 5  # steps, near the bound or not
_IDLE = 0  # steps without gain, after which parts of a choice are freed
_LOST = 1e-3  # replica-equivalents of failover


def chosen(
    problem: Problem,
    patterns: Patterns,
    start: Standing,
    *,
    limits: Limits,
    work_left: Callable[[], bool],
) -> Iterator[Standing]:
    """Choices of patterns divided over the cells, each again as long as repairing it helps.

    Prices are bettered, then varied; where that no longer helps, parts of the choice are
    freed, which brings new patterns. Where something runs that a choice does not better, it
    ends: parts find more there.

    Args:
        problem: All of it.
        patterns: Of the problem; those found are kept there, and its bound may rise.
        start: What a choice has to cost less than.
        limits: How much to do.
        work_left: False ends it.

    Raises:
        SolverError: The solver failed.
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
        if problem.held and step > 0 and cost >= start.cost:
            return
        before = cost
        is_near = cost - patterns.bound < limits.repair_below * abs(cost)
        if cost >= start.cost or (
            cost > divided_at - limits.merged_gap * abs(cost) and step % _REPAIR_EVERY
        ):
            continue
        divided_at = cost
        divided = _divided(problem, patterns, counts, limits=limits, work_left=work_left)
        is_worth_repair = is_near or step % _REPAIR_EVERY == _REPAIR_EVERY - 1
        is_better = False
        for found in _repaired(
            problem,
            divided,
            repairs=limits.repairs if is_worth_repair else 0,
            limits=limits,
            work_left=work_left,
        ):
            yield found
            is_better = is_better or found.is_better(start)
        if not work_left() or divided.gap(patterns.bound) < limits.merged_gap:
            return
        if problem.held and not is_better:
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
    for found in improved(
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
    for found in improved(
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
