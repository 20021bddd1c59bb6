"""Demand that flickers about what a replica bears moves no replica back and forth."""

from dataclasses import replace

import pytest

from planner.model import Desired, MoveKind
from planner.placement.counts.limits import Limits as SearchLimits
from planner.placement.fleet import survey
from planner.placement.solve import Limits, solve
from tests.planner.placement.fleets import (
    batch,
    commit,
    deployment,
    fleet,
    node,
    running,
    settle,
)

QUICK = Limits(counts=SearchLimits(parts=12, merged_parts=2, repairs=2))

# One replica bears 700 engine-ms per second: `DEFAULT_FRONTIER`.
CHAT = deployment("chat", min_replicas=2, max_replicas=2, spread=True)
ASSIST = deployment("assist", node_groups=("big",), max_replicas=2)
NODES = (node("n1", devices=3), node("n2", group="big"))
RUNNING = (
    running("c1", "chat", "n1", 0),
    running("c2", "chat", "n1", 1),
    running("a1", "assist", "n2", 0),
    running("a2", "assist", "n2", 1),
)


@pytest.fixture(autouse=True)
def _nothing_refused(caplog):
    yield
    assert "placement_plan_refused" not in caplog.text
    assert "placement_solver_failed" not in caplog.text


def with_demand(snapshot, **work):
    """The snapshot with the online work of some deployments."""
    return replace(
        snapshot,
        deployments=tuple(
            replace(d, online_work=work.get(d.id, d.online_work)) for d in snapshot.deployments
        ),
    )


def changes(snapshot, demands):
    """Moves that add or remove, round by round; each plan is committed and settles."""
    found = []
    for work in demands:
        snapshot = with_demand(snapshot, **work)
        *_, plan = solve(snapshot, work_left=lambda: 1.0, limits=QUICK)
        found.append([m for m in plan.moves if m.kind is not MoveKind.ADJUST])
        snapshot = settle(commit(snapshot, plan))
    return found, snapshot


@pytest.mark.parametrize(
    ("first", "others"),
    [(680.0, ()), (750.0, (batch("bulk", max_replicas=1, offline_work=500.0),))],
)
def test_replicas_stay_when_demand_flickers(first, others):
    """Ten rounds of 680 and 750 in turn: after two, nobody comes or goes."""
    snapshot = fleet(NODES, [CHAT, ASSIST, *others], RUNNING)
    assert not survey(snapshot).is_plain
    turns = [first, 1430.0 - first] * 5

    found, end = changes(snapshot, [{"assist": work, "chat": 300.0} for work in turns])

    assert found[2:] == [[]] * 8
    assert sum(a.deployment == "assist" for a in end.allocations) == 2


def test_spread_is_gained_when_demand_is_far_below_what_runs():
    """Hysteresis has an end: what nobody would want again makes room for spread."""
    snapshot = fleet(NODES, [CHAT, ASSIST], RUNNING)

    found, end = changes(snapshot, [{"assist": 300.0, "chat": 300.0}] * 6)

    wanted = [a for a in end.allocations if a.desired is Desired.RUNNING]
    assert sorted(a.node for a in wanted if a.deployment == "chat") == ["n1", "n2"]
    assert found[-1] == []
