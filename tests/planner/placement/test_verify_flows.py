"""Flows of the verifier against brute force: transports, classes served, domains lost."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from planner.model import (
    OFFLINE_ONLY,
    Frontier,
    Misfit,
    Placement,
    Plan,
    PlanStatus,
    ReplicaFrontier,
    ReplicaState,
    Segment,
    Slo,
    SloClass,
)
from planner.placement.verification.facts import facts_of
from planner.placement.verification.serving import servings
from planner.placement.verification.transport import fed
from planner.placement.verify import verify
from tests.planner.placement.fleets import deployment, fleet, node, running

_SERVES_NOT = (ReplicaState.FAILED, ReplicaState.DRAINING, ReplicaState.STOPPED)
_QUICK = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
_AMOUNTS = st.sampled_from([0.0, 1.0, 2.0, 3.5, 10.0, 0.1])
_CLASSES = ("tight", "middle", "loose")
_BEARS = {
    "a": {"tight": 300.0, "middle": 400.0, "loose": 600.0, "": 300.0},
    "b": {"tight": 100.0, "middle": 500.0, "loose": 550.0, "": 100.0},
}


@st.composite
def _transports(draw):
    sources = [f"s{i}" for i in range(draw(st.integers(0, 5)))]
    sinks = [f"d{i}" for i in range(draw(st.integers(0, 4)))]
    pairs = [pair for pair in itertools.product(sources, sinks) if draw(st.booleans())]
    return (
        {s: draw(st.one_of(_AMOUNTS, st.just(float("inf")))) for s in sources},
        {pair: draw(_AMOUNTS) for pair in pairs},
        {d: draw(_AMOUNTS) for d in sinks},
    )


@_QUICK
@given(_transports())
def test_fed_is_the_least_cut_when_all_cuts_are_tried(drawn):
    """Ford and Fulkerson 1956: the maximum flow is the least cut; here all cuts are tried."""
    supplies, edges, needs = drawn
    received = fed(supplies, edges, needs)

    cuts = []
    for size in range(len(supplies) + 1):
        for cut in itertools.combinations(supplies, size):
            open_edges = {
                sink: sum(most for (s, d), most in edges.items() if d == sink and s not in cut)
                for sink in needs
            }
            cuts.append(
                sum(supplies[s] for s in cut)
                + sum(min(need, open_edges[sink]) for sink, need in needs.items())
            )
    assert sum(received.values()) == pytest.approx(min(cuts), abs=1e-6)
    assert all(0.0 <= got <= needs[sink] + 1e-9 for sink, got in received.items())


def _frontier(online):
    return Frontier(
        max_online_work=online,
        segments=(Segment(alpha=1.0, beta=1.0, gamma=1000.0),),
        source="drawn",
    )


@st.composite
def _fleets(draw, asked=_CLASSES):
    """Replicas of three classes over three domains; demand may exceed what they bear."""
    seats = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["ax", "ay", "az", "bx", "by", "bz"]),
                st.sampled_from([*_CLASSES, "", OFFLINE_ONLY]),
                st.sampled_from([None, *ReplicaState]),
            ),
            min_size=1,
            max_size=7,
        )
    )
    classes = tuple(
        SloClass(
            id=name,
            slo=Slo(ttft_ms=1000.0, itl_ms=50.0),
            online_work=draw(st.sampled_from([0.0, 100.0, 300.0, 900.0])) if name in asked else 0.0,
            failover_ratio=draw(st.sampled_from([0.0, 0.5, 1.0])),
        )
        for name in _CLASSES
    )
    nodes = [
        node(f"{where}{i}", kind=where[0], failure_domain=where[1])
        for i, (where, _, _) in enumerate(seats)
    ]
    held = [
        running(f"r{i}", "chat", f"{where}{i}", 0, state=state)
        for i, (where, _, state) in enumerate(seats)
        if state is not None
    ]
    snapshot = fleet(
        nodes,
        [deployment("chat", max_replicas=9, slo_classes=classes)],
        held,
        frontiers=tuple(
            ReplicaFrontier(
                deployment="chat", device_type=kind, slo_class=name, frontier=_frontier(online)
            )
            for kind, bears in _BEARS.items()
            for name, online in bears.items()
        ),
    )
    placements = [
        Placement(
            replica=None if state is None else f"r{i}",
            deployment="chat",
            node=f"{where}{i}",
            devices=(0,),
            slo_class=of,
            latency_budget_ms=10.0,
        )
        for i, (where, of, state) in enumerate(seats)
    ]
    return snapshot, placements


def _plan(placements, *misfits):
    return Plan(
        base_revision=1,
        status=PlanStatus.FEASIBLE,
        solver="drawn",
        objective=0.0,
        bound=0.0,
        terms=(),
        placements=tuple(placements),
        moves=(),
        misfits=misfits,
    )


def _may_serve(placement, name):
    """Its own class and looser ones."""
    if placement.slo_class == OFFLINE_ONLY:
        return False
    own = placement.slo_class or "tight"
    return _CLASSES.index(own) <= _CLASSES.index(name)


def _room(placements, names):
    """What replicas that may serve any of the classes bear together."""
    return sum(
        _BEARS[p.node[0]][p.slo_class]
        for p in placements
        if any(_may_serve(p, name) for name in names)
    )


def _subsets(names):
    for size in range(1, len(names) + 1):
        yield from itertools.combinations(names, size)


@_QUICK
@given(_fleets())
def test_served_is_the_most_that_replicas_bear_when_all_cuts_are_tried(drawn):
    """Serving the tightest class first loses nothing, and no class gets more than it wants."""
    snapshot, placements = drawn
    (serving,) = servings(facts_of(snapshot), placements)
    wanted = {one.id: one.online_work for one in snapshot.deployments[0].slo_classes}

    cuts = [sum(wanted.values())]
    for chosen in _subsets(_CLASSES):
        rest = sum(work for name, work in wanted.items() if name not in chosen)
        cuts.append(rest + _room(placements, chosen))
    assert serving.whole == pytest.approx(min(cuts))
    for name, work in zip(_CLASSES, serving.served, strict=True):
        assert 0.0 <= work <= wanted[name]


def _can_lose(snapshot, placements, domain):
    """Whether what is left, divided among the classes anew, serves what is to survive.

    A linear programme over the time each replica is held to each class: offline-only ones
    may serve then too.
    """
    (serving,) = servings(facts_of(snapshot), placements)
    classes = snapshot.deployments[0].slo_classes
    needs = [one.failover_ratio * work for one, work in zip(classes, serving.served, strict=True)]
    states = {a.replica: a.state for a in snapshot.allocations}
    left = [
        p for p in placements if states.get(p.replica) not in _SERVES_NOT and p.node[1] != domain
    ]
    if not left:
        return sum(needs) < 1e-3
    rates = [[_BEARS[p.node[0]][name] for name in _CLASSES] for p in left]
    count = len(left) * len(_CLASSES)
    times = [[float(i // len(_CLASSES) == r) for i in range(count)] for r in range(len(left))]
    serves = [
        [-rates[i // len(_CLASSES)][k] * (i % len(_CLASSES) == k) for i in range(count)]
        for k in range(len(_CLASSES))
    ]
    found = linprog(
        [0.0] * count,
        A_ub=times + serves,
        b_ub=[1.0] * len(left) + [-need + 1e-3 for need in needs],
    )
    return found.status == 0


def _told(of):
    return Misfit(
        deployment=of,
        node=None,
        dimension="failover",
        needed=1.0,
        available=0.0,
        message="short; add a domain",
    )


@_QUICK
@given(_fleets())
def test_failover_passes_only_what_survives_any_domain_or_says_it_does_not(drawn):
    """With any number of classes silence is never wrong, against a linear programme."""
    snapshot, placements = drawn
    is_refused = "failover" in _rules(snapshot, _plan(placements))

    assert is_refused or all(_can_lose(snapshot, placements, domain) for domain in "xyz")
    assert "failover" not in _rules(snapshot, _plan(placements, _told("chat")))
    assert is_refused == ("failover" in _rules(snapshot, _plan(placements, _told("code"))))


@_QUICK
@given(_fleets(asked=("tight", "loose")))
def test_failover_is_refused_exactly_when_a_domain_cannot_be_lost_and_classes_are_two(drawn):
    """With two classes the verifier's division is the best there is."""
    snapshot, placements = drawn
    survives = all(_can_lose(snapshot, placements, domain) for domain in "xyz")

    assert survives == ("failover" not in _rules(snapshot, _plan(placements)))


@_QUICK
@given(_fleets())
def test_lost_nodes_bear_nothing_when_a_domain_is_lost(drawn):
    """All nodes lost: any class that asks for failover and is served falls short."""
    snapshot, placements = drawn
    kept = [p for p in placements if p.replica is not None]
    down = replace(snapshot, nodes=tuple(replace(n, is_ready=False) for n in snapshot.nodes))
    asked = any(
        one.failover_ratio * work > 0.0
        for serving in servings(facts_of(down), kept)
        for one, work in zip(serving.deployment.slo_classes, serving.served, strict=True)
    )

    assert asked == ("failover" in _rules(down, _plan(kept)))


def _rules(snapshot, plan):
    return {violation.rule for violation in verify(snapshot, plan)}
