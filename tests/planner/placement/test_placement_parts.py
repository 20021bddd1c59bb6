"""The parts of a solve on their own: flow, seats, verifier, misfits, shares."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ortools.math_opt.python import mathopt

from planner.interference.frontier import DEFAULT_FRONTIER
from planner.model import (
    Desired,
    Frontier,
    Placement,
    PlanStatus,
    ReplicaFrontier,
    ReplicaState,
    Segment,
    Slo,
    Stage,
)
from planner.placement.explain import misfits
from planner.placement.fleet import survey
from planner.placement.flow import carry
from planner.placement.greedy import greedy
from planner.placement.seats import choose_devices, seats
from planner.placement.shares import latency_budget_ms
from planner.placement.verify import verify
from tests.planner.placement.fleets import (
    GIB,
    deployment,
    fleet,
    node,
    running,
    solved,
)

CHAT = deployment("chat", min_replicas=2, spread=True, online_work=300.0)
STEEP = Frontier(
    max_online_work=900.0,
    segments=(
        Segment(alpha=0.5, beta=1.0, gamma=800.0),
        Segment(alpha=2.0, beta=1.0, gamma=1400.0),
    ),
    source="profile-1",
)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 5),
    st.integers(0, 5),
    st.floats(0.0, 6000.0),
    st.floats(0.0, 9000.0),
)
def test_carry_equals_the_linear_programme_when_online_goes_first(a, b, online, offline):
    """Placement facts 1.3: the aggregated flow is exact; checked against an LP in two passes."""
    frontiers = {"a": DEFAULT_FRONTIER, "b": STEEP}
    counts = {"a": float(a), "b": float(b)}
    flow = carry(counts, frontiers, online_work=online, offline_work=offline)

    most_online = min(online, _best(counts, frontiers, lambda xs, _: sum(xs)))
    most_offline = min(
        offline, _best(counts, frontiers, lambda _, ys: sum(ys), online_at_least=most_online - 1e-4)
    )
    assert flow.online_work == pytest.approx(most_online, abs=1e-3)
    assert flow.offline_work == pytest.approx(most_offline, abs=1e-2)


def _best(counts, frontiers, goal, *, online_at_least=0.0):
    model = mathopt.Model(name="flow")
    xs, ys = [], []
    for kind, count in counts.items():
        x, y = model.add_variable(lb=0.0), model.add_variable(lb=0.0)
        model.add_linear_constraint(x <= frontiers[kind].max_online_work * count)
        for s in frontiers[kind].segments:
            model.add_linear_constraint(s.alpha * x + s.beta * y <= s.gamma * count)
        xs.append(x)
        ys.append(y)
    model.add_linear_constraint(sum(xs) >= max(0.0, online_at_least))
    model.maximize(goal(xs, ys))
    return mathopt.solve(model, mathopt.SolverType.GSCIP).objective_value()


@pytest.mark.parametrize(
    ("free", "count", "chosen"),
    [
        ({0, 1, 2, 3}, 2, (0, 1)),
        ({1, 2, 3}, 2, (2, 3)),
        ({1, 2, 5}, 2, (1, 2)),
        ({1, 3, 6}, 2, (1, 3)),
        ({4}, 2, None),
    ],
)
def test_choose_devices_prefers_aligned_then_contiguous_runs(free, count, chosen):
    """TP groups sit on neighbouring devices where they can."""
    assert choose_devices(frozenset(free), count) == chosen


def test_seats_prefer_another_domain_then_the_fullest_node():
    """Spread first, then best fit, so whole nodes stay free."""
    nodes = [node("n1", devices=4), node("n2", devices=2), node("n3", devices=4)]
    of = survey(fleet(nodes, [CHAT]))

    (apart,) = seats(of, CHAT, free=of.free, beside=Counter({"n2": 1}))
    (packed,) = seats(of, replace(CHAT, spread=False), free=of.free, beside=Counter())

    assert (apart.node, packed.node) == ("n1", "n2")


def _plan(snapshot, *placements):
    return replace(solved(fleet(snapshot.nodes, [])), placements=placements, moves=(), waiting=())


def _new(of="chat", where="n1", devices=(0,)):
    return Placement(
        replica=None,
        deployment=of,
        node=where,
        devices=devices,
        online_share=1.0,
        latency_budget_ms=10.0,
    )


@pytest.mark.parametrize(
    ("placement", "rule"),
    [
        (_new(where="n9"), "node"),
        (_new(of="ghost"), "deployment"),
        (_new(where="closed"), "cordon"),
        (_new(devices=(7,)), "devices"),
        (_new(devices=(0, 1)), "tensor_parallel"),
        (_new(where="small"), "memory"),
        (_new(where="other"), "device_type"),
        (replace(_new(), replica="ghost"), "exists"),
        (replace(_new(where="n2"), replica="r1"), "stays"),
        (replace(_new(), replica="gone"), "exists"),
        (_new(devices=(1,)), "exclusive"),
    ],
)
def test_verify_names_the_rule_when_a_placement_breaks_it(placement, rule):
    """Each rule of a placement is checked from the domain's values alone."""
    going = running("gone", "chat", "n1", 1, desired=Desired.STOPPED, state=ReplicaState.DRAINING)
    snapshot = fleet(
        [
            node("n1"),
            node("n2"),
            node("closed", is_cordoned=True),
            node("small", gib=1),
            node("other", kind="tpu"),
        ],
        [replace(CHAT, device_types=("cpu",))],
        [running("r1", "chat", "n1", 0), going],
    )

    assert rule in {v.rule for v in verify(snapshot, _plan(snapshot, placement))}


def test_verify_refuses_a_plan_when_loads_bounds_or_moves_do_not_add_up():
    """Frontier, shares, max_replicas, max_moves and the moves themselves are checked."""
    snapshot = fleet([node("n1"), node("n2")], [replace(CHAT, max_replicas=1)], max_moves=1)
    heavy = replace(_new(), offline_share=5_000.0)
    plan = _plan(snapshot, heavy, _new(where="n2"))

    rules = {v.rule for v in verify(snapshot, plan)}
    assert rules >= {"frontier", "shares", "max_replicas", "max_moves", "moves"}


@pytest.mark.parametrize(
    ("fields", "dimension", "needed", "available"),
    [
        ({"device_types": ("h100",)}, "device_type", 1.0, 0.0),
        ({"tensor_parallel_size": 4}, "tensor_parallel", 4.0, 2.0),
        ({"weights_bytes": 19 * GIB}, "memory", 20.0 * GIB, 4.0 * GIB),
    ],
)
def test_misfits_name_the_dimension_when_a_spec_fits_nowhere(fields, dimension, needed, available):
    """A spec can be asked about before it is applied; the answer has figures and a remedy."""
    wish = deployment("wish", **fields)
    found = misfits(fleet([node("n1"), node("n2")], []), wish)

    assert [(m.node, m.dimension) for m in found] == [("n1", dimension), ("n2", dimension)]
    assert (found[0].needed, found[0].available) == (needed, available)
    assert ";" in found[0].message


@pytest.mark.parametrize(("weights_gib", "helps"), [(3, True), (4, False), (19, False)])
def test_misfit_asks_for_less_kv_cache_only_when_the_weights_fit(weights_gib, helps):
    """Devices of 4 GiB: weights that fill them leave none for KV."""
    wish = deployment("wish", weights_bytes=weights_gib * GIB, kv_cache_bytes=2 * GIB)
    (misfit,) = misfits(fleet([node("n1")], []), wish)

    assert ("lower kv_cache_tokens" in misfit.message) is helps
    assert "raise tensor_parallel_size or add larger devices" in misfit.message


def test_misfits_name_the_nearest_node_first_when_they_differ():
    """A cordoned node that fits is nearer than one without memory."""
    nodes = [node("a", gib=1), node("b", is_cordoned=True)]

    assert [m.dimension for m in misfits(fleet(nodes, []), deployment("x"))] == [
        "cordoned",
        "memory",
    ]


@pytest.mark.parametrize("closed", [{"is_frozen": True}, {"is_cordoned": True}])
def test_misfits_name_a_closed_node_first_when_it_alone_has_a_seat(closed):
    """One command opens it; anti-affinity takes a new spec. Not where it is full, or shut twice."""
    wish = deployment("wish", anti_affinity=("chat",))
    held = [running("r1", "chat", "n1", 0)]
    full = [running(f"x{i}", "other", "n2", i) for i in range(2)]
    nodes = [node("n1"), node("n2", **closed)]
    twice = [node("n1"), node("n2", is_frozen=True, is_cordoned=True)]
    owners = [deployment("chat"), deployment("other")]

    near = misfits(fleet(nodes, owners, held), wish)
    far = misfits(fleet(nodes, owners, [*held, *full]), wish)
    shut = misfits(fleet(twice, owners, held), wish)

    assert [one.node for one in near] == ["n2", "n1"]
    assert "node n2 fits and is" in near[0].message
    assert [one.node for one in far] == ["n1", "n2"]
    assert "node n2 has no seat for it and is" in far[1].message
    assert [one.node for one in shut] == ["n1", "n2"]


def test_misfits_are_empty_when_a_node_fits():
    """Room anywhere is no misfit."""
    assert misfits(fleet([node("n1")], []), deployment("x")) == ()


def test_plan_says_capacity_when_max_replicas_holds_it_back():
    """Demand above what max_replicas bear names the bound to raise."""
    busy = deployment("busy", max_replicas=1, online_work=5_000.0)
    plan = solved(fleet([node("n1")], [busy]))

    assert plan.status is PlanStatus.INFEASIBLE
    assert plan.misfits[0].dimension == "capacity"
    assert "raise max_replicas above 1" in plan.misfits[0].message


def test_latency_budget_follows_the_target_when_none_is_set():
    """Four fifths of the ITL or TPOT target, unless the deployment states its own."""
    assert latency_budget_ms(deployment("x", slo=Slo(ttft_ms=1.0, itl_ms=100.0))) == 50.0
    assert latency_budget_ms(deployment("x", slo=Slo(ttft_ms=1.0, tpot_ms=50.0))) == 25.0
    assert latency_budget_ms(replace(CHAT, latency_budget_ms=33.0)) == 33.0


def test_shares_follow_measured_frontiers_when_device_types_differ():
    """A type that bears less online work gets the smaller share; nothing passes a frontier."""
    slow = Frontier(
        max_online_work=100.0, segments=(Segment(alpha=1, beta=1, gamma=150.0),), source="p2"
    )
    chat = replace(
        CHAT, max_replicas=2, online_work=700.0, offline_work=10_000.0, stage=Stage.ACTIVE
    )
    snapshot = fleet(
        [node("n1", devices=1, kind="fast"), node("n2", devices=1, kind="slow")],
        [chat],
        frontiers=(ReplicaFrontier(deployment="chat", device_type="slow", frontier=slow),),
    )
    plan = greedy(snapshot)
    share = {p.node: p.online_share for p in plan.placements}

    assert verify(snapshot, plan) == ()
    assert share["n2"] < share["n1"]
    assert sum(share.values()) == pytest.approx(1.0)
