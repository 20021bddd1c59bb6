"""A plan names the tenant that is short of its fair share."""

from dataclasses import replace

import pytest

from planner.model import BatchDemand, PlanStatus, Stage
from planner.placement.fairness import FAIR_SHARE
from planner.placement.fleet import Draft, Seat, survey
from planner.placement.publish import publish
from planner.placement.verify import verify
from tests.planner.placement.fleets import batch, fleet, node


def _snapshot(tenants):
    """Two models on two devices, one tenant's each."""
    return fleet(
        [node("n1", devices=2)],
        [batch("d0", stage=Stage.ACTIVE), batch("d1", stage=Stage.ACTIVE)],
        batches=tuple(
            BatchDemand(deployment=f"d{i}", tenant=tenant, offline_work=5000.0)
            for i, tenant in enumerate(tenants)
        ),
    )


def _plan(snapshot, names):
    """The plan that places those deployments, a device each."""
    seats = tuple(Seat(deployment=name, node="n1", devices=(i,)) for i, name in enumerate(names))
    plan = publish(
        survey(snapshot),
        Draft(kept=frozenset(), new=seats),
        status=PlanStatus.FEASIBLE,
        solver="a test",
        bound=-1e9,
    )
    assert verify(snapshot, plan) == ()
    return plan


def test_plan_says_who_lacks_of_its_share_by_how_much_and_stays_feasible():
    """Red has both devices; half of one is guaranteed to blue."""
    plan = _plan(_snapshot(["red", "blue"]), ["d0", "d0"])
    (misfit,) = plan.misfits
    assert (misfit.deployment, misfit.node, misfit.dimension) == ("d1", None, FAIR_SHARE)
    assert "tenant blue" in misfit.message
    assert (misfit.needed, misfit.available) == (pytest.approx(0.5, abs=1e-3), 0.0)
    assert plan.status is PlanStatus.FEASIBLE


@pytest.mark.parametrize(
    ("tenants", "names"), [(["red", "blue"], ["d0", "d1"]), (["red", "red"], ["d0", "d0"])]
)
def test_plan_says_nothing_when_shares_are_kept_or_there_is_one_tenant(tenants, names):
    """Each has its device; or all is one tenant's, whatever models it goes to."""
    assert _plan(_snapshot(tenants), names).misfits == ()


def test_plan_says_nothing_of_tenants_when_no_batch_is_anybodys():
    """Deployments stand alone: there are no tenants to be fair to."""
    assert _plan(replace(_snapshot(["red", "blue"]), batches=()), ["d0", "d0"]).misfits == ()
