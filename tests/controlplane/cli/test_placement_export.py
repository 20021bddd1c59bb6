"""`slacktide placement export`, and a replay of what it wrote."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from slacktide.v1.batch_pb2 import Batch, BatchCounts, BatchState
from slacktide.v1.deployment_pb2 import Deployment, DeploymentSpec, SloClass, Stage
from slacktide.v1.node_pb2 import Device, Node, NodeState
from slacktide.v1.placement_pb2 import (
    DeploymentTotals,
    Freeze,
    ObjectiveTerm,
    Pin,
    Placement,
    PlacementTotals,
    Plan,
)
from slacktide.v1.slo_pb2 import Slo
from slacktide.v1.tenant_pb2 import Tenant

from controlplane.cli.failures import CommandError
from controlplane.cli.placement_export import fleet_values
from controlplane.cli.placement_export_facts import FleetFacts, head_of_left_out, left_out
from controlplane.cli.replay_fleet_file import read_fleet
from planner.interference.frontier import DEFAULT_FRONTIER, online_limit
from planner.model import Pin as PlannedPin
from planner.model import Stage as PlannedStage
from planner.model import Tenant as PlannedTenant
from planner.placement.weights import weights_at
from tests.controlplane.cli.program import slacktide
from tests.controlplane.server.agent_fake import FakeAgent
from tests.controlplane.server.conftest import (
    Running,
    Start,
    deployment,
    start,  # noqa: F401 - the fixture
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def node(name: str, **changes) -> Node:
    """A ready node with two devices that no simulator knows."""
    return Node(
        **{
            "name": f"nodes/{name}",
            "state": NodeState.NODE_STATE_READY,
            "failure_domain": "rack1",
            "host_memory_bytes": 1 << 34,
            "devices": [
                Device(index=i, device_type="NVIDIA B300", memory_bytes=1 << 33) for i in range(2)
            ],
        }
        | changes
    )


def chat(**changes) -> Deployment:
    spec = DeploymentSpec(
        model="/models/own",
        slo=Slo(ttft=Duration(seconds=2), tpot=Duration(nanos=60_000_000), attainment_ratio=0.95),
        min_replicas=1,
        max_replicas=3,
        stage=Stage.STAGE_ACTIVE,
        weights_bytes=1 << 30,
        kv_cache_tokens=1000,
        kv_bytes_per_token=1024,
        load_duration=Duration(seconds=90),
        spread=True,
        **changes,
    )
    return Deployment(name="deployments/chat", spec=spec)


def facts(**changes):
    """A small fleet, as the control plane tells it."""
    due = Timestamp()
    due.FromDatetime(NOW + timedelta(hours=2))
    given = {
        "nodes": [node("a"), node("b", cordoned=True), node("c", state=NodeState.NODE_STATE_LOST)],
        "deployments": [chat()],
        "totals": [
            DeploymentTotals(
                deployment="deployments/chat", totals=PlacementTotals(online_work_wanted=350.0)
            )
        ],
        "plan": Plan(
            placements=[
                Placement(deployment="deployments/chat", node="nodes/a", device_indices=[1]),
                Placement(deployment="deployments/gone", node="nodes/a", device_indices=[0]),
                Placement(deployment="deployments/chat", node="nodes/c", device_indices=[0]),
            ]
        ),
        "batches": [
            Batch(
                deployment="deployments/chat",
                tenant="red",
                counts=BatchCounts(total=100, succeeded=30, failed=10),
                deadline_time=due,
            )
        ],
    }
    return FleetFacts(**{name: facts_of(one) for name, one in (given | changes).items()})


def facts_of(value):
    return tuple(value) if isinstance(value, list) else value


def values(**changes):
    """What the export makes of it."""
    return fleet_values(facts(**changes), duration="2h", now=NOW)


def read(tmp_path: Path, found):
    path = tmp_path / "fleet.yaml"
    path.write_text(yaml.safe_dump(found))
    return read_fleet(path, tell=lambda _: None)


def test_exported_fleet_reads_as_the_fleet_it_was(tmp_path):
    """Nodes, demand in the fleet's own work, replicas, batches: what was told comes back."""
    scenario = read(tmp_path, values()).scenario
    assert [one.id for one in scenario.nodes] == ["a", "b", "c"]
    assert [one.takes_new for one in scenario.nodes] == [True, False, False]
    assert {one.failure_domain for one in scenario.nodes} == {"rack1"}
    assert scenario.nodes[0].devices[0].device_type == "NVIDIA B300"
    assert scenario.nodes[0].devices[0].memory_bytes == 1 << 33
    (service,) = scenario.services
    wanted = service.deployment
    assert (wanted.model, wanted.max_replicas, wanted.spread) == ("/models/own", 3, True)
    assert (wanted.slo.ttft_ms, wanted.slo.tpot_ms, wanted.slo.attainment_ratio) == (
        2000.0, 60.0, 0.95,
    )  # fmt: skip
    assert (wanted.weights_bytes, wanted.kv_cache_bytes) == (1 << 30, 1024 * 1000)
    assert (wanted.stage, wanted.load_s) == (PlannedStage.ACTIVE, 90.0)
    work = service.demand.rate(0.0, 60.0) * service.request_work_ms
    assert work == pytest.approx(350.0)
    frontier = service.profiles["NVIDIA B300"].frontier(attainment_ratio=0.95)
    assert online_limit(frontier) == pytest.approx(online_limit(DEFAULT_FRONTIER))
    assert [(one.node, one.devices) for one in scenario.allocations] == [("a", (1,))]
    (batch,) = scenario.batches
    assert (batch.items, batch.tenant, batch.deadline_s) == (60, "red", 7200.0)


def test_exported_fleet_keeps_what_operators_asked_of_rounds(tmp_path):
    """Anti-affinity, sizes, host memory, pins, freezes, tenants: a replay is held to them."""
    own = chat(
        anti_affinity=["deployments/chat", "deployments/gone"],
        host_memory_bytes=3 << 30,
        other_tensor_parallel_sizes=[2],
    )
    other = Deployment(name="deployments/other", spec=chat().spec)
    found = values(
        nodes=[node("a"), node("b", frozen=True)],
        deployments=[own, other],
        freezes=[Freeze(target="nodes/b"), Freeze(target="deployments/other")],
        pins=[
            Pin(deployment="deployments/chat", node="nodes/b", replicas=2),
            Pin(deployment="deployments/gone", node="nodes/a"),
        ],
        tenants=[
            Tenant(name="tenants/red", weight=2.5),
            Tenant(name="tenants/blue", weight=0.0, max_offline_work=0.0),
        ],
        plan=Plan(
            placements=[
                Placement(deployment="deployments/chat", node="nodes/a", device_indices=[0, 1])
            ]
        ),
    )
    scenario = read(tmp_path, found).scenario
    kept, frozen = (one.deployment for one in scenario.services)
    assert (kept.anti_affinity, kept.host_memory_bytes) == (("chat",), 3 << 30)
    assert (frozen.anti_affinity, frozen.host_memory_bytes) == ((), 0)
    assert (kept.tensor_parallel_sizes, frozen.tensor_parallel_sizes) == ((1, 2), (1,))
    assert [(one.node, one.devices) for one in scenario.allocations] == [("a", (0, 1))]
    assert (kept.is_frozen, frozen.is_frozen) == (False, True)
    assert [one.is_frozen for one in scenario.nodes] == [False, True]
    assert scenario.pins == (PlannedPin(deployment="chat", node="b", replicas=2),)
    assert scenario.tenants == (
        PlannedTenant(id="blue", weight=1.0, max_offline_work=0.0),
        PlannedTenant(id="red", weight=2.5),
    )


def test_freeze_of_the_whole_fleet_is_one_of_each_deployment(tmp_path):
    """And the head says so."""
    freezes = [Freeze(target="")]
    (service,) = read(tmp_path, values(freezes=freezes)).scenario.services
    assert service.deployment.is_frozen
    assert left_out(facts(freezes=freezes)) == (
        "the freeze of the whole fleet; each deployment is frozen here",
    )


def test_head_names_what_the_file_has_no_key_for():
    """By id, one line each, so that no replay answers for a looser fleet unsaid."""
    own = chat(
        slo_classes=[SloClass(id="tight"), SloClass(id="loose")],
        other_tensor_parallel_sizes=[2, 4],
        host_memory_bytes=1,
    )
    unread = Deployment(name="deployments/new", spec=DeploymentSpec(kv_cache_tokens=10))
    both = Placement(deployment="deployments/chat", node="nodes/a", device_indices=[0, 1, 2])
    lines = left_out(
        facts(
            deployments=[own, unread],
            nodes=[
                node("a", state=NodeState.NODE_STATE_DRAINING),
                node("b", host_memory_bytes=0),
            ],
            plan=Plan(placements=[both]),
            batches=[Batch(state=BatchState.BATCH_STATE_VALIDATING)],
        )
    )
    assert [line.partition(";")[0] for line in lines] == [
        "deployment chat: SLO classes tight, loose with their targets and failover",
        "deployment chat: what replicas over 2, 4 devices bear",
        "deployment chat: replicas of a size it has no more, 1",
        "deployment new: bytes of its weights and kv_cache, which its agents read",
        "node b: its host memory is not known, so has no limit",
        "node a: it drains",
        "items not counted yet of batches that are being validated, 1",
    ]
    head = head_of_left_out(lines)
    assert yaml.safe_load(head) is None  # comments only
    assert all(line in head for line in lines)


def test_head_names_nothing_when_the_file_says_it_all():
    """A fleet without any of it gets no line."""
    assert left_out(facts()) == ()
    assert head_of_left_out(()) == ""


@pytest.mark.parametrize("cost", [0.0, 0.35])
def test_what_a_device_costs_is_read_off_the_plan_in_force(tmp_path, cost):
    """A replay gives back devices as the control plane does."""
    weights = weights_at(cost)
    terms = [ObjectiveTerm(name=name, weight=weight) for name, weight in weights.items()]
    found = values(plan=Plan(terms=terms))
    assert found["rounds"].get("device_cost", 0.0) == pytest.approx(cost)
    assert read(tmp_path, found).scenario.rounds.device_cost == pytest.approx(cost)


def test_batch_whose_deadline_is_over_has_none(tmp_path):
    """It can no longer be missed, and its work is still there."""
    over = Timestamp()
    over.FromDatetime(NOW - timedelta(hours=1))
    late = Batch(deployment="deployments/chat", counts=BatchCounts(total=5), deadline_time=over)
    (batch,) = read(tmp_path, values(batches=[late])).scenario.batches
    assert (batch.items, batch.deadline_s, batch.tenant) == (5, None, "default")


def test_node_with_two_types_is_refused():
    """A file has one type a node: said, not guessed."""
    mixed = node(
        "m",
        devices=[
            Device(index=0, device_type="x", memory_bytes=1),
            Device(index=1, device_type="y", memory_bytes=1),
        ],
    )
    with pytest.raises(CommandError, match="node m: devices of x and y"):
        values(nodes=[mixed])


@pytest.fixture
async def house(start: Start) -> AsyncIterator[Running]:  # noqa: F811 - the fixture
    running = await start()
    async with FakeAgent(node="n1", port=running.port), FakeAgent(node="n2", port=running.port):
        await running.apply(deployment(max_replicas=3, expected_online_work=350.0))
        await running.running("chat", 1)
        yield running


async def run(house: Running, *arguments: str):
    return await asyncio.to_thread(slacktide, *arguments, endpoint=f"127.0.0.1:{house.port}")


async def replayed(house: Running, *arguments: str):
    done = await run(house, "replay", *arguments, "-o", "json")
    assert done.code == 0, done.err
    return json.loads(done.out)


async def test_running_fleet_is_exported_and_replayed_otherwise(
    house: Running, tmp_path: Path
) -> None:
    """Export, replay; with twice the load more is held; with a node less the rest serves."""
    done = await run(house, "placement", "export", "--duration", "1h")
    assert done.code == 0, done.err
    path = tmp_path / "fleet.yaml"
    path.write_text(done.out)
    found = yaml.safe_load(done.out)
    (where,) = found["running"]
    assert found["deployments"][0]["demand"]["work"] >= 350.0

    as_is = await replayed(house, "--fleet", str(path))
    assert as_is["figures"]["attainment_ratio"] == pytest.approx(1.0)
    assert (as_is["figures"]["held_device_hours"], as_is["rounds"][0]["adds"]) == (1.0, 0)
    twice = await replayed(house, "--fleet", str(path), "--scale-load", "chat=2")
    assert twice["figures"]["online_requests"] == pytest.approx(
        2 * as_is["figures"]["online_requests"]
    )
    assert twice["figures"]["held_device_hours"] > 1.5
    fewer = await replayed(house, "--fleet", str(path), "--lose-node", where["node"])
    assert fewer["figures"]["attainment_ratio"] == pytest.approx(1.0)
    assert fewer["rounds"][0]["adds"] == 1

    wrong = await run(house, "replay", "--fleet", str(path), "--lose-node", "n9")
    assert (wrong.code, "no node 'n9'; there are n1, n2" in wrong.err) == (2, True)
    wrong = await run(house, "replay", "--fleet", str(path), "--scale-load", "chat")
    assert (wrong.code, "write e.g. chat=1.5" in wrong.err) == (2, True)


async def test_what_operators_asked_of_a_running_fleet_is_exported(
    house: Running, tmp_path: Path
) -> None:
    """Pins, freezes and tenants are asked for, and their replay is held to them."""
    where = (await house.replicas("chat"))[0].node.removeprefix("nodes/")
    for words in (
        ("placement", "pin", "chat", where),
        ("placement", "freeze", "--deployment", "chat"),
        ("tenant", "set", "red", "--weight", "2", "--quota", "150"),
    ):
        done = await run(house, *words)
        assert done.code == 0, done.err
    done = await run(house, "placement", "export", "--duration", "1h")
    assert done.code == 0, done.err
    found = yaml.safe_load(done.out)
    assert found["pins"] == [{"deployment": "chat", "node": where, "replicas": 1}]
    assert found["tenants"] == {"red": {"weight": 2.0, "quota": 150.0}}
    assert found["deployments"][0]["frozen"] is True
    path = tmp_path / "fleet.yaml"
    path.write_text(done.out)
    more = await replayed(house, "--fleet", str(path), "--scale-load", "chat=2")
    assert more["figures"]["held_device_hours"] == 1.0  # frozen: none is added


async def test_empty_fleet_is_not_exported(start: Start) -> None:  # noqa: F811
    """Nothing to replay: one line that says what is missing."""
    running = await start()
    done = await run(running, "placement", "export")
    assert (done.code, done.out) == (2, "")
    assert "0 nodes and 0 deployments" in done.err
