"""Deployments apart, the prices of what they share, and choices among their patterns."""

import itertools
import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from planner.placement.counts.blocks import Blocks, joined
from planner.placement.counts.evenness import Evenness
from planner.placement.counts.merging import merged_cells, summed
from planner.placement.counts.patterns import Patterns
from planner.placement.counts.problem import OnlineDemand, failover_needs
from planner.placement.counts.programme import Programme, whole
from planner.placement.counts.solver import solve_lp, solve_mip
from planner.placement.counts.standing import standing_of
from tests.planner.placement.drawn_counts import (
    CELL,
    SHAPE,
    WANTED,
    all_counts,
    is_feasible,
    moves,
    problem_of,
    problems,
)

_FEW = settings(
    max_examples=40,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def _always() -> bool:
    return True


def _priced(problem) -> Patterns:
    """Patterns after some prices and variations."""
    patterns = Patterns(problem)
    patterns.keep(summed(problem.held, patterns.member))
    patterns.explore(work_left=_always)
    for within in (None, 0.1):
        patterns.price(within=within, work_left=_always)
    counts, _ = patterns.choice()
    patterns.vary(random.Random(1), counts, by=0.5, work_left=_always)
    return patterns


@_FEW
@given(problems(deployments=3))
def test_blocks_joined_are_the_whole_programme(problem):
    """Apart and joined again: the relaxation and the answer cost what the whole's cost."""
    merged, _ = merged_cells(problem)
    together, offsets, rows = joined(Blocks(merged))
    direct = Programme(merged, whole(merged), counts={})

    relaxed = solve_lp(together.proto(is_relaxed=True))
    assert relaxed.cost == pytest.approx(
        solve_lp(direct.sparse.proto(is_relaxed=True)).cost, abs=1e-4
    )
    mine = solve_mip(together.proto(), node_limit=10_000)
    theirs = solve_mip(direct.sparse.proto(), node_limit=10_000)
    assert mine.cost == pytest.approx(theirs.cost, abs=1e-3)
    assert len(offsets) == len(problem.wanted)
    assert len(relaxed.prices) == len(together.row_lower) > max(rows, default=-1)


@_FEW
@given(problems(), st.data())
def test_bound_of_prices_is_below_the_cost_of_any_counts(problem, data):
    """Lagrange: whatever prices were tried, no feasible counts cost less; and no lower than LP."""
    patterns = _priced(problem)
    every = list(itertools.islice(all_counts(problem), 400))
    tried = data.draw(st.lists(st.sampled_from(every), min_size=1, max_size=6))

    assert patterns.bound >= Patterns(problem).bound - 1e-6
    for counts in tried:
        if is_feasible(problem, counts) and (
            problem.max_moves is None or moves(problem, counts) <= problem.max_moves
        ):
            assert patterns.bound <= standing_of(problem, counts).cost + 2e-3


@_FEW
@given(problems(deployments=3, spare=True))
def test_choice_costs_no_more_than_what_was_kept_and_fits(problem):
    """What runs is one choice, so none chosen is dearer; and device rows hold."""
    assume(is_feasible(problem, problem.held))
    patterns = Patterns(problem)
    patterns.keep(summed(problem.held, patterns.member))
    _, kept = patterns.choice()
    patterns.explore(work_left=_always)
    patterns.price(within=None, work_left=_always)
    counts, cost = patterns.choice()

    assert cost <= kept + 1e-3 * max(1.0, abs(kept))
    taken = Counter()
    for (m, q), count in counts.items():
        taken[m] += count * problem.shapes[q].slots
    for m, cell in enumerate(patterns.merged.cells):
        assert taken[m] <= cell.all_slots


@_FEW
@given(problems(deployments=2), st.integers(0, 3))
def test_same_problem_gives_same_patterns(problem, seed):
    """Deterministic: bound, choice and cost to every number."""
    runs = []
    for _ in range(2):
        patterns = _priced(problem)
        patterns.vary(random.Random(seed), {}, by=0.8, work_left=_always)
        runs.append((patterns.bound, *patterns.choice()))
    assert runs[0] == runs[1]


def test_price_proves_nothing_when_work_ends_early():
    """A bound needs every deployment."""
    problem = problem_of(wanted=(WANTED, WANTED), shapes=(SHAPE, replace(SHAPE, deployment=1)))
    patterns = Patterns(problem)
    before = patterns.bound
    left = iter([True])
    patterns.price(within=None, work_left=lambda: next(left, False))
    assert patterns.bound == before


def _spread(domains: int, count: int, failover: float):
    """One deployment in so many domains, and merged counts of it."""
    cells = tuple(replace(CELL, domain=g, slots=8) for g in range(domains))
    online = OnlineDemand(work=0.5 * count, failover_ratio=failover, weight=1.0)
    problem = problem_of(
        cells=cells, wanted=(replace(WANTED, max_replicas=99, classes=(online,)),), domains=domains
    )
    return problem, {(0, 0): count}


@pytest.mark.parametrize(
    ("domains", "count", "failover", "lack"),
    [
        (8, 8, 7 / 8, 0.0),  # one of eight is lost
        (8, 9, 8 / 9, 0.5),  # two of nine are in one domain
        (8, 9, 7 / 9, 0.0),
        (3, 1, 1.0, 0.5),  # all of it
        (1, 4, 0.5, 1.0),
    ],
)
def test_evenness_counts_what_the_fullest_domain_holds(domains, count, failover, lack):
    """Replicas that bear 0.5 each; what is left is compared with what is asked for."""
    problem, counts = _spread(domains, count, failover)
    assert max(0.0, Evenness(problem, (0,) * domains).lack(0, counts)) == pytest.approx(lack)


@_FEW
@given(problems(deployments=1), st.integers(1, 9))
def test_evenness_lacks_no_less_than_an_average_domain_takes(problem, count):
    """Some domain holds the average or more, so no division can lose less."""
    _, member = merged_cells(problem)
    needs = failover_needs(problem.wanted[0], problem.shapes)
    asked = sum(cls.failover_ratio * cls.work for cls in problem.wanted[0].classes)
    kinds = [cell.kind for cell in merged_cells(problem)[0].cells]
    counts = {
        (m, q): count
        for q, shape in enumerate(problem.shapes)
        for m, kind in enumerate(kinds)
        if kind == shape.kind
    }
    rest = (problem.domains - 1) / problem.domains
    for needed, gives in needs:
        left = rest * sum(gives[q] * n for (_, q), n in counts.items())
        lack = Evenness(problem, member).lack(0, counts)
        assert lack >= (needed - left) / needed * asked - 1e-6


def test_blame_makes_room_for_another_choice():
    """A pattern that could not be divided costs more from then on, and wider ones are found."""
    problem, _ = _spread(8, 8, 7 / 8)
    patterns = _priced(problem)
    before, cost = patterns.choice()
    patterns.blame({0: 2.0})
    after, more = patterns.choice()

    assert more > cost
    assert sum(after.values()) >= sum(before.values())
    assert patterns.divisible.wanted[0].classes[0].failover_ratio > 7 / 8
