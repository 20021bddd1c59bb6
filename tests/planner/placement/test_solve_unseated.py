"""What the sums of a cell promise and no node has room for: the search goes on without it."""

import pytest

import planner.placement.cells as cells_module
from planner.model import Frontier, ReplicaFrontier, Segment, Stage
from planner.placement.solve import Limits, solve
from planner.placement.verify import verify
from tests.planner.placement.fleets import deployment, fleet, node, running


@pytest.fixture(autouse=True)
def _nodes_alike_share_a_cell(monkeypatch):
    """As in large fleets, whatever the shapes."""
    monkeypatch.setattr(cells_module, "OWN_CELL_UP_TO", 0)
    monkeypatch.setattr(cells_module, "ODD_OWN_CELL_UP_TO", 0)


def _frontier(size, offline):
    return ReplicaFrontier(
        deployment="wide",
        device_type="cpu",
        tensor_parallel_size=size,
        frontier=Frontier(
            max_online_work=600.0,
            segments=(Segment(alpha=1.0, beta=1.0, gamma=offline),),
            source="drawn",
        ),
    )


def _scattered():
    """Two nodes of four devices, on each a frozen replica: six are free, but nowhere four.

    Over four devices "wide" does more than over twice two.
    """
    nodes = [node(f"n{i}", devices=4, gib=8, failure_domain="d") for i in range(2)]
    small = deployment("small", min_replicas=2, is_frozen=True, failover_ratio=0.5)
    wide = deployment(
        "wide",
        min_replicas=0,
        tensor_parallel_size=4,
        other_tensor_parallel_sizes=(2,),
        stage=Stage.ACTIVE,
        offline_work=9_000.0,
    )
    held = [running("r0", "small", "n0", 0), running("r1", "small", "n1", 0)]
    return fleet(nodes, [small, wide], held, frontiers=(_frontier(4, 5000.0), _frontier(2, 1000.0)))


def _sizes(limits):
    snapshot = _scattered()
    plans = list(solve(snapshot, work_left=lambda: 1.0, limits=limits))
    assert all(verify(snapshot, plan) == () for plan in plans)
    return sorted(len(p.devices) for p in plans[-1].placements if p.deployment == "wide")


def test_search_goes_on_with_what_fits_when_a_large_replica_finds_no_seat():
    """Two devices on each node are used, which one search alone leaves free."""
    assert _sizes(Limits(searches=1)) == [2]
    assert _sizes(Limits()) == [2, 2]
