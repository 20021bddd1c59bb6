"""What operators and agents say that placement depends on: specs, labels, tenants, prices."""

from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from slacktide.v1 import (
    deployment_pb2,
    node_pb2,
    node_service_pb2,
    placement_service_pb2,
    slo_pb2,
    tenant_pb2,
    tenant_service_pb2,
)

from controlplane.rounds.snapshot import PlacementSettings
from tests.controlplane.server.agent_fake import FakeAgent
from tests.controlplane.server.conftest import Running, Start, deployment, new_id, refusal, until
from tests.controlplane.server.test_placement_orders import apply_plan, planned, settled


def class_(id_: str, *, itl_ms: int = 100, **fields: Any) -> deployment_pb2.SloClass:
    """An SLO class."""
    slo = slo_pb2.Slo(ttft=Duration(seconds=1), itl=Duration(nanos=itl_ms * 10**6))
    return deployment_pb2.SloClass(id=id_, slo=slo, **fields)


async def label(running: Running, node: str = "n1", **fields: Any) -> node_pb2.Node:
    """Labels a node."""
    response = await running.nodes.LabelNode(
        node_service_pb2.LabelNodeRequest(
            **{"name": f"nodes/{node}", "request_id": new_id(), **fields}
        )
    )
    return response.node


async def tenant(running: Running, id_: str = "acme", **fields: Any) -> tenant_pb2.Tenant:
    """Applies a tenant."""
    response = await running.tenants.ApplyTenant(
        tenant_service_pb2.ApplyTenantRequest(
            tenant=tenant_pb2.Tenant(name=f"tenants/{id_}", **fields), request_id=new_id()
        )
    )
    return response.tenant


async def test_spec_is_shown_as_given_when_it_says_where_replicas_go(start: Start) -> None:
    """Every field comes back; the same again is the same generation."""
    running = await start()
    given = deployment(
        slo_classes=[
            class_("tight", itl_ms=50, expected_online_work=100, failover_ratio=1.0),
            class_("loose", itl_ms=200),
        ],
        other_tensor_parallel_sizes=[4, 2],
        host_memory_bytes=1 << 30,
        node_groups=["b", "a"],
        anti_affinity=["deployments/code", "deployments/chat"],
        load_duration=Duration(seconds=90),
        warm_load_duration=Duration(seconds=9),
    )
    shown = await running.apply(given)
    spec = shown.spec
    assert list(spec.other_tensor_parallel_sizes) == [2, 4]
    assert (list(spec.node_groups), spec.host_memory_bytes) == (["a", "b"], 1 << 30)
    assert list(spec.anti_affinity) == ["deployments/chat", "deployments/code"]
    assert (spec.load_duration.seconds, spec.warm_load_duration.seconds) == (90, 9)
    assert [(one.id, one.failover_ratio) for one in spec.slo_classes] == [
        ("tight", 1.0),
        ("loose", 0.0),
    ]
    assert spec.slo_classes[0].slo.attainment_ratio == pytest.approx(0.99)
    assert (await running.apply(shown)).generation == 1


@pytest.mark.parametrize(
    ("fields", "violated"),
    [
        ({"failover_ratio": 1.5}, "failover_ratio"),
        ({"failover_ratio": float("nan")}, "failover_ratio"),
        ({"failover_ratio": 0.5, "slo_classes": [class_("a")]}, "failover_ratio"),
        ({"slo_classes": [class_("a"), class_("a")]}, "slo_classes[1].id"),
        ({"slo_classes": [class_("offline-only")]}, "slo_classes[0].id"),
        ({"slo_classes": [class_("A")]}, "slo_classes[0].id"),
        ({"slo_classes": [class_("")]}, "slo_classes[0].id"),
        (
            {"slo_classes": [class_("a", itl_ms=200), class_("b", itl_ms=100)]},
            "slo_classes[1].slo",
        ),
        ({"slo_classes": [deployment_pb2.SloClass(id="a")]}, "slo_classes[0].slo.ttft"),
        ({"slo_classes": [class_("a", failover_ratio=-0.1)]}, "slo_classes[0].failover_ratio"),
        (
            {"slo_classes": [class_("a", expected_online_work=float("inf"))]},
            "slo_classes[0].expected_online_work",
        ),
        ({"slo_classes": [class_(f"c{i}") for i in range(9)]}, "slo_classes"),
        ({"other_tensor_parallel_sizes": [0]}, "other_tensor_parallel_sizes"),
        ({"other_tensor_parallel_sizes": [65]}, "other_tensor_parallel_sizes"),
        ({"host_memory_bytes": -1}, "host_memory_bytes"),
        ({"node_groups": [""]}, "node_groups"),
        ({"node_groups": [f"g{i}" for i in range(65)]}, "node_groups"),
        ({"anti_affinity": ["chat"]}, "anti_affinity"),
        ({"load_duration": Duration(seconds=0)}, "load_duration"),
        ({"load_duration": Duration(seconds=4000)}, "load_duration"),
        (
            {"load_duration": Duration(seconds=5), "warm_load_duration": Duration(seconds=6)},
            "warm_load_duration",
        ),
    ],
)
async def test_spec_is_refused_when_it_says_so_wrongly(
    start: Start, fields: dict[str, Any], violated: str
) -> None:
    """Each fault is one violation, named by its path."""
    running = await start()
    refused = await refusal(running.apply(deployment(**fields)))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert f"deployment.spec.{violated}" in refused.violations
    assert "chat" in refused.message


async def test_node_keeps_an_operators_labels_when_its_agent_comes_back(start: Start) -> None:
    """They stand in for the agent's, over a restart, until they are taken back."""
    running = await start()
    async with FakeAgent(
        node="n1", port=running.port, labels={"group": "b", "rack": "r1"}
    ) as agent:
        assert (await running.node("n1")).group == "b"
        shown = await label(running, labels={"group": "a", "host-memory-bytes": "1024"})
        assert (shown.group, shown.host_memory_bytes) == ("a", 1024)
        assert dict(shown.labels) == {"group": "a", "rack": "r1", "host-memory-bytes": "1024"}
        await running.crash()
        again = await start()
        await agent.disconnect()
        agent.connect(again.port)

        async def back() -> bool:
            found = await again.node("n1")
            return found.HasField("last_report_time") and found.group == "a"

        await until(back)
        shown = await label(again, removed=["group"])
        assert (shown.group, shown.host_memory_bytes) == ("b", 1024)


@pytest.mark.parametrize(
    ("fields", "violated"),
    [
        ({}, "labels"),
        ({"labels": {"": "x"}}, "labels"),
        ({"labels": {"group": ""}}, "labels"),
        ({"labels": {"group": "a\nb"}}, "labels"),
        ({"labels": {"host-memory-bytes": "1GiB"}}, "labels"),
        ({"labels": {f"k{i}": "v" for i in range(65)}}, "labels"),
        ({"labels": {"a": "b"}, "removed": ["a"]}, "removed"),
        ({"labels": {"a": "b"}, "name": "n1"}, "name"),
    ],
)
async def test_labels_are_refused_when_they_cannot_be_kept(
    start: Start, fields: dict[str, Any], violated: str
) -> None:
    """One violation each; the node stays as it is."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port):
        refused = await refusal(label(running, **fields))
        assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
        assert set(refused.violations) == {violated}
        assert not (await running.node("n1")).labels


async def test_warm_models_are_stored_when_an_agent_reports_them(start: Start) -> None:
    """What lies in host memory follows the reports, and only changes raise the revision."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port) as agent:
        agent.warm_models = ["tiny", "large", "tiny"]

        async def warm() -> list[str] | None:
            return list((await running.node("n1")).warm_models) or None

        assert await until(warm) == ["large", "tiny"]
        revision = running.plane._feed.view.state.revision
        grants = agent.grants
        await until(lambda: _is(agent.grants > grants + 3))
        assert running.plane._feed.view.state.revision == revision


async def _is(condition: bool) -> bool:
    return condition


async def test_tenants_are_kept_when_applied(start: Start) -> None:
    """Weight and quota; the same again keeps its time; a deleted one is gone."""
    running = await start()
    first = await tenant(running, weight=2.0, max_offline_work=500.0)
    assert await tenant(running, weight=2.0, max_offline_work=500.0) == first
    changed = await tenant(running, weight=3.0)
    assert changed.create_time == first.create_time
    assert not changed.HasField("max_offline_work")
    assert (await tenant(running, "beta")).weight == 1.0
    listed = await running.tenants.ListTenants(tenant_service_pb2.ListTenantsRequest(page_size=1))
    assert [one.name for one in listed.tenants] == ["tenants/acme"]
    rest = await running.tenants.ListTenants(
        tenant_service_pb2.ListTenantsRequest(page_token=listed.next_page_token)
    )
    assert [one.name for one in rest.tenants] == ["tenants/beta"]
    delete = tenant_service_pb2.DeleteTenantRequest(name="tenants/acme", request_id=new_id())
    for _ in range(2):
        await running.tenants.DeleteTenant(delete)
    get = tenant_service_pb2.GetTenantRequest(name="tenants/acme")
    assert (await refusal(running.tenants.GetTenant(get))).reason == "TENANT_NOT_FOUND"
    delete.request_id = new_id()
    assert (await refusal(running.tenants.DeleteTenant(delete))).reason == "TENANT_NOT_FOUND"


@pytest.mark.parametrize(
    ("id_", "fields", "violated"),
    [
        ("Acme", {}, "tenant.name"),
        ("acme", {"weight": -1.0}, "tenant.weight"),
        ("acme", {"weight": float("nan")}, "tenant.weight"),
        ("acme", {"max_offline_work": -0.5}, "tenant.max_offline_work"),
        ("acme", {"max_offline_work": float("inf")}, "tenant.max_offline_work"),
    ],
)
async def test_tenant_is_refused_when_its_share_makes_no_sense(
    start: Start, id_: str, fields: dict[str, float], violated: str
) -> None:
    """One violation for each field at fault."""
    running = await start()
    refused = await refusal(tenant(running, id_, **fields))
    assert set(refused.violations) == {violated}


async def test_price_is_told_when_types_have_one(start: Start) -> None:
    """Of the devices in use, by the part of the type's name that was given."""
    running = await start(placement=PlacementSettings(prices=(("CPU", 0.5), ("h100", 3.0))))
    async with FakeAgent(node="n1", port=running.port):
        await running.apply(deployment(min_replicas=2, max_replicas=2))
        await running.running("chat", 2)
        assert (await running.placement_now()).totals.price_per_hour == 1.0


async def test_replica_runs_over_as_many_devices_as_it_was_placed_on(start: Start) -> None:
    """One of the other sizes is launched so, and is no replica of an earlier generation."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port, devices=3) as agent:
        await running.apply(deployment(max_replicas=2, other_tensor_parallel_sizes=[2]))
        (first,) = await running.running("chat", 1)
        await settled(running)
        plan = (await planned(running)).plan
        others = sorted({0, 1, 2} - set(first.device_indices))
        plan.placements.add(deployment="deployments/chat", node="nodes/n1", device_indices=others)
        await apply_plan(running, plan)

        async def launched() -> set[int] | None:
            sizes = {one.spec.tensor_parallel_size for one in agent.assignment.replicas}
            return sizes if len(sizes) == 2 else None

        assert await until(launched) == {1, 2}
        both = {one.name for one in await running.replicas("chat")}
        changed = await running.apply(
            deployment(max_replicas=2, other_tensor_parallel_sizes=[2], min_replicas=2)
        )
        assert changed.generation == 2
        await settled(running)
        assert {one.name for one in await running.replicas("chat")} == both, "none is replaced"


async def test_new_mutations_are_refused_when_their_request_id_is_missing(start: Start) -> None:
    """As all others."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port):
        await running.apply(deployment())
        place, of, on = running.placement, "deployments/chat", "nodes/n1"
        for call in (
            place.ApplyPlacement(placement_service_pb2.ApplyPlacementRequest(revision=1)),
            place.RollbackPlacement(placement_service_pb2.RollbackPlacementRequest(plan="plans/1")),
            place.FreezePlacement(placement_service_pb2.FreezePlacementRequest(frozen=True)),
            place.PinPlacement(placement_service_pb2.PinPlacementRequest(deployment=of, node=on)),
            place.UnpinPlacement(
                placement_service_pb2.UnpinPlacementRequest(deployment=of, node=on)
            ),
            running.nodes.LabelNode(
                node_service_pb2.LabelNodeRequest(name=on, labels={"group": "a"})
            ),
            running.tenants.ApplyTenant(
                tenant_service_pb2.ApplyTenantRequest(tenant=tenant_pb2.Tenant(name="tenants/a"))
            ),
            running.tenants.DeleteTenant(tenant_service_pb2.DeleteTenantRequest(name="tenants/a")),
        ):
            refused = await refusal(call)
            assert refused.reason == "INVALID_REQUEST_ID"
            assert set(refused.violations) == {"request_id"}
