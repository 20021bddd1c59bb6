"""A plan names the tenant whose quota keeps deadlines from being met."""

import pytest

from planner.model import BatchDemand, PlanStatus, Stage, Tenant
from planner.placement.quotas import QUOTA
from tests.planner.placement.fleets import deployment, fleet, node, solved


def _plan(*, quota, least=500.0, devices=2, **fields):
    """One model; red's batches want 800, and their deadlines rest on `least`."""
    wanted = deployment("bulk", **({"min_replicas": 0, "stage": Stage.ACTIVE} | fields))
    demand = BatchDemand(
        deployment="bulk",
        tenant="red",
        offline_work=max(800.0, least),
        min_offline_work=least,
    )
    return solved(
        fleet(
            [node("n1", devices=devices)],
            [wanted],
            tenants=(Tenant(id="red", max_offline_work=quota),),
            batches=(demand,),
        )
    )


@pytest.mark.parametrize("quota", [0.0, 200.0])
def test_plan_names_tenant_and_quota_when_a_deadline_needs_more(quota):
    """More replicas would not help, so none are promised; the quota would."""
    plan = _plan(quota=quota)
    (misfit,) = plan.misfits
    assert plan.status is PlanStatus.INFEASIBLE
    assert (misfit.deployment, misfit.node, misfit.dimension) == ("bulk", None, QUOTA)
    assert (misfit.needed, misfit.available) == (500.0, quota)
    assert "tenant red" in misfit.message and "round" not in misfit.message
    assert f"its quota is {quota:g}, and {500 - quota:.0f} are not done" in misfit.message
    assert "; raise its quota to 500, or give its batches later deadlines" in misfit.message


def test_plan_names_the_quota_when_the_rounds_moves_are_spent():
    """No later round raises it: it is no misfit that waits."""
    held = deployment("chat", min_replicas=1)
    snapshot = fleet(
        [node("n1")],
        [deployment("bulk", min_replicas=0, stage=Stage.ACTIVE), held],
        tenants=(Tenant(id="red", max_offline_work=0.0),),
        batches=(
            BatchDemand(
                deployment="bulk", tenant="red", offline_work=800.0, min_offline_work=500.0
            ),
        ),
        max_moves=1,
    )
    plan = solved(snapshot)
    assert [(m.deployment, m.dimension) for m in plan.misfits] == [("bulk", QUOTA)]
    assert plan.status is PlanStatus.INFEASIBLE


def test_plan_says_nothing_of_a_quota_when_it_holds_what_deadlines_rest_on():
    """That it cuts what is wanted beyond is what a quota is for."""
    assert _plan(quota=500.0).misfits == ()


def test_plan_says_devices_and_what_is_carried_when_a_quota_has_room():
    """One device's worth is done of three; the quota is not what is used up."""
    (misfit,) = _plan(quota=5000.0, least=3000.0, devices=1).misfits
    assert misfit.dimension == "capacity"
    assert misfit.needed == pytest.approx(3000.0)
    assert 0.0 < misfit.available < 3000.0
    assert "add a node" in misfit.message


def test_plan_tells_quota_and_devices_apart_when_two_tenants_are_short():
    """What red may not is not asked of devices, and what is done counts what is done."""
    demands = tuple(
        BatchDemand(deployment="bulk", tenant=one, offline_work=3000.0, min_offline_work=3000.0)
        for one in ("blue", "red")
    )
    snapshot = fleet(
        [node("n1", devices=2)],
        [deployment("bulk", min_replicas=0, stage=Stage.ACTIVE)],
        tenants=(Tenant(id="red", max_offline_work=0.0),),
        batches=demands,
    )
    plan = solved(snapshot)
    found = {one.dimension: one for one in plan.misfits}
    done = sum(one.offline_share for one in plan.placements)
    assert found["capacity"].needed == pytest.approx(3000.0)
    assert found["capacity"].available == pytest.approx(done)
    assert found[QUOTA].needed == pytest.approx(3000.0)
