"""A bound of no moves at all is told as what stands in the way, not as one round's luck."""

import pytest

from planner.model import BatchDemand, Pin, PlanStatus, Stage
from planner.placement.explaining.binding import binding_of
from planner.placement.explaining.wording import MORE_MOVES
from tests.planner.placement.fleets import deployment, fleet, node, running, solved

CHAT = deployment("chat", min_replicas=1)


@pytest.mark.parametrize("nodes", [1, 2])
def test_plan_says_to_raise_max_moves_when_it_is_zero(nodes):
    """No coming round resolves it, so it lasts; where there is room nothing else is needed."""
    plan = solved(fleet([node(f"n{i}") for i in range(nodes)], [CHAT], max_moves=0))
    (misfit,) = plan.misfits
    assert plan.status is PlanStatus.INFEASIBLE
    assert misfit.message == f"deployment chat: 0 of min_replicas 1 fit; {MORE_MOVES}"


def test_plan_says_what_else_is_needed_when_max_moves_is_zero_and_no_node_has_room():
    """Either remedy alone would not do."""
    plan = solved(fleet([node("n1", is_cordoned=True)], [CHAT], max_moves=0))
    (misfit,) = plan.misfits
    assert (misfit.dimension, plan.status) == ("cordoned", PlanStatus.INFEASIBLE)
    assert misfit.message.endswith(f"; uncordon it or add a node, and {MORE_MOVES}")


def test_plan_says_so_of_a_pin_and_of_work_when_max_moves_is_zero():
    """The node has room: to make some would not help."""
    busy = deployment("chat", online_work=5000.0)
    snapshot = fleet(
        [node("n1"), node("n2")],
        [busy],
        [running("r1", "chat", "n1", 0)],
        pins=(Pin(deployment="chat", node="n2"),),
        max_moves=0,
    )
    said = {one.dimension: one.message for one in solved(snapshot).misfits}
    assert "engine-ms/s, 1 replica carries " in said["capacity"]
    assert said["capacity"].endswith(f"; {MORE_MOVES}")
    assert said["pin"].endswith(f"with 1 replica, 0 fit there; {MORE_MOVES}, or unpin")


def test_plan_says_so_of_a_fair_share_when_max_moves_is_zero():
    """It is missed in every round to come."""
    demands = tuple(
        BatchDemand(deployment=one, tenant=one, offline_work=5000.0) for one in ("red", "blue")
    )
    models = [deployment(one, min_replicas=0, stage=Stage.ACTIVE) for one in ("red", "blue")]
    (misfit, *_) = solved(fleet([node("n1")], models, batches=demands, max_moves=0)).misfits
    assert misfit.dimension == "fair_share"
    assert misfit.message.endswith(f"; {MORE_MOVES}")


@pytest.mark.parametrize(
    ("most", "words"),
    [
        (0, f"rounds make 0 moves at the most; {MORE_MOVES}"),
        (1, "rounds make 1 move at the most; the next go on"),
    ],
)
def test_explanation_says_what_a_bound_on_moves_means(most, words):
    """One more gains: rounds go on with it, unless they may make no move."""
    wanted = deployment("chat", online_work=2500.0, stage=Stage.ACTIVE)
    snapshot = fleet([node("n1")], [wanted], [running("r1", "chat", "n1", 0)], max_moves=most)
    found = binding_of(snapshot, "chat", is_served=False, is_short_online=True)
    assert (found.word, found.what) == ("max_moves", words)
