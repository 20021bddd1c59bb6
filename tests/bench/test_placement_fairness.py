"""The referee's fair shares against the planner's, on instances of the bench."""

import pytest

from bench.placement.board import lay_out, modes_of_plan
from bench.placement.fairness import fair_shares, fair_short
from bench.placement.generate import generate
from bench.placement.instances import Instance
from bench.placement.programme import formulate
from planner.placement.counting import counting_of
from planner.placement.counts.search import Limits as SearchLimits
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
    board = lay_out(snapshot)
    unit = counting_of(survey(snapshot)).problem.claim_unit
    shares = fair_shares(board)

    for plan in solve(snapshot, work_left=lambda: 1.0, limits=_LIMITS):
        said = next(term.value for term in plan.terms if term.name == "fair_shortfall") / unit
        modes = modes_of_plan(board, plan.placements)
        lacking = fair_short(board, board.count(plan.placements), shares, modes=modes)

        assert not plan.waiting
        assert said == pytest.approx(lacking, abs=1e-3 * sum(shares.values()))


def test_a_programme_without_shares_has_no_tier_of_them():
    """So bounds and worths that nobody asked to be fair stay as they were."""
    board = lay_out(generate(Instance.parse("10x3-tight-dividing-s0")))

    assert formulate(board, totals=board.empty().sum(axis=0)).tiers_in_order().fair == 0.0
