"""What operators order over the wire: apply, roll back, freeze, pin."""

from typing import Any

import grpc
import pytest
from slacktide.v1 import (
    node_service_pb2,
    placement_pb2,
    placement_service_pb2,
    replica_pb2,
)

from tests.controlplane.server.agent_fake import FakeAgent
from tests.controlplane.server.conftest import Running, Start, deployment, new_id, refusal, until

APPLIED = placement_pb2.ROUND_OUTCOME_APPLIED


async def planned(running: Running, *supposed: Any) -> placement_service_pb2.PlanPlacementResponse:
    """A dry run."""
    return await running.placement.PlanPlacement(
        placement_service_pb2.PlanPlacementRequest(deployments=supposed), timeout=60
    )


async def apply_plan(
    running: Running, plan: placement_pb2.Plan, **fields: Any
) -> placement_pb2.Plan:
    """Applies a plan as made."""
    fields.setdefault("request_id", new_id())
    fields.setdefault("revision", plan.base_revision)
    response = await running.placement.ApplyPlacement(
        placement_service_pb2.ApplyPlacementRequest(plan=plan, **fields)
    )
    return response.plan


async def freeze(running: Running, target: str = "", *, frozen: bool = True) -> Any:
    """Freezes or thaws."""
    return await running.placement.FreezePlacement(
        placement_service_pb2.FreezePlacementRequest(
            frozen=frozen, target=target, reason="drill", request_id=new_id()
        )
    )


async def pin(running: Running, node: str, *, of: str = "chat", replicas: int = 1) -> Any:
    """Pins a deployment to a node."""
    response = await running.placement.PinPlacement(
        placement_service_pb2.PinPlacementRequest(
            deployment=f"deployments/{of}",
            node=f"nodes/{node}",
            replicas=replicas,
            request_id=new_id(),
        )
    )
    return response.pin


async def settled(running: Running) -> int:
    """The revision, once rounds change nothing more."""

    async def look() -> int | None:
        before = (await running.placement_now()).revision
        newest = await running.plans(page_size=1)
        still = newest and newest[0].outcome == placement_pb2.ROUND_OUTCOME_UNCHANGED
        return before if still and newest[0].base_revision == before else None

    running.plane._rounds.request("test")
    return await until(look)


async def moved_to(running: Running, node: str) -> replica_pb2.Replica:
    """The one replica of chat, running on that node."""

    async def look() -> replica_pb2.Replica | None:
        found = await running.replicas("chat")
        there = len(found) == 1 and found[0].node == f"nodes/{node}"
        return found[0] if there and found[0].state == 3 else None

    return await until(look)


async def mark(running: Running, call: str, node: str) -> None:
    """Cordons, drains or uncordons a node."""
    method = getattr(running.nodes, f"{call}Node")
    request = getattr(node_service_pb2, f"{call}NodeRequest")
    await method(request(name=f"nodes/{node}", request_id=new_id()), timeout=60)


async def test_plan_is_applied_once_when_its_revision_holds(start: Start) -> None:
    """A plan with a new replica is committed with moves, once for a request_id."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port):
        await running.apply(deployment(max_replicas=2))
        (first,) = await running.running("chat", 1)
        await settled(running)
        plan = (await planned(running)).plan
        taken = plan.placements[0].device_indices[0]
        plan.placements.add(
            deployment="deployments/chat", node="nodes/n1", device_indices=[1 - taken]
        )
        request_id = new_id()
        done = await apply_plan(running, plan, request_id=request_id)
        assert (done.outcome, len(done.placements)) == (APPLIED, 2)
        assert "applied by an operator" in done.trigger
        assert {one.kind for one in done.moves} >= {placement_pb2.MOVE_KIND_ADD}
        assert sum(one.online_share for one in done.placements) == pytest.approx(1.0)
        assert first.name in {one.replica for one in done.placements}
        assert await apply_plan(running, plan, request_id=request_id) == done
        assert len(await running.replicas("chat")) == 2


async def test_plan_is_aborted_when_its_revision_is_stale(start: Start) -> None:
    """It names both revisions, the replica that is gone and what to do; nothing changes."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port):
        await running.apply(deployment())
        await running.running("chat", 1)
        await settled(running)
        plan = (await planned(running)).plan
        plan.placements.add(
            replica="replicas/chat-gone",
            deployment="deployments/chat",
            node="nodes/n1",
            device_indices=[1],
        )
        await mark(running, "Cordon", "n1")
        refused = await refusal(apply_plan(running, plan))
        assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "STALE_REVISION")
        assert refused.metadata["plan_revision"] == str(plan.base_revision)
        assert int(refused.metadata["revision"]) > plan.base_revision
        assert set(refused.violations) == {"replicas/chat-gone"}
        assert "plan again" in refused.message


async def test_plan_is_refused_when_it_breaks_a_rule(start: Start) -> None:
    """Each placement at fault is a violation with its reason."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port):
        await running.apply(deployment())
        await running.running("chat", 1)
        await settled(running)
        plan = (await planned(running)).plan
        held = plan.placements[0].device_indices[0]
        cases = (
            ({"node": "nodes/n1", "device_indices": [held]}, "PLAN_REFUSED"),
            ({"node": "nodes/none", "device_indices": [0]}, "PLAN_REFUSED"),
            ({"node": "nodes/n1", "device_indices": [9]}, "PLAN_REFUSED"),
            ({"node": "nodes/n1", "device_indices": []}, "INVALID_PLAN"),
            ({"node": "n1", "device_indices": [0]}, "INVALID_PLAN"),
            ({"node": "nodes/n1", "device_indices": [1], "online_share": -1.0}, "INVALID_PLAN"),
        )
        for fields, reason in cases:
            broken = placement_pb2.Plan()
            broken.CopyFrom(plan)
            broken.placements.add(deployment="deployments/chat", **fields)
            refused = await refusal(apply_plan(running, broken))
            assert refused.reason == reason, refused
            assert refused.violations
        assert len(await running.replicas("chat")) == 1


async def test_rounds_say_what_they_would_do_when_the_fleet_is_frozen(start: Start) -> None:
    """Nothing is applied, also after a restart; once thawed, rounds go on."""
    running = await start()
    await freeze(running)
    async with FakeAgent(node="n1", port=running.port) as agent:
        await running.apply(deployment())

        async def held(of: Running, *, besides: str = "") -> placement_pb2.Plan | None:
            newest = await of.plans(page_size=1)
            frozen = newest and newest[0].outcome == placement_pb2.ROUND_OUTCOME_FROZEN
            return newest[0] if frozen and newest[0].name != besides else None

        told = await until(lambda: held(running))
        assert [one.kind for one in told.moves] == [placement_pb2.MOVE_KIND_ADD]
        assert await running.replicas() == []
        await running.crash()
        again = await start()
        await agent.disconnect()
        agent.connect(again.port)
        again.plane._rounds.request("test")
        later = await until(lambda: held(again, besides=told.name))
        assert int(later.name.removeprefix("plans/")) > int(told.name.removeprefix("plans/"))
        refused = await refusal(apply_plan(again, (await planned(again)).plan))
        assert refused.reason == "PLACEMENT_FROZEN"
        assert "drill" in refused.message
        response = await freeze(again, frozen=False)
        assert (response.frozen, list(response.freezes)) == (False, [])
        await again.running("chat", 1)


async def test_node_and_deployment_show_their_freeze_when_frozen(start: Start) -> None:
    """The freezes are listed with their reasons; what does not exist cannot be frozen."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port):
        await running.apply(deployment())
        await running.running("chat", 1)
        await freeze(running, "nodes/n1")
        await freeze(running, "deployments/chat")
        assert (await running.node("n1")).frozen
        now = await running.placement_now()
        assert [(one.target, one.reason) for one in now.freezes] == [
            ("deployments/chat", "drill"),
            ("nodes/n1", "drill"),
        ]
        for target, reason in (
            ("nodes/n9", "NODE_NOT_FOUND"),
            ("deployments/none", "DEPLOYMENT_NOT_FOUND"),
            ("replicas/x", "INVALID_TARGET"),
            ("nodes/N1", "INVALID_TARGET"),
        ):
            assert (await refusal(freeze(running, target))).reason == reason
        await freeze(running, "nodes/n1", frozen=False)
        assert not (await running.node("n1")).frozen


async def test_placement_returns_when_rolled_back(start: Start) -> None:
    """Moves as any plan's: the replica is added where it was before today's goes."""
    running = await start()
    async with (
        FakeAgent(node="n1", port=running.port),
        FakeAgent(node="n2", port=running.port),
    ):
        await mark(running, "Cordon", "n2")
        await running.apply(deployment())
        first = await moved_to(running, "n1")
        earlier = (await running.placement_now()).plan.name
        await mark(running, "Uncordon", "n2")
        await mark(running, "Drain", "n1")
        await moved_to(running, "n2")
        await mark(running, "Uncordon", "n1")
        await settled(running)
        request = placement_service_pb2.RollbackPlacementRequest(
            plan=earlier, freeze=True, validate_only=True
        )
        tried = await running.placement.RollbackPlacement(request)
        assert {one.kind for one in tried.plan.moves} >= {
            placement_pb2.MOVE_KIND_ADD,
            placement_pb2.MOVE_KIND_REMOVE,
        }
        assert (await running.placement_now()).freezes == []
        request.validate_only = False
        request.request_id = new_id()
        done = await running.placement.RollbackPlacement(request)
        assert (done.plan.outcome, done.unrestored) == (APPLIED, [])
        removal = next(one for one in done.plan.moves if one.kind == placement_pb2.MOVE_KIND_REMOVE)
        assert removal.after, "today's replica waits for the one that comes back"
        assert await running.placement.RollbackPlacement(request) == done
        back = await moved_to(running, "n1")
        assert back.device_indices == first.device_indices

        async def reached() -> bool:
            return (await running.placement_now()).rollback_to == ""

        await until(reached)
        now = await running.placement_now()
        assert [one.target for one in now.freezes] == [""]
        assert earlier in now.freezes[0].reason


async def test_rollback_is_refused_when_nothing_can_be_restored(start: Start) -> None:
    """One violation a placement with its reason; a plan that is not there is not found."""
    running = await start()
    async with (
        FakeAgent(node="n1", port=running.port),
        FakeAgent(node="n2", port=running.port),
    ):
        await mark(running, "Cordon", "n2")
        await running.apply(deployment())
        await moved_to(running, "n1")
        earlier = (await running.placement_now()).plan.name
        await mark(running, "Uncordon", "n2")
        await mark(running, "Drain", "n1")
        await moved_to(running, "n2")
        for plan, reason in (
            (earlier, "ROLLBACK_INFEASIBLE"),
            ("plans/999", "PLAN_NOT_FOUND"),
            ("plans/x", "INVALID_NAME"),
        ):
            refused = await refusal(
                running.placement.RollbackPlacement(
                    placement_service_pb2.RollbackPlacementRequest(plan=plan, request_id=new_id())
                )
            )
            assert refused.reason == reason
            if reason == "ROLLBACK_INFEASIBLE":
                assert refused.code is grpc.StatusCode.FAILED_PRECONDITION
                assert "uncordon" in refused.violations["deployments/chat"]
        assert (await moved_to(running, "n2")).node == "nodes/n2"


async def test_pins_are_listed_when_set_and_gone_when_taken_back(start: Start) -> None:
    """A repeat replaces; a deleted deployment takes its pins along."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port):
        await running.apply(deployment(max_replicas=2))
        await running.running("chat", 1)
        await pin(running, "n1")
        assert (await pin(running, "n1", replicas=2)).replicas == 2
        listed = await running.placement.ListPins(placement_service_pb2.ListPinsRequest())
        assert [(one.node, one.replicas) for one in listed.pins] == [("nodes/n1", 2)]
        unpin = placement_service_pb2.UnpinPlacementRequest(
            deployment="deployments/chat", node="nodes/n1", request_id=new_id()
        )
        for _ in range(2):  # the same request answers the same
            await running.placement.UnpinPlacement(unpin)
        unpin.request_id = new_id()
        refused = await refusal(running.placement.UnpinPlacement(unpin))
        assert refused.reason == "PIN_NOT_FOUND"
        assert "deployment chat on node n1" in refused.message


@pytest.mark.parametrize(
    ("fields", "replicas", "reason", "said"),
    [
        ({"max_replicas": 1}, 2, "PIN_INFEASIBLE", "max_replicas is 1"),
        ({"max_replicas": 9}, 3, "PIN_INFEASIBLE", "need 3 devices, it has 2"),
        ({"device_types": ["H100"]}, 1, "PIN_INFEASIBLE", "wants device type H100"),
        ({"node_groups": ["a"]}, 1, "PIN_INFEASIBLE", "node n1 is of no group"),
        ({"weights_bytes": 1 << 40}, 1, "PIN_INFEASIBLE", "needs 1024.0 GiB"),
        (
            {"max_replicas": 2, "anti_affinity": ["deployments/chat"]},
            2,
            "PIN_INFEASIBLE",
            "anti_affinity names itself",
        ),
        ({}, -1, "INVALID_PIN", "-1: must be 0 to 64"),
    ],
)
async def test_pin_is_refused_when_it_can_never_hold(
    start: Start, fields: dict[str, Any], replicas: int, reason: str, said: str
) -> None:
    """What contradicts it is named; nothing is stored."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port):
        await running.apply(deployment(**fields))
        refused = await refusal(pin(running, "n1", replicas=replicas))
        assert (refused.reason, said in str(refused.violations)) == (reason, True), refused
        listed = await running.placement.ListPins(placement_service_pb2.ListPinsRequest())
        assert listed.pins == []


async def test_pins_are_refused_when_they_contradict_each_other(start: Start) -> None:
    """Two deployments that keep apart, or devices that do not suffice for both."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port):
        await running.apply(deployment("chat", anti_affinity=["deployments/code"]))
        await running.apply(deployment("code"))
        await running.apply(deployment("docs", tensor_parallel_size=2))
        await pin(running, "n1", of="chat")
        refused = await refusal(pin(running, "n1", of="code"))
        assert "anti_affinity keeps the two apart" in refused.violations["deployments/chat"]
        refused = await refusal(pin(running, "n1", of="docs"))
        assert "need 3 devices, it has 2" in refused.violations["nodes/n1"]


async def test_drain_is_refused_when_a_freeze_would_hold_its_replicas(start: Start) -> None:
    """Nothing would move before the deadline: it says so, and force drains all the same."""
    running = await start()
    async with (
        FakeAgent(node="n1", port=running.port),
        FakeAgent(node="n2", port=running.port),
    ):
        await running.apply(deployment())
        (here,) = await running.running("chat", 1)
        node = here.node.removeprefix("nodes/")
        for target in ("", here.node):
            await freeze(running, target)
            refused = await refusal(mark(running, "Drain", node))
            assert (refused.code, refused.reason) == (
                grpc.StatusCode.FAILED_PRECONDITION,
                "PLACEMENT_FROZEN",
            )
            assert "unfreeze" in refused.message and "force" in refused.message
            await freeze(running, target, frozen=False)
        await mark(running, "Drain", node)


async def test_rollback_goes_on_when_a_seat_is_held_and_the_leader_is_killed(
    start: Start,
) -> None:
    """Who holds the seat leaves first; the next leader takes the steps that are left."""
    running = await start()
    async with (
        FakeAgent(node="n1", port=running.port, devices=1) as first,
        FakeAgent(node="n2", port=running.port, devices=1) as second,
    ):
        await mark(running, "Cordon", "n2")
        await running.apply(deployment("code", min_replicas=0))
        await running.apply(deployment("chat"))
        await moved_to(running, "n1")
        earlier = (await running.placement_now()).plan.name
        await mark(running, "Uncordon", "n2")
        await mark(running, "Drain", "n1")
        await moved_to(running, "n2")
        await mark(running, "Uncordon", "n1")
        await running.apply(deployment("code"))
        (held,) = await running.running("code", 1)
        assert held.node == "nodes/n1"
        done = await running.placement.RollbackPlacement(
            placement_service_pb2.RollbackPlacementRequest(
                plan=earlier, freeze=True, request_id=new_id()
            )
        )
        assert [one.node for one in done.plan.waiting] == ["nodes/n1"]
        assert held.name in {one.replica for one in done.plan.moves}
        await running.crash()
        again = await start()
        for agent in (first, second):
            await agent.disconnect()
            agent.connect(again.port)
        assert (await moved_to(again, "n1")).device_indices == [0]
        assert await again.replicas("code") == []

        async def over() -> bool:
            now = await again.placement_now()
            return now.rollback_to == "" and len(now.freezes) == 1

        again.plane._rounds.request("test")
        await until(over)
