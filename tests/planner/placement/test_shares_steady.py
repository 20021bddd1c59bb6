"""Committed shares that stay: only while each replica bears what its share comes to."""

import pytest

from planner.model import Placement
from planner.placement.fleet import survey
from planner.placement.shares import with_shares
from planner.placement.verify import verify
from tests.planner.placement.fleets import deployment, fleet, node, running, solved


def _left(online_work: float):
    """Two replicas of three that were: what is left of the shares sums to 0.99."""
    return fleet(
        [node("n1")],
        [deployment("chat", min_replicas=2, max_replicas=2, online_work=online_work)],
        [
            running("a", "chat", "n1", 0, online_share=0.5, latency_budget_ms=100.0),
            running("b", "chat", "n1", 1, online_share=0.49, latency_budget_ms=100.0),
        ],
    )


def _shares(snapshot):
    of = survey(snapshot)
    kept = [
        Placement(replica=a.replica, deployment="chat", node="n1", devices=a.devices)
        for a in of.allocations.values()
    ]
    return {p.replica: p.online_share for p in with_shares(of, kept)}


def test_shares_are_made_anew_when_a_sibling_went_and_the_rest_would_bear_too_much():
    """A replica bears 700; half of 1400 is that, and 0.5 of 0.99 of 1400 is 707."""
    snapshot = _left(1400.0)
    assert _shares(snapshot) == pytest.approx({"a": 0.5, "b": 0.5})
    assert verify(snapshot, solved(snapshot)) == ()


def test_shares_stay_when_a_sibling_went_and_the_rest_have_room():
    """Noise in what is left commits nothing."""
    snapshot = _left(1300.0)
    assert _shares(snapshot) == {"a": 0.5, "b": 0.49}
    assert verify(snapshot, solved(snapshot)) == ()
