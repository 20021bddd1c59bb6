"""Which replica a request goes to."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from planner.model import ReplicaState
from planner.routing.choose import (
    QUEUE_DEPTH,
    RETRY_AFTER_S,
    RefusalKind,
    RouteRefusal,
    choose,
)
from planner.routing.table import Route, RouteTable
from planner.routing.traffic import REPORT_LIFETIME_S, Traffic


def _route(
    replica: str,
    *,
    share: float = 1.0,
    state: ReplicaState = ReplicaState.RUNNING,
    max_running: int = 0,
) -> Route:
    return Route(
        replica=replica,
        deployment="chat",
        node=f"n-{replica}",
        address=f"{replica}:1",
        online_share=share,
        state=state,
        max_running_requests=max_running,
    )


def _table(*routes: Route) -> RouteTable:
    return RouteTable(revision=1, epoch=1, routes=routes, deployments=("chat",))


def _chosen(table: RouteTable, traffic: Traffic, **given: object) -> str:
    choice = choose(table, traffic, deployment="chat", now_s=0.0, **given)  # type: ignore[arg-type]
    assert isinstance(choice, Route), choice
    return choice.replica


def _refused(table: RouteTable, traffic: Traffic, **given: object) -> RouteRefusal:
    asked = {"deployment": "chat", "now_s": 0.0} | given
    choice = choose(table, traffic, **asked)  # type: ignore[arg-type]
    assert isinstance(choice, RouteRefusal), choice
    return choice


def _send(table: RouteTable, traffic: Traffic) -> str:
    replica = _chosen(table, traffic)
    traffic.start(replica, peers=[route.replica for route in table.routes])
    return replica


@given(
    shares=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    requests=st.integers(50, 200),
)
def test_choice_follows_shares_when_all_requests_stay_in_flight(
    shares: list[int], requests: int
) -> None:
    """In-flight requests divide as the shares do, to within a request or two each."""
    table = _table(*(_route(f"r{i}", share=share) for i, share in enumerate(shares)))
    traffic = Traffic()
    sent = Counter(_send(table, traffic) for _ in range(requests))
    for i, share in enumerate(shares):
        assert abs(sent[f"r{i}"] - requests * share / sum(shares)) <= 3


@given(shares=st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_choice_follows_shares_when_requests_come_one_at_a_time(shares: list[int]) -> None:
    """An idle fleet, where no replica has any load, is shared by the weights too."""
    table = _table(*(_route(f"r{i}", share=share) for i, share in enumerate(shares)))
    traffic = Traffic()
    sent: Counter[str] = Counter()
    for _ in range(20 * sum(shares)):
        replica = _send(table, traffic)
        traffic.finish(replica)
        sent[replica] += 1
    for i, share in enumerate(shares):
        assert abs(sent[f"r{i}"] - 20 * share) <= 4


def test_choice_goes_by_id_when_all_else_is_equal() -> None:
    """Equal input, equal choice, whatever the table's order."""
    routes = [_route("b"), _route("a"), _route("c")]
    assert _chosen(_table(*routes), Traffic()) == "a"
    assert _chosen(_table(*reversed(routes)), Traffic()) == "a"


def test_choice_counts_requests_of_other_gateways_when_agents_report_them() -> None:
    """Load that others brought moves new requests away, until the report is stale."""
    table = _table(_route("a"), _route("b"))
    traffic = Traffic()
    traffic.report("a", online_requests=5, now_s=0.0)
    assert _chosen(table, traffic) == "b"
    late = choose(table, traffic, deployment="chat", now_s=REPORT_LIFETIME_S + 1)
    assert isinstance(late, Route)
    assert late.replica == "a"


def test_choice_skips_replicas_when_they_are_not_running() -> None:
    """DRAINING, LOST and every other state take nothing new."""
    others = [
        _route(f"a-{state.value}", state=state)
        for state in ReplicaState
        if state is not ReplicaState.RUNNING
    ]
    assert _chosen(_table(*others, _route("z")), Traffic()) == "z"


def test_choice_avoids_replicas_without_share_when_others_have_one() -> None:
    """A replica kept for offline work serves online only when no other can."""
    table = _table(_route("a", share=0.0), _route("b", share=0.5))
    traffic = Traffic()
    for _ in range(20):
        traffic.start("b", peers=["a", "b"])
    assert _chosen(table, traffic) == "b"
    assert _chosen(table, traffic, excluded={"b"}) == "a"


def test_choice_weighs_all_alike_when_no_replica_has_a_share() -> None:
    """A plan that foresaw no online load does not turn requests away."""
    table = _table(_route("a", share=0.0), _route("b", share=0.0))
    traffic = Traffic()
    assert Counter(_send(table, traffic) for _ in range(10)) == {"a": 5, "b": 5}


def test_choice_takes_a_suspect_agent_last_when_another_is_there() -> None:
    """An agent that was unreachable a moment ago is the last resort, not forbidden."""
    table = _table(_route("a"), _route("b", share=0.0))
    assert _chosen(table, Traffic(), suspect={"a:1"}) == "b"
    assert _chosen(_table(_route("a")), Traffic(), suspect={"a:1"}) == "a"


def test_refusal_is_unknown_deployment_when_the_table_has_none_of_that_name() -> None:
    """NOT_FOUND material: names what exists."""
    refusal = _refused(_table(_route("a")), Traffic(), deployment="nope")
    assert refusal.kind is RefusalKind.UNKNOWN_DEPLOYMENT
    assert "chat" in refusal.message


def test_refusal_is_none_running_when_replicas_only_start_or_drain() -> None:
    """UNAVAILABLE material: says how the replicas stand."""
    refusal = _refused(_table(_route("a", state=ReplicaState.STARTING)), Traffic())
    assert refusal.kind is RefusalKind.NONE_RUNNING
    assert "a starting" in refusal.message
    assert refusal.retry_after_s == RETRY_AFTER_S


def test_refusal_is_all_failed_when_every_replica_is_excluded() -> None:
    """A retry never goes back to a replica that failed the request."""
    table = _table(_route("a"), _route("b"))
    assert _chosen(table, Traffic(), excluded={"a"}) == "b"
    assert _refused(table, Traffic(), excluded={"a", "b"}).kind is RefusalKind.ALL_FAILED


def test_refusal_is_contended_when_every_replica_is_full() -> None:
    """Sheds with a time to come again once each holds its batch and a queue as deep."""
    table = _table(_route("a", max_running=2), _route("b", max_running=2))
    traffic = Traffic()
    for _ in range(2 * QUEUE_DEPTH * 2):
        _send(table, traffic)
    refusal = _refused(table, traffic)
    assert refusal.kind is RefusalKind.CONTENDED
    assert refusal.retry_after_s == RETRY_AFTER_S
    traffic.finish("b")
    assert _chosen(table, traffic) == "b"
