"""What a plan says of fair shares has to be possible."""

from dataclasses import replace

import pytest

from planner.model import BatchDemand, Misfit, ObjectiveTerm, Plan, PlanStatus
from planner.placement.verify import verify
from tests.planner.placement.fleets import batch, deployment, fleet, node

TOLD = Misfit(
    deployment="d0", node=None, dimension="fair_share", needed=2.0, available=0.5, message=";"
)


def _plan(*misfits, lacking=1.5):
    return Plan(
        base_revision=1,
        status=PlanStatus.FEASIBLE,
        solver="",
        objective=0.0,
        bound=0.0,
        terms=(ObjectiveTerm(name="fair_shortfall", weight=60.0, value=lacking),),
        placements=(),
        moves=(),
        misfits=misfits,
    )


def _found(plan, *, tenants=("red", "blue"), revision=1):
    batches = tuple(
        BatchDemand(deployment="d0", tenant=tenant, offline_work=100.0) for tenant in tenants
    )
    specs = [batch("d0"), deployment("d1")]
    snapshot = fleet([node("n1")], specs, batches=batches)
    return [
        one
        for one in verify(replace(snapshot, revision=revision), plan)
        if one.rule == "fair_share"
    ]


def test_a_share_that_is_short_may_be_told():
    """Two want the same."""
    assert _found(_plan(TOLD)) == []
    assert _found(_plan(lacking=0.0), tenants=()) == []


@pytest.mark.parametrize(
    "plan",
    [
        _plan(replace(TOLD, available=2.0)),
        _plan(replace(TOLD, available=-1.0)),
        _plan(replace(TOLD, needed=float("inf"))),
        _plan(replace(TOLD, deployment="d1")),
        _plan(lacking=-1.0),
        _plan(lacking=float("nan")),
    ],
)
def test_what_cannot_be_is_refused(plan):
    """Nothing lacking, more than a share, work that nobody wants, sums that are none."""
    assert {one.rule for one in _found(plan)} == {"fair_share"}


def test_one_tenant_lacks_nothing():
    """Its share is what there is."""
    assert _found(_plan(), tenants=("red", "red"))
    assert _found(_plan(TOLD, lacking=0.0), tenants=("red",))


def test_a_plan_of_an_older_revision_is_not_held_to_what_is_wanted_now():
    """A batch that ended since does not make it worse."""
    assert _found(_plan(TOLD), tenants=("red",), revision=2) == []
    assert _found(_plan(replace(TOLD, available=9.0)), revision=2)
