"""What is asked of placements over the wire: the ledger, explanations, what-ifs."""

import sys
from typing import Any

import grpc
import pytest
from slacktide.v1 import node_pb2, placement_pb2, placement_service_pb2

from controlplane.rounds.solver import Solver
from tests.controlplane.server.agent_fake import GIB, FakeAgent
from tests.controlplane.server.conftest import Running, Start, deployment, refusal, until
from tests.controlplane.server.test_placement_orders import mark, planned, settled

WHOLE = placement_service_pb2.PLAN_VIEW_FULL
BASIC = placement_service_pb2.PLAN_VIEW_BASIC
MORE = placement_service_pb2.DIFFERENCE_KIND_ONE_MORE_REPLICA


async def what_if(running: Running, **fields: Any) -> placement_service_pb2.WhatIfResponse:
    """A what-if."""
    return await running.placement.WhatIf(placement_service_pb2.WhatIfRequest(**fields), timeout=60)


async def explain(running: Running, of: str = "chat", node: str = "") -> Any:
    """An explanation."""
    return await running.placement.ExplainPlacement(
        placement_service_pb2.ExplainPlacementRequest(
            deployment=f"deployments/{of}", node=f"nodes/{node}" if node else ""
        ),
        timeout=60,
    )


def h100(count: int) -> list[node_pb2.Device]:
    """Devices of one large node."""
    return [
        node_pb2.Device(index=index, device_type="NVIDIA H100 80GB HBM3", memory_bytes=80 * GIB)
        for index in range(count)
    ]


async def test_every_round_is_in_the_ledger_when_it_changes_nothing(start: Start) -> None:
    """With the hash of its inputs, its terms and what stayed in force; pages agree."""
    running = await start(round_interval_s=0.3)
    async with FakeAgent(node="n1", port=running.port):
        await running.apply(deployment())
        await running.running("chat", 1)

        async def quiet() -> list[placement_pb2.Plan] | None:
            newest = await running.plans(page_size=3, view=BASIC)
            outcomes = {one.outcome for one in newest}
            calm = outcomes == {placement_pb2.ROUND_OUTCOME_UNCHANGED} and len(newest) == 3
            return newest if calm else None

        newest = await until(quiet)
        in_force = (await running.placement_now()).plan
        rounds = [int(one.name.removeprefix("plans/")) for one in newest]
        assert rounds == [rounds[0], rounds[0] - 1, rounds[0] - 2]
        assert len({one.inputs_hash for one in newest}) == 1, "nothing changed between them"
        assert all(len(one.inputs_hash) == 64 and one.terms for one in newest)
        assert {one.placements_from for one in newest} == {in_force.name}
        assert all(not one.placements for one in newest)
        got = await running.placement.GetPlan(
            placement_service_pb2.GetPlanRequest(name=newest[0].name)
        )
        assert got.plan.placements == in_force.placements
        notable = await running.plans(notable_only=True)
        assert placement_pb2.ROUND_OUTCOME_UNCHANGED not in {one.outcome for one in notable}
        assert in_force.name in {one.name for one in notable}
        assert (await running.placement_now()).last_round.base_revision


async def test_round_is_in_the_ledger_when_the_solver_fails(start: Start) -> None:
    """The failure is noted with the plan greedy gave instead."""
    running = await start()
    running.plane._rounds._solver = Solver((sys.executable, "-c", "raise SystemExit(3)"))
    async with FakeAgent(node="n1", port=running.port):
        await running.apply(deployment())
        await running.running("chat", 1)
        applied = (await running.placement_now()).plan
        assert applied.solver == "greedy"
        assert "ended in the middle" in applied.failure


async def test_plans_are_compared_when_two_are_named(start: Start) -> None:
    """Moves by replica, the terms that differ, and whether the inputs were the same."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port):
        await running.apply(deployment(max_replicas=2))
        await running.running("chat", 1)
        first = (await running.placement_now()).plan
        await running.apply(deployment(min_replicas=2, max_replicas=2))
        await running.running("chat", 2)
        second = (await running.placement_now()).plan
        request = placement_service_pb2.DiffPlansRequest(to=second.name, **{"from": first.name})
        found = await running.placement.DiffPlans(request)
        kinds = [one.kind for one in found.moves]
        assert kinds.count(placement_pb2.MOVE_KIND_ADD) == 1
        assert placement_pb2.MOVE_KIND_REMOVE not in kinds
        assert not found.same_inputs
        weighted = sum(one.weight * one.value for one in found.terms)
        assert weighted == pytest.approx(found.objective_difference)
        same = await running.placement.DiffPlans(
            placement_service_pb2.DiffPlansRequest(to=first.name, **{"from": first.name})
        )
        assert (same.moves, same.terms, same.same_inputs) == ([], [], True)
        refused = await refusal(
            running.placement.DiffPlans(placement_service_pb2.DiffPlansRequest(to=first.name))
        )
        assert set(refused.violations) == {"from"}


async def test_dry_run_tells_what_is_served_when_load_is_expected(start: Start) -> None:
    """Totals of what runs and of the plan; nothing is stored."""
    running = await start(round_interval_s=600)
    async with FakeAgent(node="n1", port=running.port):
        await running.apply(deployment(expected_online_work=500))
        await running.running("chat", 1)
        found = await planned(running, deployment(max_replicas=2, expected_online_work=1200))
        assert (found.now.online_work_wanted, found.now.online_work_served) == (1200, 700)
        assert (found.planned.online_work_served, found.planned.replicas) == (1200, 2)
        assert (found.planned.devices_used, found.planned.devices_ready) == (2, 2)
        assert len(await running.replicas()) == 1


async def test_explanation_names_max_replicas_when_it_binds(start: Start) -> None:
    """One more replica would serve more: how much, once the bound is lifted."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port):
        await running.apply(deployment(expected_online_work=1200))
        await running.running("chat", 1)
        said = await explain(running)
        assert said.binding == "max_replicas"
        assert "1 replica serves 700 of 1200 online (0 observed, 1200 expected) and" in said.summary
        assert "raise max_replicas" in said.summary
        more = next(one for one in said.differences if one.kind == MORE)
        assert (more.fits, more.would_fit_if) == (False, "max_replicas were 2")
        relaxed = said.differences[0]
        assert relaxed.change.startswith("max_replicas 2 instead of 1")
        assert relaxed.fits and relaxed.objective_difference < 0
        short = next(one for one in relaxed.terms if one.name == "online_shortfall")
        assert short.value == pytest.approx(-0.5)
        weighted = sum(one.weight * one.value for one in relaxed.terms)
        assert weighted == pytest.approx(relaxed.objective_difference)


async def test_explanation_names_the_cordon_when_it_binds(start: Start) -> None:
    """On the node asked about, and what uncordoning it would bring."""
    running = await start()
    async with (
        FakeAgent(node="n1", port=running.port, devices=1),
        FakeAgent(node="n2", port=running.port, devices=1),
    ):
        await mark(running, "Cordon", "n2")
        await running.apply(deployment(min_replicas=2, max_replicas=2, expected_online_work=1200))
        await running.running("chat", 1)
        said = await explain(running, node="n2")
        assert (said.binding, len(said.misfits)) == ("cordoned", 1)
        opened = said.differences[0]
        assert opened.kind == placement_service_pb2.DIFFERENCE_KIND_NODE_OPENED
        assert (opened.node, opened.fits) == ("nodes/n2", True)
        assert opened.objective_difference < 0
        more = next(one for one in said.differences if one.kind == MORE)
        assert not more.fits and "uncordon it" in more.would_fit_if
        full = await explain(running, node="n1")
        assert full.binding == "devices"
        whole = await explain(running)
        added = [
            one
            for one in whole.differences
            if one.kind == placement_service_pb2.DIFFERENCE_KIND_NODE_ADDED
        ]
        assert added and added[0].objective_difference < 0


async def test_explanation_says_that_nothing_binds_when_all_is_served(start: Start) -> None:
    """One more would only cost; one less would be missed."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port):
        await running.apply(deployment(max_replicas=2, expected_online_work=300))
        await running.running("chat", 1)
        said = await explain(running)
        assert said.binding == "none"
        by_kind = {one.kind: one for one in said.differences}
        assert by_kind[MORE].fits and by_kind[MORE].objective_difference > 0
        less = by_kind[placement_service_pb2.DIFFERENCE_KIND_ONE_LESS_REPLICA]
        assert less.objective_difference > by_kind[MORE].objective_difference
        for of, node, reason in (
            ("none", "", "DEPLOYMENT_NOT_FOUND"),
            ("chat", "n9", "NODE_NOT_FOUND"),
        ):
            assert (await refusal(explain(running, of, node))).reason == reason


async def test_explanation_waits_when_the_model_is_unknown(start: Start) -> None:
    """It says that an agent has to read it first."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port):
        await running.apply(deployment(weights_bytes=0))
        refused = await refusal(explain(running))
        assert (refused.code, refused.reason) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "MODEL_UNKNOWN",
        )
        assert "weights_bytes" in refused.message


async def test_what_if_moves_replicas_when_a_node_is_lost(start: Start) -> None:
    """The plan a real loss would get; the fleet stays as it is."""
    running = await start()
    async with (
        FakeAgent(node="n1", port=running.port),
        FakeAgent(node="n2", port=running.port),
    ):
        await running.apply(deployment(expected_online_work=500))
        (here,) = await running.running("chat", 1)
        await settled(running)
        other = {"nodes/n1": "nodes/n2", "nodes/n2": "nodes/n1"}[here.node]
        found = await what_if(running, lost_nodes=[here.node])
        assert [one.node for one in found.plan.placements] == [other]
        assert (found.now.online_work_served, found.supposed.online_work_served) == (500, 500)
        assert (found.now.nodes_ready, found.supposed.nodes_ready) == (2, 1)
        both = await what_if(running, lost_nodes=["nodes/n1", "nodes/n2"])
        assert (both.supposed.online_work_served, both.supposed.nodes_used) == (0, 0)
        assert both.supposed.missing_replicas == 1
        assert (await running.replicas())[0].name == here.name
        assert (await running.node("n1")).state == node_pb2.NODE_STATE_READY


async def test_what_if_serves_more_when_load_grows_and_nodes_are_added(start: Start) -> None:
    """Load scaled beyond the fleet is short until nodes of a type are added."""
    running = await start()
    large = FakeAgent(node="n1", port=running.port, given_devices=h100(1))
    async with large, FakeAgent(node="n2", port=running.port):
        await running.apply(
            deployment(
                max_replicas=8,
                expected_online_work=600,
                device_types=["NVIDIA H100 80GB HBM3"],
            )
        )
        await running.running("chat", 1)
        await settled(running)
        grown = await what_if(running, scaled_load={"deployments/chat": 4.0})
        assert (grown.supposed.online_work_wanted, grown.supposed.online_work_served) == (2400, 700)
        assert grown.plan.misfits
        added = await what_if(
            running,
            scaled_load={"deployments/chat": 4.0},
            added_nodes=[placement_service_pb2.AddedNodes(count=2, device_type="h100", devices=4)],
        )
        assert added.supposed.online_work_served == 2400
        assert (added.supposed.nodes_ready, added.supposed.devices_ready) == (4, 11)
        (chat,) = added.deployments
        assert (chat.deployment, chat.totals.replicas) == ("deployments/chat", 4)
        alike = await what_if(
            running, added_nodes=[placement_service_pb2.AddedNodes(count=3, device_type="H100")]
        )
        assert alike.supposed.devices_ready == 3 + 3, "one device each, as the fleet's"
        cordoned = await what_if(running, cordoned_nodes=["nodes/n1"], added_nodes=[])
        assert len(cordoned.plan.placements) == 1, "what runs on a cordoned node stays"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"lost_nodes": ["nodes/n9"]}, "NODE_NOT_FOUND"),
        ({"cordoned_nodes": ["nodes/n9"]}, "NODE_NOT_FOUND"),
        ({"lost_nodes": ["n1"]}, "INVALID_WHAT_IF"),
        ({"scaled_load": {"deployments/none": 1.0}}, "DEPLOYMENT_NOT_FOUND"),
        ({"scaled_load": {"chat": 1.0}}, "INVALID_WHAT_IF"),
        ({"scaled_load": {"deployments/chat": -1.0}}, "INVALID_WHAT_IF"),
        ({"scaled_load": {"deployments/chat": float("nan")}}, "INVALID_WHAT_IF"),
        ({"added_nodes": [{"count": 0, "device_type": "cpu"}]}, "INVALID_WHAT_IF"),
        ({"added_nodes": [{"count": 1}]}, "INVALID_WHAT_IF"),
        ({"added_nodes": [{"count": 9999, "device_type": "cpu"}] * 2}, "INVALID_WHAT_IF"),
        ({"added_nodes": [{"count": 1, "device_type": "tpu"}]}, "INVALID_ADDED_NODES"),
    ],
)
async def test_what_if_is_refused_when_it_supposes_what_cannot_be(
    start: Start, fields: dict[str, Any], reason: str
) -> None:
    """Each names the value and what to do."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port):
        await running.apply(deployment())
        assert (await refusal(what_if(running, **fields))).reason == reason


async def test_service_leaves_no_rpc_unanswered_when_listed() -> None:
    """Every RPC of PlacementService has a body of its own."""
    from slacktide.v1 import placement_service_pb2_grpc

    from controlplane.services.placement import PlacementServicer

    service = placement_service_pb2.DESCRIPTOR.services_by_name["PlacementService"]
    base = placement_service_pb2_grpc.PlacementServiceServicer
    for method in service.methods:
        assert getattr(PlacementServicer, method.name) is not getattr(base, method.name)


async def test_whole_plans_are_each_listed_once_when_a_page_would_be_too_large(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page ends before it outgrows a message, and the next goes on from there."""
    monkeypatch.setattr("controlplane.services.placement.MOST_PLACEMENTS_A_PAGE", 2)
    running = await start()
    async with FakeAgent(node="n1", port=running.port):
        for most in (1, 2):
            await running.apply(deployment(min_replicas=most, max_replicas=most))
            await running.running("chat", most)
        await settled(running)
        names: list[str] = []
        token = ""
        while True:
            page = await running.placement.ListPlans(
                placement_service_pb2.ListPlansRequest(page_size=50, page_token=token, view=WHOLE)
            )
            names += [one.name for one in page.plans]
            token = page.next_page_token
            if not token:
                break
            assert len(page.plans) < 3
        assert names == [f"plans/{round_}" for round_ in range(len(names), 0, -1)]
        assert len(names) >= 3
