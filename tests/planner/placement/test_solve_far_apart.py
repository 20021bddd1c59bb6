"""Demands and weights far from each other: tiers hold, and misfits say what stands in the way."""

import pytest

from planner.model import PlanStatus
from planner.placement.solve import solve
from planner.placement.verify import verify
from tests.planner.placement.fleets import GIB, batch, deployment, fleet, node, solved


@pytest.mark.parametrize("weight", [1.0, 10.0, 31.0, 1_000.0, 1e6])
def test_online_work_goes_before_offline_work_whatever_that_weighs(weight: float) -> None:
    """One device, and either: the one with requests has it."""
    plan = solved(
        fleet(
            [node("n1", devices=1)],
            [
                deployment("chat", min_replicas=0, online_work=600.0),
                batch("summaries", offline_weight=weight),
            ],
        )
    )

    assert [one.deployment for one in plan.placements] == ["chat"]


@pytest.mark.parametrize("weight", [1.0, 10.0, 31.0, 1_000.0, 1e6])
def test_deadlines_go_before_offline_work_that_weighs_more(weight: float) -> None:
    """One device, and either: the one that has to be done in time has it."""
    assert _on_one_device(due=900.0, weight=weight) == ["due"]


@pytest.mark.parametrize("due", [300.0, 100.0, 1.0])
@pytest.mark.parametrize("weight", [10.1, 31.0, 1_000.0, 1e6])
def test_deadlines_go_first_however_little_is_due(weight: float, due: float) -> None:
    """By the tier, where the weight of all that yields is greater."""
    assert _on_one_device(due=due, weight=weight) == ["due"]


def _on_one_device(*, due: float, weight: float) -> list[str]:
    """Who has the one device."""
    snapshot = fleet(
        [node("n1", devices=1)],
        [
            batch("due", offline_work=due, min_offline_work=due),
            batch("summaries", offline_weight=weight),
        ],
    )
    plans = list(solve(snapshot, work_left=lambda: 1.0))
    assert all(verify(snapshot, plan) == () for plan in plans)
    return [one.deployment for one in plans[-1].placements]


@pytest.mark.parametrize("work", [1e9, 1e12, 1e15])
def test_demand_far_beyond_capacity_is_solved_and_told(work: float) -> None:
    """Engine-ms per second of a million fleets: not a failed solver, but all there is."""
    for wanted in (
        deployment("chat", online_work=work),
        batch("chat", offline_work=work, min_offline_work=work),
    ):
        plan = solved(fleet([node("n1"), node("n2")], [wanted]))

        assert (len(plan.placements), plan.status) == (4, PlanStatus.INFEASIBLE)
        assert plan.solver == "GSCIP"
        assert plan.bound == pytest.approx(plan.objective)
        assert "raise max_replicas above 4" in plan.misfits[0].message


def test_misfit_names_the_deployment_that_the_plan_itself_puts_there() -> None:
    """Three that keep apart in a circle, two nodes: the third learns from whom it keeps."""
    circle = [
        deployment(name, anti_affinity=(other,))
        for name, other in (("a", "b"), ("b", "c"), ("c", "a"))
    ]
    plan = solved(fleet([node("n1"), node("n2")], circle))

    placed = {one.deployment for one in plan.placements}
    (misfit,) = plan.misfits
    assert (len(placed), misfit.dimension) == (2, "anti_affinity")
    assert misfit.deployment not in placed
    assert "shares no node with deployment" in misfit.message
    assert "change anti_affinity, or add a node" in misfit.message


def test_misfit_names_host_memory_that_the_plan_itself_takes() -> None:
    """Two replicas, host memory for one."""
    wanted = deployment("chat", min_replicas=2, host_memory_bytes=3 * GIB)
    plan = solved(fleet([node("n1", host_memory_bytes=4 * GIB)], [wanted]))

    (misfit,) = plan.misfits
    assert (misfit.dimension, misfit.available) == ("host_memory", float(GIB))
    assert "1 of min_replicas 2 fit" in misfit.message


def test_misfit_says_so_when_the_only_node_has_no_device() -> None:
    """No type is asked for, so none is missing: devices are."""
    plan = solved(fleet([node("n1", devices=0)], [deployment("chat")]))

    (misfit,) = plan.misfits
    assert misfit.message == (
        "deployment chat: 0 of min_replicas 1 fit: needs 1 device(s), node n1 has no device; "
        "add a node with devices"
    )
