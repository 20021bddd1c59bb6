"""The referee and the bounds: right on what can be computed otherwise, never below a plan."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from bench.placement.board import Board, Counts, lay_out
from bench.placement.bounds import bound_of, domain_bound_of, integer_bound_of, relaxed
from bench.placement.evaluate import TIER_WEIGHTS, evaluate, violations
from bench.placement.failover import surviving_short
from bench.placement.generate import generate
from bench.placement.instances import Instance
from bench.placement.linear import SHORTFALLS
from bench.placement.modes import CLASSES
from bench.placement.packing import Packing
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
BOARD = lay_out(generate(Instance(size="10x3")))


def small_board(
    *,
    nodes: int = 2,
    devices: int = 2,
    online: float = 0.0,
    failover: float = 0.0,
    batches: tuple[BatchDemand, ...] = (),
    tenants: tuple[Tenant, ...] = (),
    **fields: int,
) -> Board:
    """One deployment `d`: x <= 600, x + y <= 1000 online, y <= 1200 offline only."""
    slo = Slo(ttft_ms=1000.0, itl_ms=100.0)
    segments = (Segment(alpha=1.0, beta=1.0, gamma=1000.0),)
    return lay_out(
        Snapshot(
            revision=1,
            nodes=tuple(
                Node(
                    id=f"n{i}",
                    devices=tuple(
                        Device(index=j, device_type="gpu", memory_bytes=8 * GIB)
                        for j in range(devices)
                    ),
                    failure_domain=f"f{i}",
                )
                for i in range(nodes)
            ),
            deployments=(
                Deployment(
                    id="d",
                    model="m",
                    slo=slo,
                    weights_bytes=GIB,
                    kv_cache_bytes=GIB,
                    stage=Stage.ACTIVE,
                    slo_classes=(
                        SloClass(id="chat", slo=slo, online_work=online, failover_ratio=failover),
                    ),
                    **({"min_replicas": 0, "max_replicas": 99} | fields),
                ),
            ),
            allocations=(),
            frontiers=(
                ReplicaFrontier(
                    deployment="d",
                    device_type="gpu",
                    tensor_parallel_size=1,
                    slo_class="chat",
                    frontier=Frontier(max_online_work=600.0, segments=segments, source="test"),
                ),
                ReplicaFrontier(
                    deployment="d",
                    device_type="gpu",
                    tensor_parallel_size=1,
                    slo_class=OFFLINE_ONLY,
                    frontier=Frontier(
                        max_online_work=0.0,
                        segments=(Segment(alpha=0.0, beta=1.0, gamma=1200.0),),
                        source="test",
                    ),
                ),
            ),
            tenants=tenants,
            batches=batches,
        )
    )


def placed(board: Board, *rows: int) -> Counts:
    """So many replicas of the only choice on each node."""
    counts = board.empty()
    counts[: len(rows), 0] = rows
    return counts


def random_placement(board: Board, seed: int, *, tries: int) -> Counts:
    """Replicas drawn one by one, wherever they fit."""
    rng = np.random.default_rng(seed)
    packing = Packing(board, board.empty())
    for _ in range(tries):
        choice = int(rng.integers(len(board.choices)))
        node = int(rng.choice(packing.nodes_of(board.choices[choice].kind)))
        what = board.choices[choice]
        if packing.free(node) >= what.devices and packing.memory(node) >= what.host_memory_bytes:
            packing.put(node, choice)
    return packing.counts


def test_evaluate_finds_everything_short_when_nothing_runs() -> None:
    """Every tier is short of all that is wanted in it."""
    worth = evaluate(BOARD, BOARD.empty())
    assert worth.offline == pytest.approx(0.0, abs=1e-6)
    assert worth.short["replicas"] == pytest.approx(3.0)
    assert worth.short["online_tight"] == pytest.approx(BOARD.online[:, 0].sum())
    assert worth.short["online_loose"] == pytest.approx(BOARD.online[:, 1].sum())
    assert worth.short["failover_tight"] == pytest.approx(BOARD.failover[:, 0].sum())
    assert worth.short["failover_loose"] == pytest.approx(BOARD.failover[:, 1].sum())
    assert worth.short["deadlines"] == pytest.approx(sum(b.least for b in BOARD.batches))
    assert (worth.replicas, worth.loads, worth.free_nodes) == (0, 0, 10)


def test_evaluate_splits_replicas_between_modes_when_that_is_best() -> None:
    """Three replicas, 600 online: one alone serves it (and 400), two are offline only."""
    board = small_board(
        online=600.0,
        batches=(BatchDemand(deployment="d", tenant="t", offline_work=9000.0, weight=2.0),),
    )
    worth = evaluate(board, placed(board, 2, 1))
    assert all(short == pytest.approx(0.0, abs=1e-6) for short in worth.short.values())
    assert worth.offline == pytest.approx(2.0 * (400.0 + 2 * 1200.0) / 1000.0)


def test_evaluate_serves_by_weight_within_quota_and_deadlines_first() -> None:
    """1200 to give: the deadline's 300 first, then the dear batch to its tenant's quota."""
    board = small_board(
        nodes=1,
        batches=(
            BatchDemand(deployment="d", tenant="a", offline_work=5000.0, weight=4.0),
            BatchDemand(
                deployment="d",
                tenant="b",
                offline_work=400.0,
                min_offline_work=300.0,
                weight=1.0,
            ),
            BatchDemand(deployment="d", tenant="c", offline_work=5000.0, weight=0.5),
        ),
        tenants=(Tenant(id="a", max_offline_work=500.0),),
    )
    worth = evaluate(board, placed(board, 1))
    assert worth.short["deadlines"] == pytest.approx(0.0, abs=1e-6)
    assert worth.offline == pytest.approx((4.0 * 500 + 1.0 * 400 + 0.5 * 300) / 1000)


def test_evaluate_puts_online_before_deadlines_when_both_do_not_fit() -> None:
    """One replica: 900 online leave 300 unserved, and its deadline gets what 600 leaves."""
    board = small_board(
        nodes=1,
        online=900.0,
        batches=(
            BatchDemand(
                deployment="d", tenant="a", offline_work=1000.0, min_offline_work=1000.0, weight=9.0
            ),
        ),
    )
    worth = evaluate(board, placed(board, 1))
    assert worth.short["online_tight"] == pytest.approx(300.0 / 600.0, rel=1e-4)
    assert worth.short["deadlines"] == pytest.approx(600.0 / 1200.0, rel=1e-3)


@pytest.mark.parametrize(("rows", "short"), [((1, 1), 0.0), ((2, 0), 1.0), ((1, 0), 1.0)])
def test_evaluate_loses_the_worst_domain(rows: tuple[int, int], short: float) -> None:
    """What one domain holds alone is lost with it."""
    board = small_board(online=600.0, failover=1.0)
    worth = evaluate(board, placed(board, *rows))
    assert worth.short["failover_tight"] == pytest.approx(short)


def test_evaluate_counts_loads_against_what_ran() -> None:
    """A replica that was there is no load; one more on another node is."""
    board = small_board()
    worth = evaluate(board, placed(board, 1, 1), before=placed(board, 2, 0))
    assert (worth.loads, worth.moved_ratio) == (1, 0.5)


@given(
    counts=st.lists(st.integers(0, 4), min_size=7, max_size=7),
    tight=st.floats(0.0, 6.0),
    loose=st.floats(0.0, 6.0),
)
@settings(max_examples=60, deadline=None)
def test_surviving_short_is_the_lexicographic_optimum(
    counts: list[int], tight: float, loose: float
) -> None:
    """Beside linear programmes: least tight shortfall first, then least loose."""
    own = BOARD.of_deployment[1][:7]
    counts = counts[: len(own)]
    most = [[BOARD.choices[k].most_online[rank] for rank in (0, 1)] for k in own]
    n = len(own)

    def least(cap: float | None) -> float:
        # Columns: share of each group held tight, tight short, loose short.
        objective = [0.0] * n + ([1.0, 0.0] if cap is None else [0.0, 1.0])
        rows = [
            [-c * m[0] for c, m in zip(counts, most, strict=True)] + [-1.0, 0.0],
            [c * m[1] for c, m in zip(counts, most, strict=True)] + [0.0, -1.0],
        ]
        limits = [
            -tight,
            sum(c * m[1] for c, m in zip(counts, most, strict=True)) - loose,
        ]
        bounds = [(0.0, 1.0)] * n + [(0.0, cap), (0.0, None)]
        return float(linprog(objective, A_ub=rows, b_ub=limits, bounds=bounds).fun)

    first = least(None)
    second = least(first + 1e-9)
    found = surviving_short(BOARD, own, counts, wanted=(tight, loose))
    assert found[0] == pytest.approx(first, abs=1e-6)
    assert found[1] == pytest.approx(second, abs=1e-5)


@given(seed=st.integers(0, 10_000), tries=st.integers(0, 150))
@settings(max_examples=25, deadline=None)
def test_no_placement_passes_the_bound(seed: int, tries: int) -> None:
    """Beside the placement's own shortfalls, the relaxation has at least its offline work."""
    counts = random_placement(BOARD, seed, tries=tries)
    assert violations(BOARD, counts) == []
    worth = evaluate(BOARD, counts)
    bound = bound_of(BOARD, worth.short)
    assert worth.offline <= bound.offline + 1e-3
    least = relaxed(BOARD).short
    for tier in SHORTFALLS:
        if least[tier] > 1e-5:
            break
        assert worth.short[tier] >= least[tier] - 1e-5


@given(seed=st.integers(0, 10_000))
@settings(max_examples=5, deadline=None)
def test_integer_bound_lies_between_placement_and_relaxation(seed: int) -> None:
    """Integers tighten the bounds, and never below what a placement in whole modes has."""
    counts = random_placement(BOARD, seed, tries=150)
    rng = np.random.default_rng(seed)
    modes = np.zeros((len(BOARD.choices), CLASSES + 1), dtype=np.int64)
    for choice, total in enumerate(counts.sum(axis=0).tolist()):
        modes[choice] = rng.multinomial(total, [0.4, 0.3, 0.3])
    worth = evaluate(BOARD, counts, modes=modes)
    assert worth.objective >= evaluate(BOARD, counts).objective - 1e-3
    linear = bound_of(BOARD, worth.short).offline
    for bound in (integer_bound_of, domain_bound_of):
        whole = bound(BOARD, worth.short, seconds=2.0).offline
        assert worth.offline - 1e-3 <= whole <= linear + 1e-3


@given(seed=st.integers(0, 10_000), tries=st.integers(0, 60))
@settings(max_examples=25, deadline=None)
def test_one_more_replica_is_never_worth_less(seed: int, tries: int) -> None:
    """The first tier that changes gains; without one, offline work does not fall."""
    counts = random_placement(BOARD, seed, tries=tries)
    packing = Packing(BOARD, counts)
    rng = np.random.default_rng(seed)
    for choice in rng.permutation(len(BOARD.choices)).tolist():
        kind = packing.nodes_of(BOARD.choices[choice].kind).tolist()
        room = [
            n
            for n in kind
            if packing.free(n) >= BOARD.choices[choice].devices
            and packing.memory(n) >= BOARD.choices[choice].host_memory_bytes
        ]
        if room:
            packing.put(room[0], choice)
            break
    before, after = evaluate(BOARD, counts), evaluate(BOARD, packing.counts)
    for tier in SHORTFALLS:
        assert after.short[tier] <= before.short[tier] + 1e-4
        if after.short[tier] < before.short[tier] - 1e-4:
            return
    assert after.offline >= before.offline - 1e-3


def test_bound_keeps_to_moves_when_they_are_bounded() -> None:
    """Without moves the bound is what runs; with all, more."""
    snapshot = BOARD.snapshot
    counts = random_placement(BOARD, 5, tries=60)
    still = lay_out(replace(snapshot, max_moves=0))
    worth = evaluate(still, counts, before=counts)
    held = bound_of(still, worth.short, before=counts).offline
    free = bound_of(BOARD, worth.short, before=counts).offline
    assert worth.offline - 1e-3 <= held < free


def test_violations_names_what_is_overcommitted() -> None:
    """Devices, bounds on replicas and moves, and devices of another kind."""
    board = small_board(max_replicas=3)
    assert violations(board, placed(board, 2, 1)) == []
    assert "3 of 2 devices" in violations(board, placed(board, 3))[0]
    assert "4 replicas of 3" in violations(board, placed(board, 2, 2))[0]
    wrong = BOARD.empty()
    foreign = next(i for i, c in enumerate(BOARD.choices) if c.kind != BOARD.kind[0])
    wrong[0, foreign] = 1
    assert "has no devices" in violations(BOARD, wrong)[0]


def test_tier_weights_fall_in_the_order_of_tiers() -> None:
    """The scalar objective orders as the tiers do."""
    weights = [TIER_WEIGHTS[tier] for tier in SHORTFALLS]
    assert weights == sorted(weights, reverse=True)
