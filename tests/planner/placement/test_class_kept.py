"""The SLO class a replica is held to stays with it while the plan wants as many of each."""

from dataclasses import replace

import pytest

from planner.model import OFFLINE_ONLY, PlanStatus
from planner.placement.fleet import Draft, Seat, survey
from planner.placement.publish import publish
from tests.planner.placement.fleets import deployment, fleet, node, running
from tests.planner.placement.rich_fleets import classes, curves


def shared(*, first, second):
    """Two replicas of a deployment with two classes, one wanted of each."""
    own = classes(tight=200.0, loose=450.0)
    wanted = deployment("chat", min_replicas=2, max_replicas=3, slo_classes=own)
    rows = [running("a", "chat", "n1", 0), running("b", "chat", "n2", 0)]
    held = [replace(row, slo_class=name) for row, name in zip(rows, (first, second), strict=True)]
    return fleet(
        [node("n1", kind="a"), node("n2", kind="a"), node("n3", kind="a")],
        [wanted],
        held,
        frontiers=tuple(curves("chat", own, [1], kinds=("a",))),
    )


def published(snapshot, draft):
    return publish(
        survey(snapshot), draft, status=PlanStatus.FEASIBLE, solver="", bound=float("-inf")
    )


@pytest.mark.parametrize(("first", "second"), [("tight", "loose"), ("loose", "tight")])
def test_class_stays_when_a_kept_replica_has_it(first, second):
    """Else budgets would change hands each round, for nothing."""
    plan = published(shared(first=first, second=second), Draft(kept=frozenset({"a", "b"})))
    assert {p.replica: p.slo_class for p in plan.placements} == {"a": first, "b": second}


@pytest.mark.parametrize(("first", "second"), [("tight", "loose"), ("loose", "tight")])
def test_class_is_that_asked_for_when_a_new_replica_has_one(first, second):
    """As a plan that an operator chose, or an earlier round, says."""
    snapshot = replace(shared(first="", second=""), allocations=())
    asked = {"n1": first, "n2": second}
    seats = tuple(
        Seat(deployment="chat", node=name, devices=(0,), slo_class=cls)
        for name, cls in asked.items()
    )
    plan = published(snapshot, Draft(kept=frozenset(), new=seats))
    assert {p.node: p.slo_class for p in plan.placements} == asked


def test_class_goes_to_what_runs_when_both_ask_for_it():
    """The new one takes the other."""
    snapshot = shared(first="tight", second="tight")
    seat = Seat(deployment="chat", node="n3", devices=(0,), slo_class="tight")
    plan = published(snapshot, Draft(kept=frozenset({"a"}), new=(seat,)))
    assert {p.replica: p.slo_class for p in plan.placements} == {"a": "tight", None: "loose"}


def test_class_is_dropped_when_the_deployment_has_it_no_more():
    """What is wanted of all requests is served by all replicas."""
    snapshot = shared(first=OFFLINE_ONLY, second="tight")
    plain = replace(
        snapshot,
        deployments=(replace(snapshot.deployments[0], slo_classes=(), online_work=400.0),),
        frontiers=(),
    )
    plan = published(plain, Draft(kept=frozenset({"a", "b"})))
    assert [(p.slo_class, p.online_share) for p in plan.placements] == [("", 0.5), ("", 0.5)]
