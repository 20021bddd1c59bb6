"""Which replicas an SLO class is served by, and how requests of several divide."""

from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from planner.model import OFFLINE_ONLY, ReplicaState
from planner.routing.choose import QUEUE_DEPTH, RefusalKind, RouteRefusal, choose
from planner.routing.table import Route, RouteTable
from planner.routing.traffic import Traffic

CLASSES = ("interactive", "standard", "relaxed")
MODES = (*CLASSES, "", OFFLINE_ONLY, "of-an-older-spec")


def _route(
    replica: str,
    slo_class: str = "",
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
        online_share=0.0 if slo_class == OFFLINE_ONLY else share,
        state=state,
        max_running_requests=max_running,
        slo_class=slo_class,
    )


def _table(*routes: Route, classes: tuple[str, ...] = CLASSES) -> RouteTable:
    return RouteTable(
        revision=1,
        epoch=1,
        routes=routes,
        deployments=("chat",),
        slo_classes=(("chat", classes),) if classes else (),
    )


def _ask(
    table: RouteTable, slo_class: str = "", traffic: Traffic | None = None, **more: object
) -> Route | RouteRefusal:
    return choose(
        table,
        traffic or Traffic(),
        deployment="chat",
        slo_class=slo_class,
        now_s=0.0,
        **more,  # type: ignore[arg-type]
    )


def _chosen(table: RouteTable, slo_class: str = "", **more: object) -> str:
    choice = _ask(table, slo_class, **more)  # type: ignore[arg-type]
    assert isinstance(choice, Route), choice
    return choice.replica


def _refused(table: RouteTable, slo_class: str = "", **more: object) -> RouteRefusal:
    choice = _ask(table, slo_class, **more)  # type: ignore[arg-type]
    assert isinstance(choice, RouteRefusal), choice
    return choice


def _level(mode: str) -> int:
    """Index of the tightest class a replica of that mode serves; beyond all: none."""
    if mode == OFFLINE_ONLY:
        return len(CLASSES)
    return CLASSES.index(mode) if mode in CLASSES else 0


@given(
    modes=st.lists(st.tuples(st.sampled_from(MODES), st.booleans()), min_size=1, max_size=8),
    slo_class=st.sampled_from(("", *CLASSES)),
)
def test_no_promise_is_broken_while_a_replica_that_keeps_it_runs(
    modes: list[tuple[str, bool]], slo_class: str
) -> None:
    """A request goes to a replica of its class or a tighter one whenever any runs; if none
    does, to one of the tightest that do; offline-only replicas are the last.
    """
    table = _table(
        *(
            _route(f"r{i}", mode, state=ReplicaState.RUNNING if runs else ReplicaState.DRAINING)
            for i, (mode, runs) in enumerate(modes)
        )
    )
    running = [mode for mode, runs in modes if runs]
    assume(running)
    replica = _chosen(table, slo_class)
    wanted = CLASSES.index(slo_class or CLASSES[0])
    got = _level(modes[int(replica[1:])][0])
    levels = [_level(mode) for mode in running]
    assert got <= wanted if min(levels) <= wanted else got == min(levels)


def test_request_without_a_class_is_of_the_tightest() -> None:
    """Naming none promises the most: only replicas of the first class take it."""
    table = _table(_route("a", "relaxed", share=9.0), _route("b", "interactive"))
    assert _chosen(table) == "b"
    assert _chosen(table, "relaxed") == "a"


@pytest.mark.parametrize(
    ("classes", "words"),
    [((), ("has no classes", "leave slo_class empty")), (CLASSES, (*CLASSES, "name one of these"))],
)
def test_unknown_class_is_refused_with_what_there_is(
    classes: tuple[str, ...], words: tuple[str, ...]
) -> None:
    """The refusal names deployment, class and remedy, whether or not there are classes."""
    refusal = _refused(_table(_route("a"), classes=classes), "gold")
    assert refusal.kind is RefusalKind.UNKNOWN_CLASS
    for word in ("deployment chat", "'gold'", *words):
        assert word in refusal.message


def test_stand_in_is_taken_only_when_none_that_serves_is_left() -> None:
    """It lets go as soon as one that serves the class runs again, and after a failure too."""
    loose, tight = _route("a", "relaxed"), _route("b", "interactive")
    assert _chosen(_table(loose), "interactive") == "a"
    assert _chosen(_table(loose, tight), "interactive") == "b"
    assert _chosen(_table(loose, tight), "interactive", excluded=("b",)) == "a"
    assert _chosen(_table(loose, tight), "interactive", suspect=("b:1",)) == "a"
    only = _table(_route("a", OFFLINE_ONLY), classes=())
    assert _chosen(only) == "a"


def _loaded(**requests: int) -> Traffic:
    traffic = Traffic()
    for replica, count in requests.items():
        for _ in range(count):
            traffic.start(replica, peers=tuple(requests))
    return traffic


def test_class_that_is_full_spills_over_to_no_looser_one() -> None:
    """Overload of a class is shed, not made another's."""
    table = _table(_route("a", "relaxed", max_running=4), _route("b", "interactive", max_running=4))
    full = _loaded(a=0, b=4 * QUEUE_DEPTH)
    refusal = _refused(table, "interactive", traffic=full)
    assert refusal.kind is RefusalKind.CONTENDED
    assert "1 replicas that serve SLO class interactive" in refusal.message
    assert _chosen(table, "relaxed", traffic=full) == "a"


def test_full_class_takes_room_of_offline_work_alone() -> None:
    """An offline-only replica takes what it can run at once, and nothing while there is room
    where the class is served; with classes and without.
    """
    for classes, own in ((CLASSES, "interactive"), ((), "")):
        table = _table(
            _route("a", OFFLINE_ONLY, max_running=4),
            _route("b", own, max_running=4),
            _route("c", "relaxed", max_running=4) if classes else _route("c", max_running=4),
            classes=classes,
        )
        most = 4 * QUEUE_DEPTH
        others = 0 if classes else most  # without classes c serves everything
        assert _chosen(table, traffic=_loaded(a=0, b=most - 1, c=most)) == "b"
        assert _chosen(table, traffic=_loaded(a=3, b=most, c=others)) == "a"
        refusal = _refused(table, traffic=_loaded(a=4, b=most, c=others))
        assert refusal.kind is RefusalKind.CONTENDED


def test_stand_in_queues_nothing_when_it_runs_all_it_can() -> None:
    """Requests of the class it is held to may still queue there, others may not."""
    table = _table(_route("a", "relaxed", max_running=4))
    assert _chosen(table, "interactive", traffic=_loaded(a=3)) == "a"
    refusal = _refused(table, "interactive", traffic=_loaded(a=4))
    assert refusal.kind is RefusalKind.CONTENDED and "stand in" in refusal.message
    assert refusal.retry_after_s is not None
    assert _chosen(table, "relaxed", traffic=_loaded(a=4)) == "a"


@given(
    tight=st.integers(1, 9),
    shares=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    is_concurrent=st.booleans(),
    seed=st.randoms(use_true_random=False),
)
def test_shares_hold_for_all_classes_together(
    tight: int, shares: tuple[int, int], is_concurrent: bool, seed: object
) -> None:
    """Two replicas, of the first and of the last class: whatever part of the requests is of
    the first class, both together divide by the shares, as far as the tight ones allow.
    """
    table = _table(
        _route("a", "interactive", share=shares[0]), _route("b", "relaxed", share=shares[1])
    )
    traffic, sent = Traffic(), Counter[str]()
    total = 200
    asked = ["interactive"] * (tight * total // 10)
    asked += ["relaxed"] * (total - len(asked))
    seed.shuffle(asked)  # type: ignore[attr-defined]
    for slo_class in asked:
        replica = _chosen(table, slo_class, traffic=traffic)
        traffic.start(replica, peers=("a", "b"))
        if not is_concurrent:
            traffic.finish(replica)
        sent[replica] += 1
    planned = total * shares[0] / sum(shares)
    least = asked.count("interactive")
    assert sent["a"] >= least
    assert abs(sent["a"] - max(planned, least)) <= 0.1 * total
