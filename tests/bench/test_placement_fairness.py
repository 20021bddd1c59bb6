"""The referee's fair shares against the planner's, on instances of the bench."""

from itertools import islice

import pytest

from bench.placement.baselines import BASELINES, run_baseline
from bench.placement.board import lay_out, modes_of_plan
from bench.placement.bounds import bound_of, domain_bound_of, integer_bound_of, relaxed
from bench.placement.contestants import settled
from bench.placement.evaluate import evaluate
from bench.placement.fairness import entitled, fair_shares
from bench.placement.generate import generate
from bench.placement.instances import Instance
from planner.placement.counting import counting_of
from planner.placement.counts.limits import Limits as SearchLimits
from planner.placement.fleet import survey
from planner.placement.solve import Limits, solve

_LIMITS = Limits(counts=SearchLimits(parts=4, merged_parts=1, prices=4, repairs=2))


@pytest.mark.parametrize(
    "name",
    ["10x3-tight-dividing-s0", "50x8-tight-dividing-s0", "50x8-loose-odd-s1"],
)
def test_planner_and_referee_read_the_same_shares_when_they_read_one_fleet(name):
    """Two formulations on two solver layers: shares agree within what a level is found to."""
    snapshot = generate(Instance.parse(name))
    problem = counting_of(survey(snapshot)).problem
    tenants = counting_of(survey(snapshot)).tenants
    index = {tenant.id: number for number, tenant in enumerate(snapshot.tenants)}

    planned = {
        index[name]: one.fair / problem.claim_unit
        for name, one in zip(tenants, problem.tenants, strict=True)
    }
    shares = fair_shares(lay_out(snapshot))

    assert len(shares) >= 2
    assert planned == pytest.approx(shares, rel=5e-3)


@pytest.mark.parametrize("name", ["10x3-tight-dividing-s0", "50x8-tight-dividing-s0"])
def test_published_shortfall_is_true_when_the_referee_reckons_it(name):
    """What a plan says tenants lack is what they lack on its placements."""
    snapshot = generate(Instance.parse(name))
    board = entitled(lay_out(snapshot))
    unit = counting_of(survey(snapshot)).problem.claim_unit

    for plan in solve(snapshot, work_left=lambda: 1.0, limits=_LIMITS):
        said = next(term.value for term in plan.terms if term.name == "fair_shortfall") / unit
        modes = modes_of_plan(board, plan.placements)
        lacking = evaluate(board, board.count(plan.placements), modes=modes).short["fair"]

        assert not plan.waiting
        assert said == pytest.approx(lacking, abs=1e-3 * sum(board.fair.values()))


def test_nothing_is_short_of_shares_when_nobody_asked_for_them():
    """Worths of a board without them stay as they were."""
    board = lay_out(generate(Instance.parse("10x3-tight-dividing-s0")))

    assert evaluate(board, board.empty()).short["fair"] == 0.0
    assert evaluate(entitled(board), board.empty()).short["fair"] > 1.0


@pytest.mark.parametrize("name", ["10x3-tight-dividing-s0", "50x8-tight-odd-s1"])
def test_no_bound_is_below_a_judged_placement_when_shares_count(name):
    """Of the solver's plans in the modes they say, and of every baseline."""
    snapshot = generate(Instance.parse(name))
    board = entitled(lay_out(snapshot))
    plans = list(islice(solve(snapshot, work_left=lambda: 1.0, limits=_LIMITS), 2))
    judged = [
        evaluate(board, board.count(placed), modes=modes_of_plan(board, placed))
        for placed in (settled(plan) for plan in (plans[0], plans[-1]))
    ]
    judged += [run_baseline(board, baseline)[1] for baseline in BASELINES]

    for worth in judged:
        bounds = [bound_of(board, worth.short)] + [
            bound(board, worth.short, seconds=1.0) for bound in (integer_bound_of, domain_bound_of)
        ]
        for bound in bounds:
            assert worth.offline <= bound.offline + 1e-3
    assert any(worth.short["fair"] > 0.1 for worth in judged)


@pytest.mark.parametrize("name", ["10x3-tight-dividing-s0", "50x8-tight-dividing-s1"])
def test_bound_is_lower_when_it_is_beside_kept_shares(name):
    """The price of fairness is no part of a gap."""
    plain = lay_out(generate(Instance.parse(name)))
    fair = entitled(plain)
    kept = dict(relaxed(plain).short) | {"fair": 0.0}

    assert len(fair.fair) >= 2
    assert bound_of(fair, kept).offline < bound_of(plain, kept).offline
