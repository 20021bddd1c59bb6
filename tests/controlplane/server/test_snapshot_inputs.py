"""What a round decides from: every stored wish reaches the snapshot, and its hash."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.rounds.snapshot import (
    Demand,
    PlacementSettings,
    build_snapshot,
    inputs_hash,
)
from planner.model import BatchDemand, Device, Pin, Slo, Stage, Tenant
from storage.batch_records import Backlog
from storage.plan_records import FreezeRecord, PinRecord, TenantRecord
from storage.records import (
    DeploymentRecord,
    DeploymentSpec,
    EngineSpec,
    FleetState,
    FleetView,
    NodeRecord,
    SloClassSpec,
)

H100 = "NVIDIA H100 80GB HBM3"
ENGINE = EngineSpec(model="tiny", weights_bytes=1000, kv_bytes_per_token=1)
SPEC = DeploymentSpec(
    engine=ENGINE, slo=Slo(ttft_ms=500.0, itl_ms=100.0), min_replicas=1, max_replicas=4
)


def wanted(id_: str = "chat", **fields: object) -> DeploymentRecord:
    """A deployment with these fields of its spec."""
    return DeploymentRecord(id=id_, generation=1, spec=replace(SPEC, **fields))  # type: ignore[arg-type]


def node(id_: str, *, kind: str = H100, **fields: object) -> NodeRecord:
    """A node of two devices."""
    devices = tuple(Device(index=i, device_type=kind, memory_bytes=1 << 30) for i in range(2))
    return NodeRecord(id=id_, devices=devices, failure_domain=id_, **fields)  # type: ignore[arg-type]


def view(*deployments: DeploymentRecord, **fields: object) -> FleetView:
    """A fleet of two nodes."""
    base = FleetView(
        state=FleetState(revision=5), nodes=(node("n1"), node("n2")), deployments=deployments
    )
    return replace(base, **fields)  # type: ignore[arg-type]


def test_every_wish_reaches_the_planner_when_it_is_stated() -> None:
    """Fields of the spec, freezes, pins, tenants, labels, settings."""
    chat = wanted(
        failover_ratio=0.5,
        other_tensor_parallel_sizes=(2, 4),
        host_memory_bytes=77,
        node_groups=("a",),
        anti_affinity=("code",),
        load_s=10.0,
    )
    frozen = (
        FreezeRecord(target="deployments/chat"),
        FreezeRecord(target="nodes/n2"),
    )
    labelled = node(
        "n1",
        labels=(("group", "b"),),
        operator_labels=(("group", "a"),),
        host_memory_bytes=500,
        warm_models=("tiny",),
    )
    found = build_snapshot(
        view(
            chat,
            nodes=(labelled, node("n2")),
            freezes=frozen,
            pins=(
                PinRecord(deployment="chat", node="n1", replicas=2),
                PinRecord(deployment="gone", node="n1"),
                PinRecord(deployment="chat", node="gone"),
            ),
            tenants=(TenantRecord(id="acme", weight=2.0, max_offline_work=9.0),),
        ),
        Demand(),
        PlacementSettings(max_moves=3, device_cost=0.3),
    )
    (deployment,) = found.deployments
    assert (deployment.failover_ratio, deployment.tensor_parallel_sizes) == (0.5, (1, 2, 4))
    assert (deployment.host_memory_bytes, deployment.node_groups) == (77, ("a",))
    assert (deployment.anti_affinity, deployment.is_frozen) == (("code",), True)
    assert (deployment.load_s, deployment.warm_load_s) == (10.0, 10.0), "warm is never slower"
    first, second = found.nodes
    assert (first.group, first.host_memory_bytes, first.warm_models) == ("a", 500, ("tiny",))
    assert (first.is_frozen, second.is_frozen) == (False, True)
    assert found.pins == (Pin(deployment="chat", node="n1", replicas=2),)
    assert found.tenants == (Tenant(id="acme", weight=2.0, max_offline_work=9.0),)
    assert (found.max_moves, found.device_cost) == (3, 0.3)


def test_defaults_are_the_planners_when_nothing_is_stated() -> None:
    """A deployment without the new fields is planned as before."""
    (deployment,) = build_snapshot(view(wanted()), Demand()).deployments
    assert (deployment.load_s, deployment.warm_load_s) == (60.0, 20.0)
    assert (deployment.slo_classes, deployment.is_frozen) == ((), False)


@pytest.mark.parametrize(
    ("given_prices", "price"),
    [
        ((("h100", 2.5),), 2.5),
        ((("H100", 2.5), ("nvidia h100 80gb", 2.0)), 2.0),
        (((H100, 1.0), (H100.lower() + "", 9.0)), 1.0),
        ((("a100", 2.5),), None),
        ((), None),
    ],
)
def test_price_is_that_of_the_nearest_name_when_types_are_named_in_part(
    given_prices: tuple[tuple[str, float], ...], price: float | None
) -> None:
    """The type itself before a part of it, a longer part before a shorter one."""
    found = build_snapshot(view(wanted()), Demand(), PlacementSettings(prices=given_prices))
    assert found.prices == (() if price is None else ((H100, price),))


def test_online_work_is_split_when_classes_expect_different_loads() -> None:
    """What is seen, split as what is expected; evenly where nothing is."""
    slo = Slo(ttft_ms=500.0, itl_ms=100.0)

    def classes(*expected: float) -> DeploymentRecord:
        return wanted(
            slo_classes=tuple(
                SloClassSpec(id=f"c{i}", slo=slo, expected_online_work=work, failover_ratio=0.25)
                for i, work in enumerate(expected)
            )
        )

    for record, seen, split in (
        (classes(300.0, 100.0), 800.0, (600.0, 200.0)),
        (classes(300.0, 100.0), 100.0, (300.0, 100.0)),
        (classes(0.0, 0.0), 800.0, (400.0, 400.0)),
    ):
        found = build_snapshot(view(record), Demand(online_work={"chat": seen}))
        (deployment,) = found.deployments
        assert tuple(one.online_work for one in deployment.slo_classes) == split
        assert deployment.online_work == sum(split)
        assert {one.failover_ratio for one in deployment.slo_classes} == {0.25}


def test_offline_work_is_told_by_tenant_when_several_share_a_deployment() -> None:
    """Each tenant's demand and deadlines; the deployment's own are their sums."""
    record = wanted(stage=Stage.ACTIVE, offline_weight=3.0)
    backlog = Backlog(items=10, prompt_tokens=10_000, output_tokens=10_000)
    due = replace(backlog, due=((1000.0, 20_000),))
    demand = Demand(
        backlog={("chat", "acme"): due, ("chat", "default"): backlog, ("gone", "acme"): due},
        now_s=900.0,
    )
    found = build_snapshot(view(record), demand)
    acme, default = found.batches
    assert (acme.tenant, default.tenant) == ("acme", "default")
    assert {one.weight for one in found.batches} == {3.0}
    assert acme.min_offline_work > 0.0 == default.min_offline_work
    (deployment,) = found.deployments
    assert deployment.offline_work == acme.offline_work + default.offline_work
    assert deployment.min_offline_work == acme.min_offline_work
    killed = view(record, state=FleetState(revision=5, kill_switch=True))
    assert build_snapshot(killed, demand).batches == ()


def test_unsized_deployment_asks_for_nothing_when_it_is_pinned_or_has_batches() -> None:
    """Until an agent read its model it can gain no replica, so no wish may bind it."""
    record = DeploymentRecord(
        id="chat", generation=1, spec=replace(SPEC, engine=EngineSpec(model="tiny"))
    )
    backlog = Backlog(items=1, prompt_tokens=1, output_tokens=1)
    found = build_snapshot(
        view(record, pins=(PinRecord(deployment="chat", node="n1"),)),
        Demand(backlog={("chat", "default"): backlog}),
    )
    assert (found.pins, found.batches) == ((), ())


@given(work=st.floats(0.0, 1e6), revision=st.integers(0, 2**40))
def test_hash_tells_inputs_apart_and_no_revisions(work: float, revision: int) -> None:
    """Equal inputs, equal hashes; the revision is none of them."""
    one = build_snapshot(view(wanted()), Demand(online_work={"chat": work}))
    assert inputs_hash(one) == inputs_hash(replace(one, revision=revision))
    more = replace(one, batches=(BatchDemand(deployment="chat", tenant="t", offline_work=1.0),))
    assert inputs_hash(one) != inputs_hash(more)
