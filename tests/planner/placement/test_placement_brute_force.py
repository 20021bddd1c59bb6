"""Tiny fleets, every placement of which was tried."""

import itertools
from dataclasses import replace

import pytest
from brute import Brute, Score
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.placement.board import Board, Counts, lay_out
from bench.placement.bounds import bound_of, domain_bound_of, integer_bound_of
from bench.placement.contestants import incumbents, settled
from bench.placement.evaluate import evaluate
from bench.placement.linear import SHORTFALLS
from planner.model import (
    OFFLINE_ONLY,
    BatchDemand,
    Deployment,
    Device,
    Frontier,
    Node,
    ReplicaFrontier,
    Segment,
    Slo,
    SloClass,
    Snapshot,
    Stage,
    Tenant,
)

GIB = 2**30
SLO = Slo(ttft_ms=1000.0, itl_ms=100.0)
SPEED = {"fast": 1.0, "slow": 0.4}


def curve(online: float, offline: float, *, bend: float) -> Frontier:
    """Down from (0, offline): flat at first, steeper from half the online work on."""
    half = offline * bend
    first = (offline - half) / (0.5 * online)
    second = half / (0.5 * online) * 0.9
    return Frontier(
        max_online_work=online,
        segments=(
            Segment(alpha=first, beta=1.0, gamma=offline),
            Segment(alpha=second, beta=1.0, gamma=half + second * 0.5 * online),
        )
        if second > first
        else (Segment(alpha=0.8 * offline / online, beta=1.0, gamma=offline),),
        source="test",
    )


def curves(name: str, *, size: float, sizes: tuple[int, ...]) -> list[ReplicaFrontier]:
    """Tight bears half of loose; more devices bear a little less each."""
    found = []
    for kind, speed in SPEED.items():
        for devices in sizes:
            bears = size * speed * devices ** (0.9 if speed == 1.0 else 1.1)
            for slo_class, curved in (
                ("tight", curve(400.0 * bears, 800.0 * bears, bend=0.7)),
                ("loose", curve(800.0 * bears, 1000.0 * bears, bend=0.6)),
                (
                    OFFLINE_ONLY,
                    Frontier(
                        max_online_work=0.0,
                        segments=(Segment(alpha=0.0, beta=1.0, gamma=1100.0 * bears),),
                        source="test",
                    ),
                ),
            ):
                found.append(
                    ReplicaFrontier(
                        deployment=name,
                        device_type=kind,
                        tensor_parallel_size=devices,
                        slo_class=slo_class,
                        frontier=curved,
                    )
                )
    return found


@st.composite
def fleets(draw: st.DrawFn) -> Snapshot:
    """Two or three nodes of two devices, one or two deployments of two classes."""
    nodes = tuple(
        Node(
            id=f"n{i}",
            devices=tuple(
                Device(index=j, device_type=kind, memory_bytes=16 * GIB) for j in range(2)
            ),
            failure_domain=f"f{i}",
            host_memory_bytes=draw(st.sampled_from((0, 5 * GIB))),
        )
        for i, kind in enumerate(
            draw(st.lists(st.sampled_from(sorted(SPEED)), min_size=2, max_size=3))
        )
    )
    deployments, frontiers, batches = [], [], []
    for name in ("a", "b")[: draw(st.integers(1, 2))]:
        sizes = draw(st.sampled_from(((1,), (1, 2), (2,))))
        deployments.append(
            Deployment(
                id=name,
                model=name,
                slo=SLO,
                min_replicas=draw(st.integers(0, 1)),
                max_replicas=draw(st.sampled_from((2, 99))),
                weights_bytes=8 * GIB,
                kv_cache_bytes=4 * GIB,
                tensor_parallel_size=sizes[0],
                other_tensor_parallel_sizes=sizes[1:],
                device_types=("fast", "slow"),
                stage=Stage.ACTIVE,
                slo_classes=(
                    SloClass(
                        id="tight",
                        slo=SLO,
                        online_work=draw(st.sampled_from((0.0, 150.0, 500.0))),
                        failover_ratio=draw(st.sampled_from((0.0, 1.0))),
                    ),
                    SloClass(
                        id="loose",
                        slo=SLO,
                        online_work=draw(st.sampled_from((0.0, 200.0, 900.0))),
                        failover_ratio=draw(st.sampled_from((0.0, 0.7))),
                    ),
                ),
                host_memory_bytes=2 * GIB,
            )
        )
        frontiers += curves(name, size=draw(st.sampled_from((0.7, 1.0))), sizes=sizes)
        for tenant in ("t", "u"):
            most = draw(st.sampled_from((0.0, 300.0, 1500.0, 9000.0)))
            if most:
                batches.append(
                    BatchDemand(
                        deployment=name,
                        tenant=tenant,
                        offline_work=most,
                        min_offline_work=draw(st.sampled_from((0.0, 0.3))) * most,
                        weight=draw(st.sampled_from((1.0, 2.5))),
                    )
                )
    quota = draw(st.sampled_from((None, 1000.0)))
    return Snapshot(
        revision=1,
        nodes=nodes,
        deployments=tuple(deployments),
        allocations=(),
        frontiers=tuple(frontiers),
        tenants=(Tenant(id="t", max_offline_work=quota),),
        batches=tuple(batches),
    )


def counted(
    board: Board, brute: Brute, held: tuple[tuple[tuple[int, str, int], ...], ...]
) -> Counts:
    """A brute placement as the bench counts it."""
    counts = board.empty()
    index = {
        (choice.deployment, board.kinds[choice.kind], choice.devices): number
        for number, choice in enumerate(board.choices)
    }
    assert len(held) == len(brute.snapshot.nodes)
    for node, shapes in enumerate(held):
        for shape in shapes:
            counts[node, index[shape]] += 1
    return counts


@given(fleet=fleets())
@settings(max_examples=25, deadline=None)
def test_referee_finds_what_brute_force_finds(fleet: Snapshot) -> None:
    """Replicas divided over modes in fractions carry what whole ones do, and at the most more."""
    brute, board = Brute(fleet), lay_out(fleet)
    held, score = brute.best()
    worth = evaluate(board, counted(board, brute, held))
    tiers = (
        (score.replicas, worth.short["replicas"]),
        (score.online[0], worth.short["online_tight"]),
        (score.online[1], worth.short["online_loose"]),
        (score.failover[0], worth.short["failover_tight"]),
        (score.failover[1], worth.short["failover_loose"]),
        (score.deadlines, worth.short["deadlines"]),
    )
    for mine, theirs in tiers:
        if mine < 1e-6:
            assert theirs < 1e-4
        else:
            return  # the referee may divide what is short otherwise
    assert worth.offline >= score.offline - 1e-3


@given(fleet=fleets())
@settings(max_examples=15, deadline=None)
def test_no_placement_of_all_passes_the_bounds(fleet: Snapshot) -> None:
    """The most offline work of any placement without shortfall is within both bounds."""
    brute, board = Brute(fleet), lay_out(fleet)
    best = None
    for held in brute.placements():
        score = brute.score(held)
        if not score.is_short and (best is None or score.cost < best.cost):
            best = score
    if best is None:
        return
    nothing = dict.fromkeys(SHORTFALLS, 0.0)
    linear = bound_of(board, nothing).offline
    assert best.offline <= linear + 1e-3
    for bound in (integer_bound_of, domain_bound_of):
        whole = bound(board, nothing, seconds=5.0).offline
        # Rows hold to 1e-6, and passing a cap by as much costs a thousand times that.
        assert best.offline - 1e-3 <= whole <= linear * (1.0 + 1e-3) + 1e-3


@given(fleet=fleets())
@settings(max_examples=12, deadline=None)
def test_solve_finds_the_best_placement_of_all(fleet: Snapshot) -> None:
    """Where nothing need be short the plan is as good as any, tier by tier.

    Loads are free here, since they are weighed against offline work; where something is
    short, classes weigh against each other inside a tier, which brute force does not.
    """
    fleet = replace(
        fleet,
        nodes=tuple(
            replace(node, host_memory_bytes=node.host_memory_bytes or 64 * GIB)
            for node in fleet.nodes
        ),
        deployments=tuple(replace(one, load_s=0.0, warm_load_s=0.0) for one in fleet.deployments),
    )
    brute = Brute(fleet)
    best = brute.best()[1]
    asked = itertools.count()
    plans = list(incumbents(fleet, work_left=lambda: 20.0 - next(asked)))
    assert plans
    found = brute.score(brute.held(settled(plans[-1])))
    assert best.is_as_good_as(found, tolerance=1e-6)
    if not best.is_short:
        assert found.is_as_good_as(best, tolerance=5e-3)


def test_brute_force_knows_a_fleet_solved_by_hand() -> None:
    """One fast node: one replica serves 400 tight, the other is offline only."""
    fleet = Snapshot(
        revision=1,
        nodes=(
            Node(
                id="n",
                devices=tuple(
                    Device(index=j, device_type="fast", memory_bytes=16 * GIB) for j in range(2)
                ),
                failure_domain="f",
            ),
        ),
        deployments=(
            Deployment(
                id="a",
                model="a",
                slo=SLO,
                min_replicas=0,
                max_replicas=9,
                weights_bytes=GIB,
                kv_cache_bytes=GIB,
                stage=Stage.ACTIVE,
                slo_classes=(SloClass(id="tight", slo=SLO, online_work=400.0),),
            ),
        ),
        allocations=(),
        frontiers=tuple(
            one for one in curves("a", size=1.0, sizes=(1,)) if one.slo_class != "loose"
        ),
        batches=(BatchDemand(deployment="a", tenant="t", offline_work=9000.0, weight=2.0),),
    )
    held, score = Brute(fleet).best()
    assert held == (((0, "fast", 1), (0, "fast", 1)),)
    # At 400 online, 560 - 0.9 * 560 = 56 offline are left beside it; the other bears 1100.
    assert score.shorts == pytest.approx((0.0, 0.0, 0.0, 0.0))
    assert score.offline == pytest.approx(2.0 * (56.0 + 1100.0) / 1000.0)
    one_device = replace(
        fleet, nodes=(replace(fleet.nodes[0], devices=fleet.nodes[0].devices[:1]),)
    )
    assert Brute(one_device).best()[1].offline == pytest.approx(2.0 * 56.0 / 1000.0)


def test_scores_compare_tier_by_tier() -> None:
    """More offline work is never worth a tier before it."""
    good = Score(replicas=0, online=(0.0,), failover=(0.0,), deadlines=0.0, cost=-1.0)
    rich = replace(good, deadlines=0.1, cost=-100.0)
    assert good < rich
    assert good.is_as_good_as(rich, tolerance=1e-3)
    assert not rich.is_as_good_as(good, tolerance=1e-3)
    assert rich.is_as_good_as(replace(rich, cost=-100.0005), tolerance=1e-3)
