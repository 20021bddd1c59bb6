"""Better and better counts of one problem, until the work is spent.

Owns the order of the stages: what runs; a guess where that is far from the bound, bettered
by parts while it is still in counts by device type, which are few and not alike; then parts
of the counts in cells. Refuses time: it asks a callable whether work is left.
Invariants: each standing yielded is better than the one before; the same problem, seed and
limits give the same standings, wherever they run.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from planner.placement.counts.balance import balanced
from planner.placement.counts.neighbourhoods import SHORT_KINDS, Drawing
from planner.placement.counts.problem import Counts, Problem
from planner.placement.counts.programme import Programme
from planner.placement.counts.repair import repaired
from planner.placement.counts.restricted import FAILOVER_MARGINS, Guess, guess
from planner.placement.counts.solver import SolverError, solve_mip
from planner.placement.counts.split import split
from planner.placement.counts.standing import Standing, merged, standing_of

_TAIL_REPLICAS = 10
"""Replicas a deployment on average, below which no guess is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a search may do; nodes and parts, never time.

    `parts` frees counts in cells, `merged_parts` counts by device type before they are
    divided over cells, `repairs` what is short once they are. The gaps are relative to what
    a programme answers.
    """

    seed: int = 0
    parts: int = 2_000
    merged_parts: int = 32
    divide_every: int = 8  # merged parts, after which their counts are divided and judged
    repairs: int = 8
    guess_nodes: int = 1
    guess_gap: float = 1e-2
    part_nodes: int = 5
    part_gap: float = 1e-3
    part_integers: float = 150.0
    merged_integers: float = 40.0
    guess_above: float = 0.02  # gap to the bound of what there is, from which a guess is made
    close_enough: float = 1e-4  # gap to the bound at which a search ends


def search(
    problem: Problem,
    start: Counts,
    *,
    bound: float,
    limits: Limits,
    work_left: Callable[[], bool],
) -> Iterator[Standing]:
    """Standings, each better than the last; the first is that of `start`.

    Args:
        problem: All of it.
        start: Counts that fit.
        bound: A lower bound of the weighted cost.
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
    if work_left() and gap(best, bound) > limits.guess_above and not _is_tail(problem, best):
        for guessed in _guessed(problem, limits=limits, work_left=work_left):
            for found in _repaired(problem, guessed, limits=limits, work_left=work_left):
                if found.is_better(best):
                    best = found
                    yield best
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
    for found in parts:
        yield found
        if gap(found, bound) <= limits.close_enough:
            return


def gap(standing: Standing, bound: float) -> float:
    """By how much of its own size a standing may be worse than the best there is."""
    return max(0.0, standing.cost - bound) / max(1.0, abs(standing.cost))


def _guessed(
    problem: Problem, *, limits: Limits, work_left: Callable[[], bool]
) -> Iterator[Standing]:
    """The guess divided over the cells, as it is and after parts of it were freed."""
    chosen: tuple[Guess, Standing] | None = None
    for margin in FAILOVER_MARGINS:
        try:
            made = guess(
                problem,
                failover=margin,
                node_limit=limits.guess_nodes,
                relative_gap=limits.guess_gap,
            )
            found = standing_of(problem, balanced(problem, split(problem, made)))
        except SolverError:
            continue  # what there is stands; parts go on from it
        if chosen is None or found.is_better(chosen[1]):
            chosen = made, found
        if not found.has_shortfall or not work_left():
            break  # dividing it lost nothing, so no margin is needed
    if chosen is None:
        return
    yield chosen[1]
    made = chosen[0]
    try:
        best = standing_of(made.merged, made.counts)
        drawing = Drawing(
            problem=made.merged,
            random=random.Random(limits.seed),
            integers=limits.merged_integers,
        )
        for parts in _portions(limits.merged_parts, limits.divide_every):
            before = best
            for found in _improved(
                made.merged, best, drawing=drawing, parts=parts, limits=limits, work_left=work_left
            ):
                best = found
            if best is not before:
                divided = split(problem, replace(made, counts=dict(best.counts)))
                yield standing_of(problem, balanced(problem, divided))
            if not work_left():
                return
    except SolverError:
        return


def _is_tail(problem: Problem, standing: Standing) -> bool:
    """Whether most deployments have but a few replicas.

    Merged counts then promise domains that dividing them cannot keep, and their MIP's root
    takes longer than parts take to get further.
    """
    return sum(standing.counts.values()) < _TAIL_REPLICAS * len(problem.wanted)


def _portions(whole: int, each: int) -> Iterator[int]:
    for done in range(0, whole, each):
        yield min(each, whole - done)


def _repaired(
    problem: Problem, guessed: Standing, *, limits: Limits, work_left: Callable[[], bool]
) -> Iterator[Standing]:
    """A guess, and the same with parts of it freed as long as dividing it lost something."""
    yield guessed
    if not guessed.has_shortfall:
        return
    drawing = Drawing(
        problem=problem,
        random=random.Random(limits.seed),
        integers=limits.part_integers,
        kinds=SHORT_KINDS,
    )
    for found in _improved(
        problem,
        guessed,
        drawing=drawing,
        parts=limits.repairs,
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
    for _ in range(parts):
        if not work_left():
            return
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
            best = found
            yield best
