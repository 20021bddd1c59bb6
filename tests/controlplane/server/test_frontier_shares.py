"""What planned work takes of replicas' frontiers."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from controlplane.rounds.totals import by_deployment, running
from controlplane.services.frontier_shares import frontier_shares, shares_of
from planner.interference.frontier import DEFAULT_FRONTIER, offline_limit, online_limit
from planner.model import (
    OFFLINE_ONLY,
    Allocation,
    Deployment,
    Device,
    Frontier,
    Node,
    ReplicaFrontier,
    ReplicaState,
    Segment,
    Slo,
    Snapshot,
    Stage,
)
from tests.controlplane.server.agent_fake import FakeAgent
from tests.controlplane.server.conftest import Start, deployment

positive = st.floats(0.1, 3.0)
frontiers = st.builds(
    Frontier,
    max_online_work=st.floats(1.0, 1000.0),
    segments=st.lists(
        st.builds(Segment, alpha=positive, beta=positive, gamma=st.floats(1.0, 2000.0)),
        min_size=1,
        max_size=4,
    ).map(tuple),
    source=st.just("derived"),
)
work = st.floats(0.0, 2000.0)


@given(frontier=frontiers, online=work, offline=work)
def test_shares_add_up_to_one_exactly_on_the_frontier(
    frontier: Frontier, online: float, offline: float
) -> None:
    """Work grown or cut by the inverse of their sum lies on the frontier, as the planner draws
    it: a little less is borne and a little more is not.
    """
    assume(online + offline > 1.0)
    ratios = shares_of(frontier, online_work=online, offline_work=offline)
    assert min(ratios) >= 0.0
    scale = 1.0 / sum(ratios)

    def borne(factor: float) -> bool:
        x, y = online * scale * factor, offline * scale * factor
        return x <= online_limit(frontier) and y <= offline_limit(frontier, x)

    assert borne(1.0 - 1e-6) and not borne(1.0 + 1e-6)


@given(frontier=frontiers, online=work, offline=work)
def test_work_of_one_kind_takes_nothing_in_the_name_of_the_other(
    frontier: Frontier, online: float, offline: float
) -> None:
    """No work takes nothing, and work of one kind alone has the other's ratio at 0."""
    assert shares_of(frontier, online_work=0.0, offline_work=0.0) == (0.0, 0.0)
    assert shares_of(frontier, online_work=online, offline_work=0.0)[1] == 0.0
    assert shares_of(frontier, online_work=0.0, offline_work=offline)[0] == 0.0


def test_frontier_without_room_is_taken_whole() -> None:
    """A piece of 0 divides nothing: the work that is there takes all of it."""
    none = Frontier(max_online_work=0.0, segments=(Segment(alpha=1, beta=1, gamma=0),), source="x")
    assert shares_of(none, online_work=5.0, offline_work=0.0) == (1.0, 0.0)
    pieces = (Segment(alpha=1, beta=1, gamma=0),)
    shared = Frontier(max_online_work=10.0, segments=pieces, source="x")
    assert shares_of(shared, online_work=5.0, offline_work=5.0) == (0.5, 0.5)


def _snapshot(*allocations: Allocation) -> Snapshot:
    chat = Deployment(
        id="chat",
        model="tiny",
        slo=Slo(ttft_ms=1000.0, itl_ms=100.0),
        min_replicas=1,
        max_replicas=4,
        weights_bytes=1,
        kv_cache_bytes=1,
        stage=Stage.ACTIVE,
        online_work=600.0,
    )
    alone = Frontier(
        max_online_work=0.0, segments=(Segment(alpha=1, beta=1, gamma=1000),), source="measured"
    )
    devices = tuple(Device(index=i, device_type="cpu", memory_bytes=8) for i in range(4))
    return Snapshot(
        revision=1,
        nodes=(Node(id="n1", devices=devices, failure_domain="n1"),),
        deployments=(chat,),
        allocations=allocations,
        frontiers=(
            ReplicaFrontier(
                deployment="chat", device_type="cpu", frontier=alone, slo_class=OFFLINE_ONLY
            ),
        ),
    )


def _replica(id_: str, **fields: object) -> Allocation:
    values = {"deployment": "chat", "node": "n1", "devices": (0,), "state": ReplicaState.RUNNING}
    return Allocation(replica=id_, **{**values, **fields})  # type: ignore[arg-type]


def test_failed_replicas_work_is_carried_by_the_others_in_their_shares() -> None:
    """What is served divides by the shares of those that serve; offline work is each one's
    own; those that serve no online requests take it from a frontier of their own.
    """
    snapshot = _snapshot(
        _replica("r1", online_share=0.4, offline_share=100.0),
        _replica("r2", online_share=0.2, devices=(1,)),
        _replica("r3", online_share=0.4, devices=(2,), state=ReplicaState.FAILED),
        _replica("r4", slo_class=OFFLINE_ONLY, offline_share=250.0, devices=(3,)),
    )
    placements = running(snapshot)
    found = frontier_shares(snapshot, placements, by_deployment(snapshot, placements))
    by_id = {one.replica.removeprefix("replicas/"): one for one in found}
    assert set(by_id) == {"r1", "r2", "r4"}
    # Of the default frontier 400 online and 100 offline come nearest to x <= 700.
    assert (by_id["r1"].online_ratio, by_id["r1"].offline_ratio) == pytest.approx(
        shares_of(DEFAULT_FRONTIER, online_work=400.0, offline_work=100.0)
    )
    assert by_id["r1"].source == "default"
    assert by_id["r2"].online_ratio == pytest.approx(200.0 / 700.0)
    assert (by_id["r4"].online_ratio, by_id["r4"].offline_ratio) == (0.0, 0.25)
    assert by_id["r4"].source == "measured"


async def test_placement_tells_the_shares_of_what_runs(start: Start) -> None:
    """Of a real control plane: 350 of the 700 engine-ms/s one replica bears are planned."""
    running_plane = await start()
    async with FakeAgent(node="n1", port=running_plane.port):
        await running_plane.apply(deployment(expected_online_work=350.0))
        (replica,) = await running_plane.running("chat", 1)
        (share,) = (await running_plane.placement_now()).frontier_shares
        assert share.replica == replica.name
        assert (share.online_ratio, share.offline_ratio) == (0.5, 0.0)
        assert share.source
