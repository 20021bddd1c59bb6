"""Fleets in counts while replicas come and go: no plan takes away what it can keep."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from planner.model import Desired, MoveKind, ReplicaState
from planner.placement.counts.limits import Limits as SearchLimits
from planner.placement.fleet import Standing, survey
from planner.placement.solve import Limits, solve
from planner.reconcile.moves import releasable
from tests.planner.placement.fleets import (
    batch,
    commit,
    deployment,
    edit_replica,
    fleet,
    node,
    running,
)
from tests.planner.placement.rich_fleets import rich_fleets

QUICK = Limits(counts=SearchLimits(parts=12, merged_parts=2, repairs=2))

STARTING = ReplicaState.STARTING
CHAT = deployment("chat", min_replicas=2, spread=True, node_groups=("g",), online_work=300.0)


@pytest.fixture(autouse=True)
def _nothing_refused(caplog):
    yield
    assert "placement_plan_refused" not in caplog.text
    assert "placement_solver_failed" not in caplog.text


def solved(snapshot):
    """The last plan of a short search."""
    *_, plan = solve(snapshot, work_left=lambda: 1.0, limits=QUICK)
    return plan


def transition(chat, *, others=(), beside=(), successor=STARTING):
    """Of chat, r2 comes up beside r1 on n1; r0 leaves n2 once r2 runs."""
    allocations = [
        running("r0", "chat", "n2", 0, desired=Desired.STOPPED, after=("r2",)),
        running("r1", "chat", "n1", 0),
        running("r2", "chat", "n1", 1, state=successor),
        *beside,
    ]
    nodes = (node("n1", group="g"), node("n2", devices=1, group="g"))
    return fleet(nodes, [chat, *others], allocations)


def serving(snapshot, of):
    """Replicas of a deployment that run now or are on their way, once released ones stopped."""
    gone = set(releasable(snapshot.allocations))
    return [
        a.replica
        for a in snapshot.allocations
        if a.deployment == of and a.holds_devices and a.replica not in gone
    ]


@pytest.mark.parametrize("most", [2, 3])
def test_successor_is_kept_when_spread_waits_for_the_one_that_leaves(most):
    """A seat that waits runs nothing: for spread alone nobody falls below min_replicas."""
    snapshot = transition(replace(CHAT, max_replicas=most))
    assert not survey(snapshot).is_plain

    plan = solved(snapshot)

    assert {"r1", "r2"} <= {p.replica for p in plan.placements}
    assert not [m for m in plan.moves if m.kind is MoveKind.REMOVE]
    assert serving(commit(snapshot, plan), "chat") == ["r0", "r1", "r2"]


def test_replicas_are_spread_add_before_drop_when_the_device_is_free_again():
    """The spread comes later: a new one on the freed node, and the old goes after it."""
    snapshot = transition(replace(CHAT, max_replicas=2), successor=ReplicaState.RUNNING)
    stopped = edit_replica(snapshot, "r0", state=ReplicaState.STOPPED)

    plan = solved(stopped)

    (add,) = [m for m in plan.moves if m.kind is MoveKind.ADD]
    (remove,) = [m for m in plan.moves if m.kind is MoveKind.REMOVE]
    assert (add.node, remove.node, remove.after) == ("n2", "n1", (add.replica,))


def test_removal_waits_when_one_that_runs_is_not_enough():
    """One of two runs and the successor is lost: the removal waits for what comes instead."""
    snapshot = edit_replica(transition(CHAT), "r2", state=ReplicaState.FAILED)
    snapshot = replace(snapshot, nodes=(*snapshot.nodes, node("n3", devices=1, group="g")))

    plan = solved(snapshot)

    assert "r0" in serving(commit(snapshot, plan), "chat")


def test_replica_stays_when_two_deployments_would_change_places():
    """Both would wait for each other: the one at min_replicas stays till it has a place."""
    bulk = batch("bulk", offline_work=500.0, node_groups=("g",), max_replicas=1)
    allocations = [
        running("r1", "chat", "n1", 0),
        running("r2", "chat", "n1", 1),
        running("b1", "bulk", "n2", 0),
    ]
    nodes = (node("n1", group="g"), node("n2", devices=1, group="g"))
    snapshot = fleet(nodes, [CHAT, bulk], allocations)

    plan = solved(snapshot)

    assert {"r1", "r2"} <= {p.replica for p in plan.placements}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(rich_fleets())
def test_no_plan_takes_a_deployment_below_min_replicas(snapshot):
    """Of replicas as wanted, as many stay or come at once as are wanted and were there."""
    snapshot = replace(snapshot, pins=())
    surveyed = survey(snapshot)
    for plan in solve(snapshot, work_left=lambda: 1.0, limits=QUICK):
        for name, wanted in surveyed.deployments.items():
            good = sum(surveyed.standing[a.replica] is Standing.GOOD for a in surveyed.of(name))
            placed = sum(p.deployment == name for p in plan.placements)
            assert placed >= min(good, wanted.min_replicas, wanted.max_replicas)
