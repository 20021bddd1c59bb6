"""What clients may ask: checks, request ids, pages, versions, reflection, health."""

import base64
import uuid
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from slacktide.v1 import (
    batch_service_pb2,
    batch_service_pb2_grpc,
    deployment_pb2,
    deployment_service_pb2,
    fleet_service_pb2,
    node_service_pb2,
    placement_pb2,
    placement_service_pb2,
    rollout_service_pb2,
    slo_pb2,
    tenant_service_pb2,
)
from slacktide.wire.version import build_version

from tests.controlplane.server.agent_fake import FakeAgent
from tests.controlplane.server.conftest import Start, deployment, until, watching


def slo(**fields: Any) -> slo_pb2.Slo:
    """Targets that are fine but for the fields given."""
    return slo_pb2.Slo(**{"ttft": Duration(seconds=1), "itl": Duration(seconds=1), **fields})


@pytest.mark.parametrize(
    ("fields", "violated"),
    [
        ({"model": " "}, "deployment.spec.model"),
        ({"min_replicas": -1}, "deployment.spec.min_replicas"),
        ({"min_replicas": 3, "max_replicas": 2}, "deployment.spec.max_replicas"),
        ({"max_replicas": 0}, "deployment.spec.max_replicas"),
        ({"kv_cache_tokens": -5}, "deployment.spec.kv_cache_tokens"),
        ({"expected_online_work": float("nan")}, "deployment.spec.expected_online_work"),
        ({"slo": slo_pb2.Slo(itl=Duration(seconds=1))}, "deployment.spec.slo.ttft"),
        ({"slo": slo_pb2.Slo(ttft=Duration(seconds=1))}, "deployment.spec.slo"),
        (
            {
                "slo": slo_pb2.Slo(
                    ttft=Duration(seconds=1), itl=Duration(seconds=1), tpot=Duration(seconds=1)
                )
            },
            "deployment.spec.slo",
        ),
        ({"slo": slo_pb2.Slo(ttft=Duration(seconds=1), itl=Duration())}, "deployment.spec.slo.itl"),
        ({"stage": 99}, "deployment.spec.stage"),
        ({"tensor_parallel_size": -1}, "deployment.spec.tensor_parallel_size"),
        ({"tensor_parallel_size": 1 << 20}, "deployment.spec.tensor_parallel_size"),
        ({"weights_bytes": 1 << 62}, "deployment.spec.weights_bytes"),
        ({"kv_bytes_per_token": 1 << 62}, "deployment.spec.kv_bytes_per_token"),
        ({"max_replicas": 2**31 - 1}, "deployment.spec.max_replicas"),
        ({"offline_weight": float("inf")}, "deployment.spec.offline_weight"),
        ({"latency_budget_ms": -1.0}, "deployment.spec.latency_budget_ms"),
        ({"model": "m" * 5000}, "deployment.spec.model"),
        ({"model": "a\nb"}, "deployment.spec.model"),
        ({"device_types": [""]}, "deployment.spec.device_types"),
        ({"slo": slo(itl=Duration(seconds=-1))}, "deployment.spec.slo.itl"),
        ({"slo": slo(ttft=Duration(seconds=10**11))}, "deployment.spec.slo.ttft"),
        ({"slo": slo(attainment_ratio=1.5)}, "deployment.spec.slo.attainment_ratio"),
        ({"slo": slo(attainment_ratio=-0.1)}, "deployment.spec.slo.attainment_ratio"),
        ({"slo": slo(attainment_ratio=float("nan"))}, "deployment.spec.slo.attainment_ratio"),
    ],
)
async def test_deployment_is_refused_when_its_spec_is_wrong(
    start: Start, fields: dict[str, Any], violated: str
) -> None:
    """Each fault is one violation of a BadRequest, named by its path."""
    running = await start()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.apply(deployment(**fields))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "chat" in caught.value.details()
    assert violated in _violations(caught.value)


async def test_deployment_takes_defaults_when_fields_are_unset(start: Start) -> None:
    """The contract's defaults are visible once applied; an unspecified stage is OBSERVE."""
    running = await start()
    shown = await running.apply(deployment())
    assert shown.generation == 1
    assert shown.spec.stage == deployment_pb2.STAGE_OBSERVE
    assert shown.spec.kv_cache_tokens == 32_768
    assert shown.spec.chunked_prefill_size == 512
    assert shown.spec.slo.attainment_ratio == pytest.approx(0.99)


async def test_apply_answers_the_same_when_its_request_id_repeats(start: Start) -> None:
    """A repeat does nothing, also after a restart; the id for something else is refused."""
    running = await start()
    request_id = str(uuid.uuid4())
    first = await running.apply(deployment(), request_id=request_id)
    await running.apply(deployment(max_replicas=2))
    await running.crash()
    again = await start()
    assert await again.apply(deployment(), request_id=request_id) == first
    assert (await again.deployment("chat")).spec.max_replicas == 2
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await again.apply(deployment(max_replicas=3), request_id=request_id)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert request_id in caught.value.details()


async def test_apply_is_aborted_when_its_generation_is_stale(start: Start) -> None:
    """Two operators do not overwrite each other unseen."""
    running = await start()
    await running.apply(deployment())
    assert (await running.apply(deployment(max_replicas=2), generation=1)).generation == 2
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.apply(deployment(max_replicas=3), generation=1)
    assert caught.value.code() is grpc.StatusCode.ABORTED


async def test_apply_changes_nothing_when_it_only_validates(start: Start) -> None:
    """validate_only answers what would be stored."""
    running = await start()
    assert (await running.apply(deployment(), validate_only=True)).generation == 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.deployment("chat")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_replicas_go_when_their_deployment_is_deleted(start: Start) -> None:
    """They drain and retire; the name can be used again with a higher generation."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port) as agent:
        await running.apply(deployment())
        await running.running("chat", 1)
        await running.deployments.DeleteDeployment(
            deployment_service_pb2.DeleteDeploymentRequest(
                name="deployments/chat", request_id=str(uuid.uuid4())
            )
        )
        await until(lambda: _is(not agent.replicas))
        listed = await running.deployments.ListDeployments(
            deployment_service_pb2.ListDeploymentsRequest()
        )
        assert not listed.deployments
        assert (await running.apply(deployment())).generation == 2
        await running.running("chat", 1)


async def test_deployments_are_each_listed_once_when_paged(start: Start) -> None:
    """Tokens continue where the page ended; a broken one is refused."""
    running = await start()
    for id_ in ("a", "b", "c"):
        await running.apply(deployment(id_))
    seen: list[str] = []
    token = ""
    while True:
        response = await running.deployments.ListDeployments(
            deployment_service_pb2.ListDeploymentsRequest(page_size=2, page_token=token)
        )
        seen += [one.name for one in response.deployments]
        token = response.next_page_token
        if not token:
            break
    assert seen == ["deployments/a", "deployments/b", "deployments/c"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.nodes.ListNodes(node_service_pb2.ListNodesRequest(page_token="%%"))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("page_size", [-1, 1001, 2**31 - 1])
@pytest.mark.parametrize("page_token", [""])
async def test_lists_are_refused_when_the_page_size_is_out_of_range(
    start: Start, page_size: int, page_token: str
) -> None:
    """Every list, with one violation that names the field."""
    await _refused_pages(start, "page_size", page_size=page_size, page_token=page_token)


@pytest.mark.parametrize("page_token", ["%%", "é", "AAAA", "_w==", "bm9u\n", "x" * 5000])
async def test_lists_are_refused_when_the_page_token_is_garbage(
    start: Start, page_token: str
) -> None:
    """Every list, with one violation that names the field."""
    await _refused_pages(start, "page_token", page_token=page_token)


async def _refused_pages(start: Start, field: str, **fields: Any) -> None:
    running = await start()
    batches = batch_service_pb2_grpc.BatchServiceStub(running.channel)
    for call in (
        running.nodes.ListNodes(node_service_pb2.ListNodesRequest(**fields)),
        running.deployments.ListDeployments(
            deployment_service_pb2.ListDeploymentsRequest(**fields)
        ),
        running.deployments.ListReplicas(deployment_service_pb2.ListReplicasRequest(**fields)),
        running.placement.ListPlans(placement_service_pb2.ListPlansRequest(**fields)),
        running.placement.ListPins(placement_service_pb2.ListPinsRequest(**fields)),
        running.tenants.ListTenants(tenant_service_pb2.ListTenantsRequest(**fields)),
        batches.ListBatches(batch_service_pb2.ListBatchesRequest(**fields)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert _violations(caught.value) == {field}


async def test_plans_and_batches_are_refused_when_the_token_is_of_another_list(
    start: Start,
) -> None:
    """A token that decodes is not yet one of this list."""
    running = await start()
    batches = batch_service_pb2_grpc.BatchServiceStub(running.channel)
    for key in ("chat", "-1", "9" * 30, "nan b-1", "1.0", "1.0 B"):
        token = base64.urlsafe_b64encode(key.encode()).decode()
        for call in (
            running.placement.ListPlans(placement_service_pb2.ListPlansRequest(page_token=token)),
            batches.ListBatches(batch_service_pb2.ListBatchesRequest(page_token=token)),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert _violations(caught.value) == {"page_token"}


async def test_mutations_are_refused_when_their_request_id_is_missing_malformed_or_reused(
    start: Start,
) -> None:
    """Every mutation alike: nothing is done without an id, or under that of another."""
    running = await start()
    batches = batch_service_pb2_grpc.BatchServiceStub(running.channel)
    used = str(uuid.uuid4())
    await running.apply(deployment(), request_id=used)
    uploaded = await batches.UploadInput(
        iter([batch_service_pb2.UploadInputRequest(request_id=str(uuid.uuid4()), content=b"{}")])
    )
    async with FakeAgent(node="n1", port=running.port):
        for id_, reason in (
            ("", "INVALID_REQUEST_ID"),
            ("1", "INVALID_REQUEST_ID"),
            (used, "REQUEST_ID_REUSED"),
        ):
            for call in (
                running.apply(deployment(max_replicas=3), request_id=id_),
                running.deployments.DeleteDeployment(
                    deployment_service_pb2.DeleteDeploymentRequest(
                        name="deployments/chat", request_id=id_
                    )
                ),
                running.nodes.CordonNode(
                    node_service_pb2.CordonNodeRequest(name="nodes/n1", request_id=id_)
                ),
                running.nodes.DrainNode(
                    node_service_pb2.DrainNodeRequest(name="nodes/n1", request_id=id_)
                ),
                running.nodes.UncordonNode(
                    node_service_pb2.UncordonNodeRequest(name="nodes/n1", request_id=id_)
                ),
                running.rollout.SetKillSwitch(
                    rollout_service_pb2.SetKillSwitchRequest(engaged=True, request_id=id_)
                ),
                batches.CancelBatch(
                    batch_service_pb2.CancelBatchRequest(name="batches/b-1", request_id=id_)
                ),
                batches.CreateBatch(
                    batch_service_pb2.CreateBatchRequest(
                        deployment="deployments/chat", input_uri=uploaded.input_uri, request_id=id_
                    )
                ),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call
                assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
                assert _reason(caught.value) == reason
                assert _violations(caught.value) == {"request_id"}


async def test_node_stays_as_it_is_when_an_operator_says_too_much(start: Start) -> None:
    """A deadline or a reason out of all measure is refused before anything is stored."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port):
        for deadline_s in (-1, 10**10):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await running.nodes.DrainNode(
                    node_service_pb2.DrainNodeRequest(
                        name="nodes/n1",
                        request_id=str(uuid.uuid4()),
                        deadline=Duration(seconds=deadline_s),
                    )
                )
            assert _violations(caught.value) == {"deadline"}
        for reason in ("x" * 1001, "a\x00b"):
            for call in (
                running.nodes.CordonNode(
                    node_service_pb2.CordonNodeRequest(
                        name="nodes/n1", request_id=str(uuid.uuid4()), reason=reason
                    )
                ),
                running.nodes.DrainNode(
                    node_service_pb2.DrainNodeRequest(
                        name="nodes/n1", request_id=str(uuid.uuid4()), reason=reason
                    )
                ),
                running.rollout.SetKillSwitch(
                    rollout_service_pb2.SetKillSwitchRequest(
                        engaged=True, request_id=str(uuid.uuid4()), reason=reason
                    )
                ),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call
                assert _violations(caught.value) == {"reason"}
        assert not (await running.node("n1")).cordoned


async def test_plan_is_shown_and_not_applied_when_it_is_a_dry_run(start: Start) -> None:
    """The moves are the diff; nothing is stored."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port):
        response = await running.placement.PlanPlacement(
            placement_service_pb2.PlanPlacementRequest(deployments=[deployment()]), timeout=60
        )
        assert [one.kind for one in response.plan.moves] == [1]
        assert response.plan.placements[0].node == "nodes/n1"
        listed = await running.placement.ListPlans(placement_service_pb2.ListPlansRequest())
        assert not listed.plans


async def test_plan_in_force_stays_when_a_round_changes_nothing(start: Start) -> None:
    """Periodic rounds of a settled fleet are noted, and raise no revision."""
    running = await start(round_interval_s=0.3)
    async with FakeAgent(node="n1", port=running.port):
        await running.apply(deployment())
        await running.running("chat", 1)
        before = await running.fleet.GetFleet(fleet_service_pb2.GetFleetRequest())
        last = running.plane._log.last
        await until(lambda: _is(running.plane._log.last is not last))
        last = running.plane._log.last
        await until(lambda: _is(running.plane._log.last is not last))
        after = await running.fleet.GetFleet(fleet_service_pb2.GetFleetRequest())
        assert (before.revision, before.plan) == (after.revision, after.plan)
        listed = await running.placement.ListPlans(placement_service_pb2.ListPlansRequest())
        newest = listed.plans[0]
        assert newest.outcome == placement_pb2.ROUND_OUTCOME_UNCHANGED
        assert newest.placements_from == after.plan


async def test_fleet_lists_every_process_with_its_version(start: Start) -> None:
    """Control plane, gateway, agent and engine."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port), watching(running) as routes:
        await routes.read()
        await running.apply(deployment())
        await running.running("chat", 1)
        fleet = await running.fleet.GetFleet(fleet_service_pb2.GetFleetRequest())
        kinds = {one.kind: one for one in fleet.components}
        assert kinds[fleet_service_pb2.COMPONENT_KIND_CONTROL_PLANE].version == build_version()
        assert kinds[fleet_service_pb2.COMPONENT_KIND_CONTROL_PLANE].state == "leader"
        assert kinds[fleet_service_pb2.COMPONENT_KIND_GATEWAY].id == "g1"
        assert kinds[fleet_service_pb2.COMPONENT_KIND_AGENT].state == "ready"
        assert kinds[fleet_service_pb2.COMPONENT_KIND_ENGINE].version == "0.5.23"


async def test_unfinished_rpc_says_so_when_called(start: Start) -> None:
    """None pretends."""
    running = await start()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.rollout.GetRollout(rollout_service_pb2.GetRolloutRequest())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_services_are_listed_when_reflected_and_health_is_serving(start: Start) -> None:
    """An unmodified grpcurl-style client finds its way."""
    running = await start()
    health = await health_pb2_grpc.HealthStub(running.channel).Check(
        health_pb2.HealthCheckRequest(service="slacktide.v1.NodeService")
    )
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    call = reflection_pb2_grpc.ServerReflectionStub(running.channel).ServerReflectionInfo(
        iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    )
    response = await call.read()
    names = {one.name for one in response.list_services_response.service}
    assert {"slacktide.v1.AgentService", "slacktide.v1.ItemService"} <= names


def _violations(error: grpc.aio.AioRpcError) -> set[str]:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    for detail in status.details:
        request = error_details_pb2.BadRequest()
        if detail.Unpack(request):
            return {one.field for one in request.field_violations}
    return set()


def _reason(error: grpc.aio.AioRpcError) -> str:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info.reason
    return ""


async def _is(condition: bool) -> bool:
    return condition


async def test_mutation_says_full_when_the_disk_is_and_the_fleet_goes_on(start: Start) -> None:
    """RESOURCE_EXHAUSTED with the remedy; leases hold, reads answer, space made it works."""
    running = await start()
    engine = running.plane._database.engine

    def cap(pages: int) -> None:
        def limit(connection: Any, _record: Any, _proxy: Any) -> None:
            connection.execute(f"PRAGMA max_page_count={pages}")

        sa.event.listen(engine, "checkout", limit)

    async with FakeAgent(node="n1", port=running.port) as agent:
        cap(1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            for index in range(200):
                await running.apply(deployment(f"d{index}", model="m" * 4000))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "Free space" in caught.value.details()
        grants = agent.grants
        await until(lambda: _is(agent.grants > grants + 2))
        cap(1 << 20)
        await running.apply(deployment())
        await running.running("chat", 1)
