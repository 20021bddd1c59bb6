"""Load shifts between two deployments: the plan follows, and nobody notices but the ledger.

"chat" has a replica on either node, "side" one on node n1, the only node of the group it
may go to. Load moves from chat to side. The next round must see that side needs a second
replica, that only n1 will do, and that chat's replica there has to move to n2 first:
so one move has to be made before another, and both before side can grow. Nothing here is
timed; what is waited for is a round, or a replica's state.
"""

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fleet_under_test import FleetUnderTest, Load, steady_decodes, under_load
from slacktide.v1.node_service_pb2 import LabelNodeRequest
from slacktide.v1.placement_pb2 import (
    MOVE_KIND_ADD,
    MOVE_KIND_REMOVE,
    Plan,
)
from slacktide.v1.placement_service_pb2 import (
    GetPlacementRequest,
    ListPlansRequest,
    PlanPlacementRequest,
)

from controlplane.client import CALL_DEADLINE_S, SOLVE_DEADLINE_S, Fleet, new_request_id
from controlplane.localfleet.readiness import wait_until
from planner.interference.frontier import DEFAULT_FRONTIER

pytestmark = pytest.mark.cluster

BUSY, QUIET = 2.5, 0.4  # requests per second, of a hundred tokens each
MOST = 6.0  # what load may grow to until one replica is too few for it
MUCH = 1300.0  # engine-ms/s, nearly what two replicas bear
WAIT_S = 600.0  # no claim: engines start on cores that others use too
CHAT, SIDE = "deployments/chat", "deployments/side"


SIDE_SPEC: dict[str, Any] = {
    "model": "tiny-too", "node_groups": ["left"], "min_replicas": 1, "max_replicas": 2,
    "spread": False, "expected_online_work": 0.0,
}  # fmt: skip


@pytest.fixture
def changed(fleet: FleetUnderTest) -> FleetUnderTest:
    """The fleet with a group "left" of n1 alone. It is not put back: nothing runs on it after
    this (`conftest.pytest_collection_modifyitems`).
    """
    with fleet.client() as client:
        request = LabelNodeRequest(
            name="nodes/n1", labels={"group": "left"}, request_id=new_request_id()
        )
        client.nodes.LabelNode(request, timeout=CALL_DEADLINE_S)
    fleet.apply(spread=False)  # it may run twice on n2
    return fleet


def test_plan_and_traffic_follow_when_load_shifts_to_the_other_deployment(
    changed: FleetUnderTest, tmp_path: Path
) -> None:
    """Within a round, add before drop, no failed request, no item lost, explained as it is.

    Nor does a request fail while side gets its first replica.
    """
    leaving = next(r.name for r in changed.running("chat") if r.node == "nodes/n1")
    with ExitStack() as stack:
        client = stack.enter_context(changed.client())
        chat = stack.enter_context(under_load(changed, requests_per_s=BUSY, draw=steady_decodes))
        changed.apply(name="side", **SIDE_SPEC)
        changed.settle()
        assert [r.node for r in changed.running("side")] == ["nodes/n1"]
        assert len(changed.running("chat")) == 2
        side = stack.enter_context(
            under_load(changed, requests_per_s=QUIET, deployment="side", draw=steady_decodes)
        )
        wait_until("chat has the load", lambda: _is_behind(changed), timeout_s=WAIT_S)
        calm = explained(changed, "side")
        before = rounds(client)[-1].name
        batch = changed.submit(tmp_path, count=40, seed=5)

        chat.requests_per_s, side.requests_per_s = QUIET, BUSY
        first = _wait_for_lack(client, after=before, load=side)
        pressed = explained(changed, "side")
        wait_until("side has two replicas", lambda: _lacks(changed, "side", 2), timeout_s=WAIT_S)
        known = {r.replica for r in side.records}
        wait_until("both serve", lambda: _unused(changed, side, known), timeout_s=WAIT_S)
        batch.require_exact()
        shift = rounds(client, after=before)
    for load in (chat, side):
        assert not load.failures, load.deployment

    # The round that saw the lack is the one that acts on it, and adds before it drops.
    added = next(m for m in first.moves if m.kind == MOVE_KIND_ADD)
    dropped = next(m for m in first.moves if m.kind == MOVE_KIND_REMOVE)
    assert (added.deployment, added.node) == (CHAT, "nodes/n2")
    assert (dropped.replica, list(dropped.after)) == (leaving, [added.replica])
    assert added.group == dropped.group
    assert [(w.deployment, w.node) for w in first.waiting] == [(SIDE, "nodes/n1")]
    moves = [m for plan in shift for m in plan.moves]
    assert [m.replica for m in moves if m.kind == MOVE_KIND_REMOVE] == [leaving]
    assert [m.deployment for m in moves if m.kind == MOVE_KIND_ADD] == [CHAT, SIDE]
    assert all(sum(p.deployment == CHAT for p in plan.placements) == 2 for plan in shift)
    assert {r.node for r in changed.running("chat")} == {"nodes/n2"}
    assert {r.node for r in changed.running("side")} == {"nodes/n1"}
    assert added.replica in {r.replica for r in chat.records}

    _require_truth(calm, pressed, leaving=leaving.removeprefix("replicas/"))
    _require_same_difference(changed)


def _require_truth(calm: dict[str, Any], pressed: dict[str, Any], *, leaving: str) -> None:
    """Before, nothing binds; under load, what is short, and whose devices it waits for."""
    assert calm["binding"] == "none"
    assert _short(calm) == 0.0
    assert pressed["binding"] == "devices", pressed["summary"]
    lack = _short(pressed)
    assert lack > 0.0
    more = _difference(pressed, "ONE_MORE_REPLICA")
    assert not more["fits"]
    assert (
        f"node n1 had 1 more free device(s): wait until replica {leaving} has stopped"
        in (more["wouldFitIf"])
    )
    added = _difference(pressed, "NODE_ADDED")
    gains = {t["name"]: t["value"] for t in added["terms"]}
    most = DEFAULT_FRONTIER.max_online_work  # nothing better is known of these engines
    assert gains["online_shortfall"] == pytest.approx(-min(lack, most) / 1000.0, abs=1e-6)
    assert added["objectiveDifference"] == pytest.approx(
        sum(t["weight"] * t["value"] for t in added["terms"])
    )


def _require_same_difference(changed: FleetUnderTest) -> None:
    """What one replica less costs, as `explain` evaluates it and as two solves have it.

    Both deployments expect more than was seen of them, so that demand stays while it is asked.
    """
    changed.apply(spread=False, expected_online_work=MUCH)
    applied = changed.apply(name="side", **{**SIDE_SPEC, "expected_online_work": MUCH})
    applied.spec.max_replicas = 1
    told: dict[str, Any] = {}
    solved: list[Plan] = []

    def observe() -> str:
        """Until demand was the same in all answers."""
        before = _wanted(changed)
        told.update(_difference(explained(changed, "side"), "ONE_LESS_REPLICA"))
        with changed.client() as client:
            answers = [
                client.placement.PlanPlacement(
                    PlanPlacementRequest(deployments=changed), timeout=SOLVE_DEADLINE_S
                )
                for changed in ([], [applied])
            ]
        solved[:] = [one.plan for one in answers]
        seen = {before, _wanted(changed), *(one.now.online_work_wanted for one in answers)}
        return "" if len(seen) == 1 else f"{sorted(seen)} engine-ms/s"

    wait_until("demand stays", observe, timeout_s=WAIT_S)
    as_is, less = solved
    assert not [m for m in as_is.moves if m.kind in (MOVE_KIND_ADD, MOVE_KIND_REMOVE)]
    assert [m.deployment for m in less.moves if m.kind == MOVE_KIND_REMOVE] == [SIDE]
    assert told["objectiveDifference"] > 0.0
    assert told["objectiveDifference"] == pytest.approx(less.objective - as_is.objective)


def _wanted(changed: FleetUnderTest) -> float:
    """Online work wanted of both, engine-ms per second."""
    with changed.client() as client:
        answer = client.placement.GetPlacement(GetPlacementRequest(), timeout=CALL_DEADLINE_S)
        return float(answer.totals.online_work_wanted)


def explained(changed: FleetUnderTest, deployment: str) -> dict[str, Any]:
    """What the command line says, as JSON."""
    told = subprocess.run(
        [
            Path(sys.executable).with_name("slacktide"),
            *("placement", "explain", deployment, "-o", "json"),
        ],
        env={**os.environ, "SLACKTIDE_STATE_DIR": str(changed.state_dir)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=True,
    )
    answer: dict[str, Any] = json.loads(told.stdout)
    return answer


def rounds(client: Fleet, *, after: str = "") -> list[Plan]:
    """Rounds that changed something, oldest first, that came after one."""
    answer = client.placement.ListPlans(
        ListPlansRequest(page_size=200, notable_only=True), timeout=CALL_DEADLINE_S
    )
    number = _number(after)
    return [one for one in reversed(answer.plans) if _number(one.name) > number]


def _number(name: str) -> int:
    return int(name.rpartition("/")[2] or 0)


def _wait_for_lack(client: Fleet, *, after: str, load: Load) -> Plan:
    """The first round that says side is short; load grows until one replica is too few.

    Not the rounds between, that only route anew what is placed.
    """
    found: list[Plan] = []

    def observe() -> str:
        found[:] = [
            one for one in rounds(client, after=after)
            if one.solver != "flow" and any(m.deployment == SIDE for m in one.misfits)
        ]  # fmt: skip
        if not found:
            load.requests_per_s = min(MOST, load.requests_per_s + 0.005)
        return "" if found else "no round is short of it"

    wait_until("side is short", observe, timeout_s=WAIT_S)
    return found[0]


def _is_behind(changed: FleetUnderTest) -> str:
    """Until chat has several times the demand of side."""
    chat, side = (
        sum(r.report.load.online_work for r in changed.running(name)) for name in ("chat", "side")
    )
    return "" if chat > 2.0 * side > 0.0 else f"chat {chat:.0f}, side {side:.0f} engine-ms/s"


def _lacks(changed: FleetUnderTest, name: str, count: int) -> str:
    running = len(changed.running(name))
    return "" if running >= count else f"{running} of {count} run"


def _unused(changed: FleetUnderTest, load: Load, known: set[str]) -> str:
    """Replicas that no request has reached yet."""
    served = known | {r.replica for r in load.records}
    return ", ".join(r.name for r in changed.running("side") if r.name not in served)


def _short(answer: dict[str, Any]) -> float:
    totals = answer["totals"]
    return float(totals["onlineWorkWanted"]) - float(totals["onlineWorkServed"])


def _difference(answer: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(d for d in answer["differences"] if d["kind"] == f"DIFFERENCE_KIND_{kind}")
