"""Counts divided over cells and exchanged between domains, and what repair adds to them."""

from collections import Counter
from dataclasses import replace

from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from planner.placement.counts.balance import balanced
from planner.placement.counts.capacity import Capacity
from planner.placement.counts.merging import merged_cells, summed
from planner.placement.counts.patterns import Patterns
from planner.placement.counts.problem import Problem
from planner.placement.counts.repair import repaired
from planner.placement.counts.split import split
from tests.planner.placement.drawn_counts import (
    CELL,
    SHAPE,
    WANTED,
    is_feasible,
    moves,
    problem_of,
    problems,
)

_QUICK = settings(
    max_examples=80,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
_TWO = (CELL, replace(CELL, domain=1))
_TWO_SHAPES = {
    "shapes": (SHAPE, replace(SHAPE, deployment=1)),
    "wanted": (WANTED, WANTED),
}
_PINNED_LAST = problem_of(cells=_TWO, **_TWO_SHAPES, held={(0, 0): 2}, least={(0, 1): 1})
_HOSTED = problem_of(
    cells=(
        replace(CELL, slots=4, host_bytes=3.0),
        replace(CELL, slots=4, host_bytes=3.0, domain=1),
    ),
    shapes=(replace(SHAPE, host_bytes=1.5), replace(SHAPE, deployment=1, host_bytes=3.0)),
    wanted=(
        replace(WANTED, classes=(replace(WANTED.classes[0], failover_ratio=1.0),)),
        WANTED,
    ),
)


def _totals(problem, counts):
    """By device type and shape."""
    totals = Counter()
    for (c, q), n in counts.items():
        totals[problem.cells[c].kind, q] += n
    return +totals


def _lacks(problem, counts):
    capacity = Capacity(problem, counts)
    return [capacity.lack(d) for d in range(len(problem.wanted))]


def _merged_of(problem, counts):
    """Counts summed over merged cells, and the merged cell of each."""
    _, member = merged_cells(problem)
    return summed(counts, member), member


@st.composite
def _divided(draw):
    """A problem with room to spare, and feasible counts of it."""
    problem = draw(problems(spare=True))
    found = dict(problem.held)
    for key in draw(st.permutations(_keys(problem))):
        for _ in range(draw(st.integers(0, 2))):
            more = found | {key: found.get(key, 0) + 1}
            if is_feasible(problem, more):
                found = more
    assume(is_feasible(problem, found))
    return problem, found


def _keys(problem: Problem):
    return [
        (c, q)
        for c in range(len(problem.cells))
        for q in range(len(problem.shapes))
        if problem.fits(c, q)
    ]


@_QUICK
@given(_divided())
@example((_PINNED_LAST, {(0, 0): 1, (0, 1): 1, (1, 0): 1}))
def test_split_keeps_every_limit_and_adds_nothing(drawn):
    """Devices, host memory, freezes, moves; never more than was to be divided."""
    problem, counts = drawn
    divided = split(problem, *_merged_of(problem, counts))

    assert is_feasible(problem, divided)
    assert _totals(problem, divided) <= _totals(problem, counts)


@_QUICK
@given(_divided())
def test_split_keeps_what_runs_when_totals_are_what_runs(drawn):
    """Sticky: dividing what runs changes nothing."""
    problem, counts = drawn
    as_it_runs = replace(problem, held=counts)

    assert split(as_it_runs, *_merged_of(problem, counts)) == {k: n for k, n in counts.items() if n}


@_QUICK
@given(_divided())
@example((_HOSTED, {(0, 0): 2, (1, 1): 1}))
def test_balanced_keeps_totals_and_limits_and_lacks_no_more(drawn):
    """Exchanges alone: as many of each shape, and the sum of what is lacking never rises."""
    problem, counts = drawn
    found = balanced(problem, counts)

    assert is_feasible(problem, found)
    assert _totals(problem, found) == _totals(problem, counts)
    assert sum(_lacks(problem, found)) <= sum(_lacks(problem, counts)) + 1e-9
    if all(lack <= 1e-6 for lack in _lacks(problem, counts)):
        assert found == {k: n for k, n in counts.items() if n}


def test_balanced_moves_a_replica_when_all_lie_in_one_domain():
    """Two replicas in one of two domains survive nothing; one in each survives either loss."""
    survives = replace(WANTED, classes=(replace(WANTED.classes[0], failover_ratio=1.0),))
    problem = problem_of(cells=_TWO, wanted=(survives,))

    assert balanced(problem, {(0, 0): 2}) == {(0, 0): 1, (1, 0): 1}
    assert balanced(replace(problem, least={(0, 0): 2}), {(0, 0): 2}) == {(0, 0): 2}
    no_moves = replace(problem, held={(0, 0): 2}, max_moves=0)
    assert balanced(no_moves, {(0, 0): 2}) == {(0, 0): 2}


@_QUICK
@given(_divided())
def test_repaired_keeps_every_limit_and_makes_nobody_shorter(drawn):
    """What runs, repaired: no deployment lacks more online work than before."""
    problem, counts = drawn
    problem = replace(problem, held=counts)
    found = repaired(problem, counts, {})

    assert is_feasible(problem, found)
    for before, after in zip(_lacks(problem, counts), _lacks(problem, found), strict=True):
        assert after <= before + 1e-6


def test_repaired_meets_a_pin_only_where_host_memory_takes_it():
    """Two replicas of 2 in 3: what runs stays, the pin is left to later; in 4 both are there."""
    shape = replace(SHAPE, host_bytes=2.0)
    small, large = (
        problem_of(
            cells=(replace(CELL, host_bytes=host),),
            shapes=(shape, replace(shape, deployment=1)),
            wanted=(replace(WANTED, min_replicas=1),) * 2,
            held={(0, 0): 1},
            least={(0, 1): 1},
        )
        for host in (3.0, 4.0)
    )

    assert repaired(small, small.held, {}) == {(0, 0): 1}
    assert repaired(large, large.held, {}) == {(0, 0): 1, (0, 1): 1}


def test_repaired_gives_up_no_replica_for_a_pin_that_finds_no_room():
    """At max_replicas one that is not pinned goes for the pin; not where the pin cannot be met."""
    cells = (CELL, replace(CELL, host_bytes=1.0))
    problem = problem_of(
        cells=cells,
        shapes=(replace(SHAPE, host_bytes=2.0),),
        wanted=(replace(WANTED, max_replicas=1),),
        held={(0, 0): 1},
        least={(1, 0): 1},
    )

    assert repaired(problem, problem.held, {}) == {(0, 0): 1}
    open_problem = replace(problem, cells=(CELL, CELL))
    assert repaired(open_problem, problem.held, {}) == {(1, 0): 1}


@settings(parent=_QUICK, max_examples=25)
@given(_divided())
def test_choice_is_feasible_once_divided_and_balanced(drawn):
    """What a search begins with from patterns keeps every limit, its moves too."""
    problem, _ = drawn
    patterns = Patterns(problem)
    patterns.keep({})
    patterns.explore(work_left=lambda: True)
    patterns.price(within=None, work_left=lambda: True)
    counts, _ = patterns.choice()
    found = balanced(problem, split(problem, counts, patterns.member))

    assert is_feasible(problem, found)
    assert problem.max_moves is None or moves(problem, found) <= problem.max_moves
