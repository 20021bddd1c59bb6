"""A fleet's answers read into a picture."""

from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from slacktide.v1 import node_pb2, placement_pb2, replica_pb2
from slacktide.v1.deployment_pb2 import STAGE_ACTIVE, Deployment, DeploymentSpec, DeploymentStatus
from slacktide.v1.node_pb2 import Device, Node
from slacktide.v1.placement_pb2 import (
    Freeze,
    Misfit,
    Move,
    ObjectiveTerm,
    Pin,
    Placement,
    PlacementTotals,
    Plan,
)
from slacktide.v1.placement_service_pb2 import GetPlacementResponse
from slacktide.v1.replica_pb2 import Replica, ReplicaReport

from controlplane.cli.fleetpage import fleet_html
from controlplane.cli.fleetpage_picture import BoxState, Mark, Picture
from controlplane.cli.fleetpage_read import picture_of

NOW = datetime(2026, 11, 23, 13, 0, tzinfo=UTC)
WANTED = replica_pb2.DESIRED_STATE_RUNNING
UNWANTED = replica_pb2.DESIRED_STATE_STOPPED


def node(id_: str = "n1", **fields: Any) -> Node:
    devices = [Device(index=i, device_type="cpu", memory_bytes=1 << 30) for i in range(2)]
    values = {"state": node_pb2.NODE_STATE_READY, "failure_domain": id_, "devices": devices}
    return Node(name=f"nodes/{id_}", **{**values, **fields})


def replica(id_: str = "r-1", **fields: Any) -> Replica:
    values = {
        "deployment": "deployments/chat", "node": "nodes/n1", "device_indices": [0],
        "desired": WANTED, "state": replica_pb2.REPLICA_STATE_RUNNING,
    }  # fmt: skip
    return Replica(name=f"replicas/{id_}", **{**values, **fields})


def chat(**fields: Any) -> Deployment:
    spec = DeploymentSpec(model="tiny", stage=STAGE_ACTIVE, min_replicas=1, max_replicas=3)
    return Deployment(name="deployments/chat", spec=spec, **fields)


def drawn(**answers: Any) -> Picture:
    values: dict[str, Any] = {
        "nodes": [node()], "deployments": [chat()], "replicas": [], "pins": [],
        "placement": GetPlacementResponse(revision=7), "now": NOW,
    }  # fmt: skip
    return picture_of(**{**values, **answers})


@pytest.mark.parametrize(
    ("state", "desired", "shown"),
    [
        (replica_pb2.REPLICA_STATE_PENDING, WANTED, BoxState.PLANNED),
        (replica_pb2.REPLICA_STATE_STARTING, WANTED, BoxState.STARTING),
        (replica_pb2.REPLICA_STATE_RUNNING, WANTED, BoxState.RUNNING),
        (replica_pb2.REPLICA_STATE_RUNNING, UNWANTED, BoxState.LEAVING),
        (replica_pb2.REPLICA_STATE_DRAINING, WANTED, BoxState.LEAVING),
        (replica_pb2.REPLICA_STATE_FAILED, WANTED, BoxState.FAILED),
        (replica_pb2.REPLICA_STATE_FAILED, UNWANTED, BoxState.FAILED),
        (replica_pb2.REPLICA_STATE_LOST, WANTED, BoxState.LOST),
        (replica_pb2.REPLICA_STATE_STOPPED, WANTED, BoxState.PLANNED),
        (replica_pb2.REPLICA_STATE_STOPPED, UNWANTED, None),
        (replica_pb2.REPLICA_STATE_LOST, UNWANTED, None),
        (99, WANTED, BoxState.PLANNED),
    ],
)
def test_replica_is_drawn_as_it_stands(state: int, desired: int, shown: BoxState | None) -> None:
    """What is over and unwanted is left out; a state of a later release is not called running."""
    one = replica(state=state, desired=desired, report=ReplicaReport(message="well"))
    boxes = list(drawn(replicas=[one]).boxes)
    assert [box.state for box in boxes] == ([] if shown is None else [shown])
    if boxes:
        assert (boxes[0].replica, boxes[0].devices, boxes[0].note) == ("r-1", (0,), "well")


@pytest.mark.parametrize(
    ("fields", "marks"),
    [
        ({}, ()),
        ({"cordoned": True}, (Mark.CORDONED,)),
        ({"cordoned": True, "state": node_pb2.NODE_STATE_DRAINING}, (Mark.DRAINING,)),
        ({"cordoned": True, "state": node_pb2.NODE_STATE_DRAINED}, (Mark.DRAINED,)),
        ({"state": node_pb2.NODE_STATE_LOST}, (Mark.LOST,)),
        ({"cordoned": True, "state": node_pb2.NODE_STATE_LOST}, (Mark.LOST, Mark.CORDONED)),
        ({"frozen": True}, (Mark.FROZEN,)),
        ({"cordoned": True, "frozen": True}, (Mark.CORDONED, Mark.FROZEN)),
    ],
)
def test_node_is_marked_as_it_stands(fields: dict[str, Any], marks: tuple[Mark, ...]) -> None:
    """A draining node is not called cordoned as well."""
    (host,) = drawn(nodes=[node(**fields, reason="disk")]).hosts
    assert host.marks == marks
    assert host.reason == "disk"


def test_freezes_mark_what_they_name() -> None:
    """A node, a deployment, and the fleet as the first thing to know."""
    placement = GetPlacementResponse(
        freezes=[
            Freeze(target="nodes/n1", reason="fans"), Freeze(target="deployments/chat"),
            Freeze(reason="exam week", create_time=Timestamp(seconds=1)),
        ],
        rollback_to="plans/4",
        last_round=Plan(
            name="plans/9", outcome=placement_pb2.ROUND_OUTCOME_FAILED, failure="solver killed"
        ),
    )  # fmt: skip
    found = drawn(placement=placement)
    assert (found.hosts[0].marks, found.hosts[0].reason) == ((Mark.FROZEN,), "fans")
    assert found.rows[0].is_frozen
    assert found.notes == (
        "frozen: the whole fleet since 1970-01-01T00:00:01Z: exam week",
        "rounds return to plan 4",
        "last round: round 9, failed: solver killed",
    )


def test_pins_and_waiting_placements_are_drawn() -> None:
    """A pin marks the deployment's replicas there; what waits for devices is planned."""
    plan = Plan(
        name="plans/9",
        waiting=[Placement(deployment="deployments/chat", node="nodes/n1", device_indices=[1])],
    )
    found = drawn(
        replicas=[replica()],
        pins=[Pin(deployment="deployments/chat", node="nodes/n1", replicas=2)],
        placement=GetPlacementResponse(plan=plan, revision=9),
    )
    (host,) = found.hosts
    assert host.pins == (("chat", 2),)
    assert [(box.state, box.is_pinned, box.replica) for box in host.boxes] == [
        (BoxState.RUNNING, True, "r-1"),
        (BoxState.PLANNED, True, ""),
    ]
    assert host.busy == {0, 1}


def test_replica_stands_somewhere_when_its_node_and_deployment_are_gone() -> None:
    """None is missing from the picture, and what holds it is marked."""
    stray = replica("r-9", node="nodes/n9", deployment="deployments/old", device_indices=[1])
    found = drawn(replicas=[stray])
    (host,) = [one for one in found.hosts if one.id == "n9"]
    assert host.marks == (Mark.LOST,) and len(host.device_types) == 2
    assert [(row.number, row.id, row.stage) for row in found.rows] == [
        (1, "chat", "active"),
        (2, "old", "deleted"),
    ]
    assert host.boxes[0].number == 2


def test_load_and_totals_are_told_where_they_are_known() -> None:
    """What agents measure now, and what is served of what is wanted; nothing is made up."""
    load = replica_pb2.ReplicaLoad(online_work=120.0, offline_work=30.0)
    totals = PlacementTotals(
        online_work_wanted=400, online_work_served=300, offline_work_wanted=80, price_per_hour=9.5
    )
    found = drawn(
        replicas=[replica(report=ReplicaReport(load=load)), replica("r-2", device_indices=[1])],
        placement=GetPlacementResponse(revision=9, totals=totals),
    )
    assert [(b.online_now, b.offline_now) for b in found.boxes] == [(120.0, 30.0), (None, None)]
    page = fleet_html(found)
    assert "now online 120 ms/s, offline 30.0 ms/s" in page
    assert "online work: 300 of 400 ms/s served" in page
    assert "300 of 400" in page and "0 of 80.0" in page and "9.50" in page
    assert "deadline work" not in page
    assert drawn().service is None


def test_plan_is_told_with_its_reasons() -> None:
    """Terms, misfits, moves, bound, gap, trigger."""
    plan = Plan(
        name="plans/9", base_revision=6, epoch=2, status=placement_pb2.PLAN_STATUS_FEASIBLE,
        solver="HIGHS", objective=-3.0, bound=-4.0, gap=0.25, trigger="periodic",
        terms=[ObjectiveTerm(name="moves", weight=2.0, value=1.0)],
        misfits=[Misfit(message="no room")],
        moves=[Move(kind=placement_pb2.MOVE_KIND_ADD, deployment="deployments/chat",
                    node="nodes/n1", replica="replicas/r-1", reason="wanted")],
    )  # fmt: skip
    deployment = chat(status=DeploymentStatus(misfits=["no room for chat"]))
    found = drawn(deployments=[deployment], placement=GetPlacementResponse(plan=plan, revision=9))
    assert found.plan is not None and found.revision == 9
    assert (found.plan.status, found.plan.gap, found.plan.trigger) == ("feasible", 0.25, "periodic")
    assert found.plan.moves == ("+ add chat on n1 (r-1): wanted",)
    assert found.rows[0].misfits == ("no room for chat",)


@given(
    st.lists(
        st.builds(
            lambda n, node_id, device, state, desired: replica(
                f"r-{n}", node=f"nodes/{node_id}", device_indices=[device], state=state,
                desired=desired,
            ),
            st.integers(0, 99), st.sampled_from(["n1", "n2", "gone"]), st.integers(0, 3),
            st.integers(0, 9), st.sampled_from([WANTED, UNWANTED]),
        ),
        max_size=12,
    )
)  # fmt: skip
def test_every_replica_that_is_or_is_wanted_is_drawn_once(replicas: list[Replica]) -> None:
    """Whatever agents report, on nodes known and unknown, and the page can be made."""
    over = {replica_pb2.REPLICA_STATE_STOPPED, replica_pb2.REPLICA_STATE_LOST}
    kept = [r.name for r in replicas if not (r.state in over and r.desired == UNWANTED)]
    found = drawn(nodes=[node("n1"), node("n2")], replicas=replicas)
    assert sorted(f"replicas/{box.replica}" for box in found.boxes) == sorted(kept)
    for host in found.hosts:  # also where an agent names a device that its node has not
        assert host.busy <= set(range(len(host.device_types)))
    assert "</html>" in fleet_html(found)
