"""What a replica bears: measured where it was, the stated default elsewhere."""

import itertools

import pytest

from planner.interference.frontier import (
    DEFAULT_FRONTIER,
    frontier_for,
    offline_limit,
    online_limit,
)
from planner.model import Frontier, ReplicaFrontier, Segment, Snapshot

MEASURED = Frontier(
    max_online_work=400.0, segments=(Segment(alpha=1.0, beta=2.0, gamma=800.0),), source="profile-7"
)


def _snapshot() -> Snapshot:
    return Snapshot(
        revision=1,
        nodes=(),
        deployments=(),
        allocations=(),
        frontiers=(ReplicaFrontier(deployment="chat", device_type="h100", frontier=MEASURED),),
    )


def test_frontier_is_the_measured_one_when_a_profile_exists():
    """Measured for that deployment on that type, and for no other."""
    assert frontier_for(_snapshot(), "chat", "h100") is MEASURED
    assert frontier_for(_snapshot(), "chat", "cpu").source == "default"
    assert frontier_for(_snapshot(), "code", "h100").source == "default"


def test_default_frontier_leaves_room_when_online_load_is_full():
    """The claimed default promises less than an engine's 1000 ms a second at any load."""
    limit = online_limit(DEFAULT_FRONTIER)
    for x in range(0, int(limit) + 1, 50):
        assert x + offline_limit(DEFAULT_FRONTIER, x) <= 900.0


def test_offline_limit_falls_and_is_concave_when_online_load_grows():
    """Chords of a concave curve: the loss per unit of online load never shrinks."""
    points = [offline_limit(DEFAULT_FRONTIER, x) for x in (0.0, 200.0, 400.0, 600.0)]
    drops = [a - b for a, b in itertools.pairwise(points)]

    assert drops == sorted(drops)
    assert drops[0] >= 0.0


@pytest.mark.parametrize(("x", "y"), [(0.0, 400.0), (400.0, 200.0), (900.0, 0.0)])
def test_offline_limit_reads_the_curve(x, y):
    """(gamma - alpha x) / beta, never below zero."""
    assert offline_limit(MEASURED, x) == y
