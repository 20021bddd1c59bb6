"""Modes and work of counts: all at once, or one deployment after another."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import planner.placement.counts.standing as standing_module
from planner.placement.counts.standing import standing_of
from tests.planner.placement.drawn_counts import problems

_QUICK = settings(
    max_examples=60,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def _standings(problem):
    """All at once, and one after another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standing_module, "_MODES_AT_ONCE", 10**9)
        at_once = standing_of(problem, problem.held)
        patch.setattr(standing_module, "_MODES_AT_ONCE", -1)
        return at_once, standing_of(problem, problem.held)


@_QUICK
@given(problems(spare=True))
def test_deployments_in_turn_do_what_all_do_at_once_where_tenants_bind_nobody(problem):
    """Nothing but quotas and fair shares couples deployments whose counts stay."""
    free = tuple(replace(one, most=None, fair=0.0) for one in problem.tenants)
    at_once, in_turn = _standings(replace(problem, tenants=free))

    assert in_turn.cost == pytest.approx(at_once.cost, abs=1e-3)
    assert in_turn.shortfalls == pytest.approx(at_once.shortfalls, abs=1e-4)


@_QUICK
@given(problems(spare=True), st.data())
def test_counts_near_others_are_judged_as_they_are_by_themselves(problem, data):
    """Where tenants bind nobody, and only those that differ are decided."""
    free = tuple(replace(one, most=None, fair=0.0) for one in problem.tenants)
    problem = replace(problem, tenants=free)
    gone = data.draw(st.sets(st.sampled_from(sorted(problem.held)))) if problem.held else set()
    counts = {key: count for key, count in problem.held.items() if key not in gone}
    known = standing_of(problem, problem.held)
    with pytest.MonkeyPatch.context() as patch:
        decided = []
        solved = standing_module._solved
        patch.setattr(
            standing_module, "_solved", lambda one: decided.append(one.part) or solved(one)
        )
        near = standing_of(problem, counts, near=known)
    alone = standing_of(problem, counts)

    assert dict(near.counts) == counts
    assert near.cost == pytest.approx(alone.cost, abs=1e-3)
    assert near.shortfalls == pytest.approx(alone.shortfalls, abs=1e-4)
    changed = {problem.shapes[q].deployment for _, q in gone}
    if len(changed) <= len(problem.wanted) / 2:
        assert [part.deployments for part in decided] == [(d,) for d in sorted(changed)]


@_QUICK
@given(problems(spare=True))
def test_deployments_in_turn_keep_quotas_and_never_pass_the_best(problem):
    """Beside the others' work as it is: feasible, so not better than all at once."""
    at_once, in_turn = _standings(problem)

    assert in_turn.cost >= at_once.cost - 1e-3
    for tenant, entitled in enumerate(problem.tenants):
        if entitled.most is not None:
            done = sum(
                work for j, work in in_turn.offline.items() if problem.offline[j].tenant == tenant
            )
            assert done <= entitled.most + 1e-6
