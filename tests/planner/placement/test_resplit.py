"""Between rounds: work split anew over replicas that stay where they are."""

from dataclasses import replace

import pytest

from planner.model import (
    OFFLINE_ONLY,
    BatchDemand,
    Frontier,
    MoveKind,
    ReplicaFrontier,
    Segment,
    Slo,
    SloClass,
    Stage,
)
from planner.placement.fairness import FAIR_SHARE
from planner.placement.resplit import resplit
from planner.placement.verify import verify
from tests.planner.placement.fleets import (
    batch,
    commit,
    deployment,
    fleet,
    node,
    rounds,
    running,
    solved,
)


def classes(tight: float, loose: float) -> tuple[SloClass, ...]:
    """Two classes with those engine-ms per second."""
    return (
        SloClass(id="tight", slo=Slo(ttft_ms=500.0, itl_ms=50.0), online_work=tight),
        SloClass(id="loose", slo=Slo(ttft_ms=5000.0, itl_ms=500.0), online_work=loose),
    )


def bears(slo_class: str, online: float, offline: float) -> ReplicaFrontier:
    """A frontier that trades one for one."""
    return ReplicaFrontier(
        deployment="chat",
        device_type="cpu",
        slo_class=slo_class,
        frontier=Frontier(
            max_online_work=online,
            segments=(Segment(alpha=1.0, beta=1.0, gamma=offline),),
            source="a test",
        ),
    )


def with_classes(tight: float, loose: float, offline: float = 900.0):
    """Three replicas of one deployment of two classes, settled."""
    chat = deployment(
        "chat",
        min_replicas=3,
        max_replicas=3,
        slo_classes=classes(tight, loose),
        stage=Stage.ACTIVE,
        offline_work=offline,
    )
    known = (
        bears("tight", 400.0, 500.0),
        bears("loose", 800.0, 900.0),
        bears(OFFLINE_ONLY, 0, 1e3),
    )
    start = fleet([node("n1"), node("n2")], [chat], frontiers=known)
    return rounds(start)[0]


def test_split_follows_the_load_when_two_types_bear_differently():
    """More load: moves adjust and nothing else, the plan verifies, and a repeat has none."""
    slow = Frontier(
        max_online_work=200.0, segments=(Segment(alpha=1.0, beta=1.0, gamma=250.0),), source="a"
    )
    snapshot = fleet(
        [node("n1"), node("n2", kind="slow")],
        [deployment("chat", min_replicas=2, online_work=100.0, stage=Stage.ACTIVE)],
        [running("a", "chat", "n1", 0), running("b", "chat", "n2", 0)],
        frontiers=(ReplicaFrontier(deployment="chat", device_type="slow", frontier=slow),),
    )
    settled = commit(snapshot, resplit(snapshot))
    assert resplit(settled) is None
    chat = replace(settled.deployments[0], online_work=800.0)
    loaded = replace(settled, deployments=(chat,))
    plan = resplit(loaded)
    assert plan is not None and verify(loaded, plan) == ()
    assert plan.solver == "flow" and {m.kind for m in plan.moves} == {MoveKind.ADJUST}
    share = {p.replica: p.online_share for p in plan.placements}
    assert share["a"] * 800.0 <= 700.0 + 1e-6 and share["b"] * 800.0 <= 200.0 + 1e-6


def test_resplit_has_no_plan_when_a_replica_has_to_go():
    """A deployment that is gone: its replica's removal is a round's."""
    snapshot = fleet(
        [node("n1")],
        [deployment("chat")],
        [running("a", "chat", "n1", 0), running("b", "gone", "n1", 1)],
    )
    assert resplit(snapshot) is None


def test_resplit_says_what_is_short_when_replicas_cannot_bear_the_load():
    """More than they bear: split as far as it goes, with a misfit."""
    snapshot = fleet(
        [node("n1", devices=1)],
        [deployment("chat", online_work=5000.0, max_replicas=1), batch("night", max_replicas=1)],
        [running("a", "chat", "n1", 0, online_share=0.5)],
    )
    plan = resplit(snapshot)
    assert plan is not None
    assert any(m.deployment == "chat" and m.dimension == "capacity" for m in plan.misfits)


@pytest.mark.parametrize("loose", [0.0, 300.0, 700.0])
def test_classes_stay_when_work_is_split_anew(loose):
    """A replica keeps its SLO class; what the classes bring is carried within frontiers."""
    snapshot = with_classes(300.0, 300.0)
    chat = replace(snapshot.deployments[0], slo_classes=classes(200.0, loose))
    loaded = replace(snapshot, deployments=(chat,))
    plan = resplit(loaded)
    assert plan is not None and verify(loaded, plan) == ()
    before = {a.replica: a.slo_class for a in snapshot.allocations}
    assert {p.replica: p.slo_class for p in plan.placements} == before


def _told(plan):
    """What the applier compares of misfits."""
    return {(one.deployment, one.node, one.dimension) for one in plan.misfits}


def test_round_after_a_resplit_has_nothing_to_commit_when_a_fair_share_is_missed():
    """Ten shifts of load: each plan names blue, whose replica takes both devices, as rounds do."""
    chat = deployment("chat", stage=Stage.ACTIVE, max_replicas=1, online_work=100.0)
    night = batch("night", min_replicas=0, tensor_parallel_size=2)
    snapshot, _ = rounds(
        fleet(
            [node("n1", devices=2)],
            [chat, night],
            batches=(
                BatchDemand(deployment="chat", tenant="red", offline_work=5000.0),
                BatchDemand(deployment="night", tenant="blue", offline_work=5000.0),
            ),
        )
    )
    for shift in range(10):
        work = 100.0 if shift % 2 else 400.0
        snapshot = replace(snapshot, deployments=(replace(chat, online_work=work), night))
        plan = resplit(snapshot)
        assert plan is not None and verify(snapshot, plan) == ()
        assert ("night", None, FAIR_SHARE) in _told(plan)
        snapshot = commit(snapshot, plan)
        assert resplit(snapshot) is None
        of_round = solved(snapshot)
        assert of_round.moves == () and set(of_round.placements) == set(plan.placements)
        assert _told(of_round) == _told(plan)
