"""The way back to an earlier placement: as near as can be, verified, and with an end."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.rounds.rollback import restored
from planner.model import (
    Allocation,
    Deployment,
    Desired,
    Device,
    Node,
    Placement,
    ReplicaState,
    Slo,
    Snapshot,
)
from planner.placement.verify import verify

SLO = Slo(ttft_ms=500.0, itl_ms=100.0)


def node(id_: str, devices: int = 2, **marks: bool) -> Node:
    """A node of small devices."""
    return Node(
        id=id_,
        devices=tuple(
            Device(index=i, device_type="cpu", memory_bytes=1 << 30) for i in range(devices)
        ),
        failure_domain=id_,
        **marks,
    )


def wanted(id_: str, **fields: object) -> Deployment:
    """A deployment of up to three replicas."""
    base = Deployment(
        id=id_,
        model="tiny",
        slo=SLO,
        min_replicas=1,
        max_replicas=3,
        weights_bytes=1000,
        kv_cache_bytes=1000,
    )
    return replace(base, **fields)  # type: ignore[arg-type]


def runs(replica: str, node_: str, device: int, **fields: object) -> Allocation:
    """A replica that runs; its deployment is the part before the hyphen."""
    base = Allocation(
        replica=replica,
        deployment=replica.partition("-")[0],
        node=node_,
        devices=(device,),
        state=ReplicaState.RUNNING,
        online_share=1.0,
        latency_budget_ms=10.0,
    )
    return replace(base, **fields)  # type: ignore[arg-type]


def was(replica: str, node_: str, device: int) -> Placement:
    """A placement of the earlier plan."""
    return Placement(
        replica=replica, deployment=replica.partition("-")[0], node=node_, devices=(device,)
    )


def fleet(*allocations: Allocation, **fields: object) -> Snapshot:
    """Two nodes, two deployments."""
    base = Snapshot(
        revision=1,
        nodes=(node("n1"), node("n2")),
        deployments=(wanted("chat"), wanted("code")),
        allocations=allocations,
    )
    return replace(base, **fields)  # type: ignore[arg-type]


def seats(placements: tuple[Placement, ...]) -> set[tuple[str, str, tuple[int, ...]]]:
    """Where everything goes."""
    return {(one.deployment, one.node, one.devices) for one in placements}


def test_nothing_is_left_to_do_when_it_stands() -> None:
    """By its replica or by another in its seat."""
    snapshot = fleet(runs("chat-a", "n1", 0), runs("code-b", "n2", 1))
    way = restored(snapshot, (was("chat-a", "n1", 0), was("code-gone", "n2", 1)))
    assert way.is_reached and way.restored == 2
    assert way.unrestored == ()


def test_seat_waits_when_another_deployment_holds_it() -> None:
    """Who holds it goes first, and the seat is taken by a later step."""
    snapshot = fleet(
        runs("chat-b", "n2", 0),
        runs("code-c", "n1", 0),
        deployments=(wanted("chat"), wanted("code", min_replicas=0)),
    )
    way = restored(snapshot, (was("chat-a", "n1", 0),))
    assert seats(way.plan.waiting) == {("chat", "n1", (0,))}
    gone = {one.replica for one in way.plan.moves if one.kind.value == "remove"}
    assert "code-c" in gone
    assert not way.is_reached


def test_service_stays_when_part_of_it_cannot_be_restored() -> None:
    """A replica of today stands in for one whose node takes nothing."""
    snapshot = fleet(runs("chat-b", "n2", 0), nodes=(node("n1", is_cordoned=True), node("n2")))
    way = restored(snapshot, (was("chat-a", "n1", 0),))
    assert seats(way.plan.placements) == {("chat", "n2", (0,))}
    assert [one.dimension for one in way.unrestored] == ["cordoned"]
    assert "uncordon" in way.unrestored[0].message
    assert way.is_reached and way.restored == 0


def test_later_and_frozen_deployments_stay_when_rolled_back() -> None:
    """They are none of the earlier plan's, or not to be touched."""
    frozen = (wanted("chat"), wanted("code", is_frozen=True), wanted("docs"))
    snapshot = fleet(
        runs("chat-b", "n2", 0),
        runs("code-c", "n1", 0),
        runs("docs-d", "n1", 1),
        deployments=frozen,
    )
    way = restored(snapshot, (was("chat-a", "n1", 1),), untouched=("docs",))
    assert seats(way.plan.placements) == {
        ("chat", "n2", (0,)),
        ("code", "n1", (0,)),
        ("docs", "n1", (1,)),
    }
    assert "held by deployment docs" in way.unrestored[0].message


def test_each_reason_is_told_when_nothing_can_be_restored() -> None:
    """Deleted, gone, too small a node, another shape, another type, too many."""
    snapshot = fleet(
        runs("chat-b", "n2", 0),
        deployments=(
            wanted("chat", tensor_parallel_size=1, max_replicas=1),
            wanted("huge", kv_cache_bytes=1 << 40),
            wanted("pair", tensor_parallel_size=2),
            wanted("gpu", device_types=("H100",)),
        ),
    )
    target = (
        was("gone-a", "n1", 0),
        was("chat-a", "n9", 0),
        was("huge-a", "n1", 0),
        was("pair-a", "n1", 0),
        was("gpu-a", "n1", 0),
        was("chat-c", "n1", 7),
    )
    way = restored(snapshot, target)
    assert {(one.deployment, one.dimension) for one in way.unrestored} == {
        ("gone", "deleted"),
        ("chat", "devices"),
        ("huge", "memory"),
        ("pair", "tensor_parallel"),
        ("gpu", "device_type"),
    }
    assert len(way.unrestored) == len(target)
    assert seats(way.plan.placements) == {("chat", "n2", (0,))}


def test_rules_of_many_are_told_when_they_bind_now() -> None:
    """Groups, anti-affinity and host memory: the seats they forbid are given up."""
    snapshot = fleet(
        runs("chat-b", "n2", 0),
        nodes=(
            replace(node("n1", 4), host_memory_bytes=50),
            replace(node("n2"), group="a"),
        ),
        deployments=(
            wanted("chat", node_groups=("a",)),
            wanted("code", anti_affinity=("code",)),
            wanted("docs", host_memory_bytes=60),
        ),
    )
    target = (
        was("chat-a", "n1", 0),
        was("code-a", "n1", 1),
        was("code-b", "n1", 2),
        was("docs-a", "n1", 3),
    )
    way = restored(snapshot, target)
    assert {(one.deployment, one.dimension) for one in way.unrestored} == {
        ("chat", "node_group"),
        ("code", "anti_affinity"),
        ("docs", "host_memory"),
    }
    assert verify(snapshot, way.plan) == ()
    assert ("chat", "n2", (0,)) in seats(way.plan.placements), "today's stands in"


IDS = ("chat", "code", "docs")


@st.composite
def ways(draw: st.DrawFn) -> tuple[Snapshot, tuple[Placement, ...]]:
    """Fleets with something running, and an earlier placement of the same kind."""
    nodes = tuple(
        node(
            f"n{i}",
            draw(st.integers(1, 3)),
            is_ready=draw(st.booleans()) or i == 0,
            is_cordoned=draw(st.booleans()),
            is_draining=draw(st.booleans()),
            is_frozen=draw(st.integers(0, 5)) == 0,
        )
        for i in range(draw(st.integers(1, 4)))
    )
    deployments = tuple(
        wanted(
            id_,
            min_replicas=draw(st.integers(0, 2)),
            max_replicas=draw(st.integers(2, 4)),
            is_frozen=draw(st.integers(0, 5)) == 0,
            online_work=draw(st.sampled_from((0.0, 300.0, 1500.0))),
        )
        for id_ in draw(st.sets(st.sampled_from(IDS), min_size=1))
    )
    spots = [(one.id, device.index) for one in nodes for device in one.devices]

    def placed(tag: str) -> list[tuple[str, str, int]]:
        taken = draw(st.lists(st.sampled_from(spots), unique=True))
        return [(f"{draw(st.sampled_from(IDS))}-{tag}{i}", *spot) for i, spot in enumerate(taken)]

    known = {one.id: one for one in deployments}
    allocations: list[Allocation] = []
    for replica, where, device in placed("x"):
        own = sum(one.deployment == replica.partition("-")[0] for one in allocations)
        owner = known.get(replica.partition("-")[0])
        if owner is None or own >= owner.max_replicas:
            continue
        state = draw(st.sampled_from((ReplicaState.RUNNING, ReplicaState.STARTING)))
        allocations.append(
            runs(
                replica,
                where,
                device,
                state=state,
                desired=draw(st.sampled_from((Desired.RUNNING, Desired.RUNNING, Desired.STOPPED))),
            )
        )
    tag = draw(st.sampled_from(("x", "y")))
    target = tuple(was(*one) for one in placed(tag))
    return (
        Snapshot(revision=1, nodes=nodes, deployments=deployments, allocations=tuple(allocations)),
        target,
    )


@settings(max_examples=300, deadline=None)
@given(ways())
def test_way_back_breaks_no_rule_and_accounts_for_every_placement(
    case: tuple[Snapshot, tuple[Placement, ...]],
) -> None:
    """The verifier passes it; each earlier placement is restored or told; shapes are exact."""
    snapshot, target = case
    way = restored(snapshot, target)
    assert verify(snapshot, way.plan) == ()
    assert way.restored + len(way.unrestored) == len(target)
    wanted_seats = seats(target)
    for one in (*way.plan.placements, *way.plan.waiting):
        if one.replica is None:
            assert (one.deployment, one.node, one.devices) in wanted_seats
    told = {(one.deployment, one.node) for one in way.unrestored}
    stands = seats((*way.plan.placements, *way.plan.waiting))
    for one in target:
        assert (one.deployment, one.node, one.devices) in stands or (
            (one.deployment, one.node) in told
        )


@settings(max_examples=150, deadline=None)
@given(ways())
def test_way_back_ends_when_its_steps_are_taken(
    case: tuple[Snapshot, tuple[Placement, ...]],
) -> None:
    """Applied step by step, with what is to stop stopping, nothing is left after a few."""
    snapshot, target = case
    for step in range(6):
        way = restored(snapshot, target)
        if way.is_reached:
            return
        kept = {one.replica: one for one in way.plan.placements if one.replica}
        snapshot = replace(
            snapshot,
            allocations=tuple(one for one in snapshot.allocations if one.replica in kept)
            + tuple(
                runs(f"{one.deployment}-s{step}-{i}", one.node, 0, devices=one.devices)
                for i, one in enumerate(way.plan.placements)
                if one.replica is None
            ),
        )
    raise AssertionError("it goes on and on")
