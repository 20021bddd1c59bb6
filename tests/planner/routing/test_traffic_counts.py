"""What a gateway knows of each replica's load, and which table counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.routing.table import RouteTable
from planner.routing.traffic import Traffic


def test_report_does_not_count_requests_twice_when_they_are_the_gateways_own() -> None:
    """What an agent reports includes this gateway's own; only the rest is added."""
    traffic = Traffic()
    for _ in range(3):
        traffic.start("a", peers=["a"])
    traffic.report("a", online_requests=5, now_s=0.0)
    assert traffic.pressure("a", now_s=0.0) == 5
    traffic.finish("a")
    assert traffic.pressure("a", now_s=0.0) == 4


@given(
    events=st.lists(
        st.one_of(st.just("start"), st.just("finish"), st.integers(0, 50)), max_size=400
    )
)
def test_counts_stay_non_negative_when_events_come_in_any_order(
    events: list[str | int],
) -> None:
    """Ends without starts and stale reports never make a replica look less than idle."""
    traffic = Traffic()
    for event in events:
        match event:
            case "start":
                traffic.start("a", peers=["a"])
            case "finish":
                traffic.finish("a")
            case int():
                traffic.report("a", online_requests=event, now_s=0.0)
        assert traffic.in_flight("a") >= 0
        assert traffic.pressure("a", now_s=0.0) >= traffic.in_flight("a")
        assert traffic.sent("a") <= 257


def test_replicas_are_forgotten_when_they_left_the_table_and_hold_nothing() -> None:
    """Counts of a replica that still holds requests are kept until it is done."""
    traffic = Traffic()
    traffic.start("held", peers=["held"])
    traffic.report("gone", online_requests=4, now_s=0.0)
    traffic.forget_except(["new"])
    assert traffic.pressure("gone", now_s=0.0) == 0
    assert traffic.in_flight("held") == 1


@pytest.mark.parametrize(
    ("epoch", "revision", "is_taken"),
    [(2, 10, True), (2, 11, True), (3, 1, True), (2, 9, False), (1, 99, False)],
)
def test_table_supersedes_when_neither_epoch_nor_revision_falls(
    epoch: int, revision: int, is_taken: bool
) -> None:
    """A replaced leader's table is refused, and a lagging control plane's."""
    in_force = RouteTable(epoch=2, revision=10)
    assert RouteTable(epoch=epoch, revision=revision).supersedes(in_force) is is_taken
