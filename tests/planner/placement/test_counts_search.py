"""Which of two answers is better, and a search that only ever finds better ones."""

import itertools
import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from planner.placement.counts import parts as parts_module
from planner.placement.counts import search as search_module
from planner.placement.counts.limits import Limits
from planner.placement.counts.neighbourhoods import Drawing
from planner.placement.counts.patterns import Patterns
from planner.placement.counts.problem import Problem
from planner.placement.counts.search import search
from planner.placement.counts.solver import SolverError
from planner.placement.counts.standing import TIERS, Standing, standing_of
from tests.planner.placement.drawn_counts import WANTED, is_feasible, problem_of, problems

_LIMITS = Limits(parts=8, merged_parts=2, prices=5, repairs=2, whole_nodes=20, last_nodes=40)
_FEW = settings(
    max_examples=25,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def _standing(shortfalls, net):
    return Standing(
        counts={},
        modes={},
        online={},
        produced={},
        offline={},
        shortfalls=tuple(shortfalls),
        net=net,
    )


_STANDINGS = st.builds(
    _standing,
    st.lists(st.sampled_from([0.0, 4e-6, 0.5, 2.0]), min_size=len(TIERS), max_size=len(TIERS)),
    st.sampled_from([-3.0, -1.0, -1.000004, 0.0]),
)


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(_STANDINGS, _STANDINGS)
def test_standing_is_better_when_the_first_tier_that_differs_says_so(one, other):
    """Strict: not of itself, not both ways; what is within the tolerance is equal."""
    pairs = zip((*one.shortfalls, one.net), (*other.shortfalls, other.net), strict=True)
    differing = [mine < theirs for mine, theirs in pairs if abs(mine - theirs) > 1e-5]

    assert one.is_better(other) == (differing[0] if differing else False)
    assert not one.is_better(one)
    assert not (one.is_better(other) and other.is_better(one))


def _found(problem: Problem, start, *, seed=0, work=10_000, limits=_LIMITS):
    """What there is, and all that is found from it."""
    left = iter(range(work))
    standing = standing_of(problem, start)
    return [
        standing,
        *search(
            problem,
            standing,
            patterns=Patterns(problem),
            limits=replace(limits, seed=seed),
            work_left=lambda: next(left, None) is not None,
        ),
    ]


def _key(standing):
    return dict(standing.counts), standing.shortfalls, standing.net


@_FEW
@given(problems(spare=True), st.integers(0, 3))
def test_search_finds_better_and_better_feasible_counts_and_the_same_again(problem, seed):
    """No step is worse than what there is; a second run is the first, to every number."""
    assume(is_feasible(problem, problem.held))
    found = _found(problem, problem.held, seed=seed)

    for earlier, later in itertools.pairwise(found):
        assert later.is_better(earlier)
        assert is_feasible(problem, later.counts)
    assert [_key(one) for one in found] == [
        _key(one) for one in _found(problem, problem.held, seed=seed)
    ]
    assert Patterns(problem).bound <= found[-1].cost + 2e-3


@_FEW
@given(problems(spare=True))
def test_standing_put_together_from_parts_is_that_of_its_counts(problem):
    """No part claims more than its counts bear: judged anew, they are as good, to a part's gap."""
    assume(is_feasible(problem, problem.held))
    best = _found(problem, problem.held)[-1]
    anew = standing_of(problem, best.counts)

    assert anew.cost <= best.cost + 2e-3
    assert anew.cost >= best.cost - 2e-3 - 2.0 * _LIMITS.part_gap * abs(best.cost)


@_FEW
@given(problems(spare=True))
def test_parts_hold_deployments_and_cells_of_the_problem(problem):
    """What is drawn is never empty and grows and shrinks with what was solved."""
    drawing = Drawing(problem=problem, random=random.Random(1), integers=40.0)
    standing = standing_of(problem, problem.held)
    for turn in range(12):
        part = drawing.draw(standing)
        assert part.deployments
        assert set(part.deployments) <= set(range(len(problem.wanted)))
        assert part.cells <= set(range(len(problem.cells)))
        before = drawing.integers
        drawing.learn(is_solved=turn % 2 == 0)
        assert (drawing.integers > before) == (turn % 2 == 0)


def test_search_yields_nothing_when_no_work_is_left():
    """Nothing is solved beyond what there is."""
    assert len(_found(problem_of(), {}, work=0)) == 1


def test_search_goes_on_from_what_there_is_when_the_solver_fails(monkeypatch):
    """A part or a choice that the solver cannot answer is left out, not the round."""
    calls = itertools.count()

    def fail(*_args, **_kwargs):
        next(calls)
        raise SolverError("no values")

    monkeypatch.setattr(search_module, "solve_mip", fail)
    monkeypatch.setattr(parts_module, "solve_mip", fail)
    monkeypatch.setattr(Patterns, "keep", fail)
    found = _found(problem_of(), {}, limits=replace(_LIMITS, close_enough=-1.0))

    assert dict(found[0].counts) == {}
    assert next(calls) >= _LIMITS.parts


@pytest.mark.parametrize("parts", [0, 3])
def test_search_frees_no_more_parts_than_its_limits(monkeypatch, parts):
    """Work is counted in parts, not in time."""
    drawn = []
    draw = Drawing.draw

    def counted(self, standing):
        drawn.append(standing)
        return draw(self, standing)

    monkeypatch.setattr(Drawing, "draw", counted)
    limits = replace(_LIMITS, parts=parts, merged_parts=0, repairs=0, close_enough=-1.0)
    _found(problem_of(), {}, limits=replace(limits, whole_integers=0, choose_above=1e9))

    assert len(drawn) == parts


def test_search_goes_on_from_a_repair_that_is_short_of_little_where_nothing_was(monkeypatch):
    """It costs far less, so parts begin there; what is worse in an early tier is not yielded."""
    problem = problem_of(held={(0, 0): 1}, wanted=(replace(WANTED, min_replicas=2),))
    start = standing_of(problem, {(0, 0): 1})
    trade = list(start.shortfalls)
    trade[TIERS.index("replica")], trade[TIERS.index("tight")] = 0.0, 1.0
    early = replace(start, shortfalls=(0.0, *trade[1:]), cost=start.cost)
    repair = replace(early, shortfalls=tuple(trade), cost=start.cost - 1e6, counts={(0, 0): 2})
    begun = []

    def improved(_problem, best, **_limits):
        begun.append(best)
        if len(begun) > 1:
            return
        yield replace(repair, net=repair.net - 1.0)  # still short of the early tier
        yield early
        yield replace(early, net=early.net - 1.0)

    monkeypatch.setattr(search_module, "repaired", lambda *_, **_only: {(0, 0): 2})
    monkeypatch.setattr(search_module, "filled", lambda _problem, counts, _offline: counts)
    monkeypatch.setattr(search_module, "standing_of", lambda *_args, **_known: repair)
    monkeypatch.setattr(search_module, "improved", improved)
    limits = replace(_LIMITS, whole_integers=0, close_enough=-1.0, choose_above=1e9)
    left = iter([True])
    found = list(
        search(
            problem,
            early,
            patterns=Patterns(problem),
            limits=limits,
            work_left=lambda: next(left, True),
        )
    )

    assert begun[0] is repair
    assert all(one.is_better(early) for one in found)
    assert found
