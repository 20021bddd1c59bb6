"""What running replicas must leave borne to be given up for their devices' cost alone.

Owns the hysteresis of device cost. Demand flickers of itself (`DEMAND_TOLERANCE`), so a
replica that today's demand does not need would come back with tomorrow's: what is left has to
bear a demand that much higher, or as much of it as what runs bears. Refuses to ask for more
than what runs: no row asks for a replica to be added. Refuses strictness: it is a cost, below
every tier and above the devices of a replica, so what others are short of takes precedence.

A deployment's replicas bear online work X and offline work Y together if, for every direction
(a, b) >= 0, `sum_q N[q]*max{a*x + b*y of shape q} >= a*X + b*Y`; the normals of the shapes'
own segments decide (edges of a sum of polygons are those of its summands). So

    sum_q gives[q]*N[q] + needed*reserve_short/size >= needed
    needed = min((1 + DEMAND_TOLERANCE)*(a*X + b*Y), what replicas that run give)

for each of them, with Y what deadlines rest on, and the same of failover; size is X + Y in
replica-equivalents, at least 1. With several SLO classes directions are those of
`online_needs`, and one of offline work alone.

What a demand `DEMAND_GROWTH` higher would ask for is liked wherever it costs less than a
device (a column of its own, `spare`): of devices that cost alike, those that bear more are
taken.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from planner.placement.counts.domains import add_need
from planner.placement.counts.problem import (
    Counts,
    Mode,
    Problem,
    Reserve,
    Shape,
    failover_needs,
    online_needs,
)

if TYPE_CHECKING:
    from planner.placement.counts.programme import Programme

DEMAND_TOLERANCE = 0.1
"""By how much demand is expected to flicker from round to round, of itself."""
DEMAND_GROWTH = 0.5
"""By how much more demand is liked to be borne, where that costs nothing."""

_LEAST = 1e-9
_SHORT = 1e-6  # replica-equivalents

_Need: TypeAlias = tuple[float, tuple[float, ...]]


def with_reserves(problem: Problem) -> Problem:
    """The problem with the reserves of what runs.

    Args:
        problem: All of it, its cells in domains.
    """
    return replace(
        problem, reserves=tuple(tuple(_reserves(problem, d)) for d in range(len(problem.wanted)))
    )


def add_reserve(programme: "Programme", d: int) -> None:
    """Rows of one deployment's reserves, and what it gives up of them."""
    problem = programme.problem
    rows = problem.reserves[d] if problem.reserves else ()
    if not rows:
        return
    columns: dict[bool, int] = {}
    for is_spare, tier, weight in (
        (False, "reserve", problem.weights.reserve),
        (True, "spare", problem.weights.spare),
    ):
        # At the most all of it is short, where the deployment has no replica.
        most = max((row.needed / row.unit for row in rows if row.is_spare is is_spare), default=0.0)
        columns[is_spare] = programme.missing(tier, (d,), weight, upper=most)
    for row in rows:
        unit = columns[row.is_spare], row.unit
        if row.is_lost:
            shapes = programme.shapes[d]
            add_need(programme, shapes, row.gives, needed=row.needed, short=unit)
            continue
        terms, given = [unit], 0.0
        for q, each in zip(programme.shapes[d], row.gives, strict=True):
            replicas, constant = programme.terms(q)
            terms += [(column, each * value) for column, value in replicas]
            given += each * constant
        programme.sparse.at_least(terms, row.needed - given)


def is_borne(problem: Problem, d: int, counts: Counts) -> bool:
    """Whether counts bear a deployment's demand of requests, deadlines and failover."""
    return all(given >= wanted - _SHORT for wanted, given, _, _ in _directions(problem, d, counts))


def _reserves(problem: Problem, d: int) -> Iterator[Reserve]:
    size = max(1.0, _online(problem, d) + _deadlines(problem, d))
    for wanted, held, gives, is_lost in _directions(problem, d, problem.held):
        if held > wanted + _LEAST:
            needed = min((1.0 + DEMAND_TOLERANCE) * wanted, held)
            yield Reserve(needed=needed, gives=gives, unit=needed / size, is_lost=is_lost)
        if not is_lost:
            spare = DEMAND_GROWTH * wanted
            yield Reserve(needed=wanted + spare, gives=gives, unit=spare, is_spare=True)


def _directions(
    problem: Problem, d: int, counts: Counts
) -> Iterator[tuple[float, float, tuple[float, ...], bool]]:
    """Of each direction what is wanted, what counts give, and what a replica of each shape.

    Last whether it is of what is left without the worst failure domain.
    """
    indices = problem.shapes_of(d)
    shapes = tuple(problem.shapes[q] for q in indices)
    rank = {q: i for i, q in enumerate(indices)}
    of_domain: dict[int | None, list[tuple[int, int]]] = defaultdict(list)
    for (c, q), count in counts.items():
        if q in rank:
            of_domain[problem.cells[c].domain].append((rank[q], count))
    needs = [(need, False) for need in _needs(problem, d, shapes)]
    needs += [(need, True) for need in failover_needs(problem.wanted[d], shapes)]
    for (wanted, gives), is_lost in needs:
        each = [sum(gives[i] * count for i, count in own) for own in of_domain.values()]
        given = sum(each) - (max(each, default=0.0) if is_lost else 0.0)
        yield wanted, given, gives, is_lost


def _needs(problem: Problem, d: int, shapes: tuple[Shape, ...]) -> Iterator[_Need]:
    """Directions of the work a deployment must bear: (needed, what a replica of each gives)."""
    online, offline = _online(problem, d), _deadlines(problem, d)
    if len(problem.wanted[d].classes) > 1:
        yield from online_needs(problem.wanted[d], shapes)
        normals = {(0.0, 1.0)}
    else:
        normals = {(1.0, 0.0), (0.0, 1.0)} | {
            (alpha, beta)
            for shape in shapes
            for mode in shape.modes
            for alpha, beta, _ in mode.segments
        }
    for alpha, beta in sorted(normals):
        needed = alpha * online + beta * offline
        if needed > _LEAST:
            yield needed, tuple(_most(shape, alpha, beta) for shape in shapes)


def _most(shape: Shape, alpha: float, beta: float) -> float:
    """Greatest `alpha*x + beta*y` that a replica bears, in any of its modes."""
    return max(
        (alpha * x + beta * y for mode in shape.modes for x, y in _corners(mode)), default=0.0
    )


def _corners(mode: Mode) -> Iterator[tuple[float, float]]:
    """Points of a mode's frontier between which it is straight, and some inside."""
    lines = [(alpha / beta, gamma / beta) for alpha, beta, gamma in mode.segments]
    if not lines:
        yield mode.max_online, 0.0
        return
    at = {0.0, mode.max_online}
    for i, (slope, height) in enumerate(lines):
        for other, top in lines[i + 1 :]:
            if slope != other:
                at.add((height - top) / (slope - other))
    for x in sorted(at):
        if 0.0 <= x <= mode.max_online:
            yield x, max(0.0, _height(lines, x))


def _height(lines: Sequence[tuple[float, float]], x: float) -> float:
    return min(height - slope * x for slope, height in lines)


def _online(problem: Problem, d: int) -> float:
    return sum(cls.work for cls in problem.wanted[d].classes)


def _deadlines(problem: Problem, d: int) -> float:
    return sum(one.least for one in problem.offline if one.deployment == d)
