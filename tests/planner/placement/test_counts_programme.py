"""The programme in counts against every feasible counts, and its parts against the whole."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from planner.placement.counts.merging import merged_cells
from planner.placement.counts.patterns import Patterns
from planner.placement.counts.problem import Cell
from planner.placement.counts.programme import Part, Programme, whole
from planner.placement.counts.solver import solve_mip
from planner.placement.counts.standing import merged, standing_of
from tests.planner.placement.drawn_counts import (
    CELL,
    SHAPE,
    WANTED,
    all_counts,
    is_feasible,
    problem_of,
    problems,
)

_FEW = settings(
    max_examples=25,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def _decided(problem, part, before):
    """The standing after a part was decided to optimality."""
    programme = Programme(problem, part, counts=before.counts, offline=before.offline)
    solution = solve_mip(programme.sparse.proto(), node_limit=10_000, relative_gap=0.0)
    return programme, solution, merged(problem, programme, solution, before, before.counts)


def _drawn_counts(data, problem):
    every = [counts for counts, _ in zip(all_counts(problem), range(400), strict=False)]
    assume(every)
    return data.draw(st.sampled_from(every))


def _carry(problem, counts):
    """Cost of the work of counts by brute force: all divisions over modes, each a flow LP."""
    replicas = [
        sum(n for (_, of), n in counts.items() if of == q) for q in range(len(problem.shapes))
    ]
    best = float("inf")

    def divisions(q):
        if q == len(problem.shapes):
            yield ()
            return
        for rest in divisions(q + 1):
            for split in _splits(replicas[q], len(problem.shapes[q].modes)):
                yield (split, *rest)

    for division in divisions(0):
        best = min(best, _flow(problem, division))
    return best


def _splits(count, ways):
    if ways == 1:
        yield (count,)
        return
    for first in range(count + 1):
        for rest in _splits(count - first, ways - 1):
            yield (first, *rest)


def _flow(problem, division):
    """Least cost of online, deadline, fair and offline work with modes fixed."""
    weights = problem.weights
    cost, upper, rows, limits = [], [], [], []

    def column(price, most=None):
        cost.append(price)
        upper.append((0.0, most))
        return len(cost) - 1

    served, made = {}, {}
    for q, shape in enumerate(problem.shapes):
        classes = problem.wanted[shape.deployment].classes
        for mode, n in zip(shape.modes, division[q], strict=True):
            xs = [(column(0.0), 1.0) for _ in range(mode.served, len(classes))]
            y = column(0.0)
            for k, (x, _) in zip(range(mode.served, len(classes)), xs, strict=True):
                served.setdefault((shape.deployment, k), []).append((x, -1.0))
            made.setdefault(shape.deployment, []).append((y, -1.0))
            rows.append(xs)
            limits.append(mode.max_online * n)
            for alpha, beta, gamma in mode.segments:
                rows.append([*((x, alpha) for x, _ in xs), (y, beta)])
                limits.append(gamma * n)
    for d, wanted in enumerate(problem.wanted):
        for k, cls in enumerate(wanted.classes):
            short = column(weights.online * cls.weight)
            rows.append([*served.get((d, k), ()), (short, -1.0)])
            limits.append(-cls.work)
    done = [column(-weights.offline * one.weight, one.most) for one in problem.offline]
    for j, one in enumerate(problem.offline):
        short = column(weights.deadline)
        rows.append([(done[j], -1.0), (short, -1.0)])
        limits.append(-one.least)
    for d in range(len(problem.wanted)):
        own = [
            (o, 1.0) for o, one in zip(done, problem.offline, strict=True) if one.deployment == d
        ]
        rows.append([*made.get(d, ()), *own])
        limits.append(0.0)
    for index, tenant in enumerate(problem.tenants):
        own = [o for o, one in zip(done, problem.offline, strict=True) if one.tenant == index]
        if tenant.most is not None:
            rows.append([(o, 1.0) for o in own])
            limits.append(tenant.most)
        short = column(weights.fair)
        rows.append([*((o, -1.0) for o in own), (short, -1.0)])
        limits.append(-tenant.fair)
    matrix = [[0.0] * len(cost) for _ in rows]
    for made_row, terms in zip(matrix, rows, strict=True):
        for at, value in terms:
            made_row[at] += value
    return linprog(cost, A_ub=matrix, b_ub=limits, bounds=upper).fun


def _rest(problem, counts):
    """Cost of replicas, failover, spread, loads, drops and nodes, from their definitions."""
    weights = problem.weights
    cost = 0.0
    for d, wanted in enumerate(problem.wanted):
        own = {key: n for key, n in counts.items() if problem.shapes[key[1]].deployment == d}
        cost += weights.replica * max(0, wanted.min_replicas - sum(own.values()))
        cost += weights.failover * _lost(problem, d, own)
        cost += weights.spread * _crowd(problem, d, own)
    for key in counts.keys() | problem.held.keys():
        more = counts.get(key, 0) - problem.held.get(key, 0)
        cost += max(0, more) * problem.shapes[key[1]].load_cost + max(0, -more) * weights.drop
    for (c, q), n in counts.items():
        cell = problem.cells[c]
        slots = n * problem.shapes[q].slots
        cost += cell.node_cost * slots / cell.slots + cell.device_cost * slots
    return cost


def _crowd(problem, d, own):
    if not problem.wanted[d].is_spread:
        return 0.0
    domains = {
        cell.domain: 0
        for c, cell in enumerate(problem.cells)
        for q in problem.shapes_of(d)
        if problem.fits(c, q)
    }
    for (c, _), n in own.items():
        domains[problem.cells[c].domain] += n
    if len(domains) < 2:
        return 0.0
    return max(0, max(domains.values()) - -(-sum(domains.values()) // len(domains)))


def _lost(problem, d, own):
    """Work that is to survive and does not, in the worst domain; replicas divided freely."""
    classes = problem.wanted[d].classes
    needs = [cls.failover_ratio * cls.work for cls in classes]
    if sum(needs) <= 0.0:
        return 0.0
    worst = 1.0
    for lost in {cell.domain for cell in problem.cells}:
        left = [
            problem.shapes[q]
            for (c, q), n in own.items()
            if problem.cells[c].domain != lost
            for _ in range(n)
        ]
        k = len(classes)
        rows = [
            [float(i // k == r) for i in range(len(left) * k)] + [0.0] for r in range(len(left))
        ]
        rows += [
            [
                -max(m.max_online for m in left[i // k].modes if m.served <= i % k) * (i % k == j)
                for i in range(len(left) * k)
            ]
            + [needs[j]]
            for j in range(k)
        ]
        found = linprog(
            [0.0] * (len(left) * k) + [-1.0],
            A_ub=rows,
            b_ub=[1.0] * len(left) + [0.0] * k,
            bounds=[(0.0, None)] * (len(left) * k) + [(0.0, 1.0)],
        )
        worst = min(worst, found.x[-1])
    return (1.0 - worst) * sum(needs)


@settings(parent=_FEW, max_examples=60)
@given(problems(), st.data())
def test_standing_costs_what_brute_force_finds_when_counts_are_given(problem, data):
    """Modes, flows, failover and spread from their definitions, sharing no code."""
    counts = _drawn_counts(data, problem)

    cost = standing_of(problem, counts).cost
    assert cost == pytest.approx(_carry(problem, counts) + _rest(problem, counts), abs=2e-3)


@_FEW
@given(problems(domains=2))
def test_optimum_is_that_of_brute_force_when_problems_are_tiny(problem):
    """No feasible counts cost less than the programme's, and its own are feasible."""
    start = standing_of(problem, problem.held)
    _, _, found = _decided(problem, whole(problem), start)
    best = min(standing_of(problem, c).cost for c in all_counts(problem))

    assert is_feasible(problem, found.counts)
    assert found.cost == pytest.approx(best, abs=2e-3)


@settings(parent=_FEW, max_examples=60)
@given(problems(), st.data())
def test_part_gains_what_the_whole_gains_and_leaves_the_rest(problem, data):
    """What a part's programme costs less is what the whole costs less; others' counts stay."""
    before = standing_of(problem, _drawn_counts(data, problem))
    part = Part(
        deployments=tuple(
            sorted(data.draw(st.sets(st.integers(0, len(problem.wanted) - 1), min_size=1)))
        ),
        cells=frozenset(data.draw(st.sets(st.integers(0, len(problem.cells) - 1), min_size=1))),
    )
    stays = Programme(problem, part, counts=before.counts, offline=before.offline)
    for key, column in stays.n.items():
        stays.sparse.lower[column] = stays.sparse.upper[column] = float(before.counts.get(key, 0))
    programme, solution, after = _decided(problem, part, before)
    held = solve_mip(stays.sparse.proto(), node_limit=10_000, relative_gap=0.0)

    gain = before.cost - after.cost
    assert held.cost - solution.cost == pytest.approx(gain, abs=2e-3)
    assert gain >= -2e-3
    assert is_feasible(problem, after.counts)
    for key in before.counts.keys() | after.counts.keys():
        if key not in programme.n:
            assert before.counts.get(key, 0) == after.counts.get(key, 0)


@settings(parent=_FEW, max_examples=50)
@given(problems(), st.data())
def test_bound_is_below_and_merging_no_dearer_for_any_counts(problem, data):
    """The relaxation of merged cells bounds every feasible counts, and merging bounds them too."""
    bound = Patterns(problem).bound
    small, member = merged_cells(problem)
    for _ in range(3):
        counts = _drawn_counts(data, problem)
        cost = standing_of(problem, counts).cost
        summed = {}
        for (c, q), n in counts.items():
            summed[member[c], q] = summed.get((member[c], q), 0) + n

        assert bound <= cost + 2e-3
        assert standing_of(small, summed).cost <= cost + 2e-3


@pytest.mark.parametrize(
    "fields",
    [
        {"wanted": (replace(WANTED, max_replicas=1),)},
        {"max_moves": 1},
        {"cells": (replace(CELL, host_bytes=3.0),), "shapes": (replace(SHAPE, host_bytes=2.0),)},
    ],
    ids=["max_replicas", "max_moves", "host_memory"],
)
def test_programme_has_an_answer_when_what_must_be_is_more_than_may_be(fields):
    """Freezes and pins beyond another limit are kept, and nothing is added to them."""
    problem = problem_of(**fields, least={(0, 0): 2})

    assert Patterns(problem).bound < float("inf")
    _, _, found = _decided(problem, whole(problem), standing_of(problem, {(0, 0): 2}))
    assert found.counts == {(0, 0): 2}


def test_standing_counts_a_crowd_when_nothing_is_decided():
    """Three replicas in one of two domains are one too many, whoever looks at them."""
    cells = tuple(Cell(**_fields(CELL) | {"domain": g, "slots": 4}) for g in range(2))
    problem = problem_of(cells=cells, wanted=(replace(WANTED, is_spread=True),))

    assert standing_of(problem, {(0, 0): 3}).missing["spread"] == {(0,): 1.0}
    assert standing_of(problem, {(0, 0): 2, (1, 0): 1}).missing["spread"] == {(0,): 0.0}


def _fields(cell):
    return {name: getattr(cell, name) for name in Cell.__dataclass_fields__}
