"""Wishes that contradict each other or nothing can meet: a plan all the same, and why."""

from dataclasses import replace

import pytest

from planner.model import (
    BatchDemand,
    Device,
    Pin,
    PlanStatus,
    ReplicaState,
    Stage,
    Tenant,
)
from planner.placement.counts.limits import Limits as SearchLimits
from planner.placement.solve import Limits, solve
from planner.placement.verify import verify
from tests.planner.placement.fleets import GIB, commit, deployment, fleet, node, running, settle
from tests.planner.placement.rich_fleets import classes, curves

QUICK = Limits(counts=SearchLimits(parts=12, merged_parts=2, prices=5, repairs=2))


def last(snapshot, **fields):
    """The last plan; all of them verified, and none refused on the way."""
    plans = list(solve(snapshot, work_left=lambda: 1.0, limits=QUICK, **fields))
    assert plans
    for plan in plans:
        assert verify(snapshot, plan) == ()
    return plans[-1]


@pytest.fixture(autouse=True)
def _nothing_refused(caplog):
    yield
    assert "placement_plan_refused" not in caplog.text
    assert "placement_solver_failed" not in caplog.text


def chat(**fields):
    """Two SLO classes on one device of type a."""
    work = {"tight": 300.0, "loose": 300.0} | fields.pop("work", {})
    defaults = {"slo_classes": classes(**work), "max_replicas": 8, "stage": Stage.ACTIVE}
    return deployment("chat", **(defaults | fields))


def rich(nodes, wanted, allocations=(), **fields):
    """A fleet whose deployments' frontiers are all known."""
    known = [one for w in wanted for one in curves(w.id, w.slo_classes, w.tensor_parallel_sizes)]
    return fleet(nodes, wanted, allocations, frontiers=tuple(known), **fields)


def a_node(name, **fields):
    return node(name, **({"kind": "a", "devices": 4, "gib": 8} | fields))


@pytest.mark.parametrize(
    ("spec", "place", "fields", "granted"),
    [
        ({"max_replicas": 2, "min_replicas": 0}, {}, {}, 2),
        ({}, {"devices": 2}, {}, 2),
        ({"host_memory_bytes": GIB}, {"host_memory_bytes": GIB}, {}, 1),
        ({"anti_affinity": ("chat",)}, {}, {}, 1),
        ({}, {}, {"max_moves": 1}, 1),
        ({"node_groups": ("elsewhere",)}, {}, {}, 0),
        ({"is_frozen": True}, {}, {}, 0),
        ({}, {"is_cordoned": True}, {}, 0),
        ({}, {"is_frozen": True}, {}, 0),
        ({"device_types": ("b",)}, {}, {}, 0),
        ({"weights_bytes": 20 * GIB}, {}, {}, 0),
    ],
    ids=[
        "max_replicas",
        "devices",
        "host memory",
        "anti-affinity",
        "moves",
        "node group",
        "frozen deployment",
        "cordoned",
        "frozen node",
        "device type",
        "memory",
    ],
)
def test_pin_is_met_as_far_as_it_can_be_when_it_contradicts_another_rule(
    spec, place, fields, granted
):
    """Three are pinned; what is granted is placed and the misfit says what to do."""
    snapshot = rich(
        [a_node("n1", **place)],
        [chat(**spec)],
        pins=(Pin(deployment="chat", node="n1", replicas=3),),
        **fields,
    )
    plan = last(snapshot)

    assert sum(p.node == "n1" for p in plan.placements) == granted
    (misfit,) = [m for m in plan.misfits if m.dimension == "pin"]
    assert (misfit.needed, misfit.available) == (3.0, float(granted))
    assert "unpin" in misfit.message
    assert plan.status is PlanStatus.INFEASIBLE


def test_pins_share_a_node_when_together_they_do_not_fit():
    """Two deployments pin more devices than a node has: the second is told what it misses."""
    other = deployment("code", tensor_parallel_size=2)
    snapshot = rich(
        [a_node("n1", devices=3)],
        [chat(), other],
        pins=(
            Pin(deployment="chat", node="n1", replicas=2),
            Pin(deployment="code", node="n1", replicas=2),
        ),
    )
    plan = last(snapshot)

    assert [m.deployment for m in plan.misfits if m.dimension == "pin"] == ["code"]
    assert sum(p.deployment == "chat" for p in plan.placements) == 2


def test_what_a_freeze_keeps_stays_when_max_replicas_or_moves_say_less():
    """Three frozen replicas outlive max_replicas 1, and broken ones among them too."""
    spec = chat(is_frozen=True, max_replicas=1)
    held = [running(f"r{i}", "chat", "n1", i) for i in range(3)]
    held[1] = replace(held[1], state=ReplicaState.FAILED)
    snapshot = rich([a_node("n1")], [spec], held, max_moves=0)

    assert {p.replica for p in last(snapshot).placements} == {"r0", "r1", "r2"}


def test_frozen_broken_replicas_count_when_others_are_wanted():
    """What a freeze keeps takes its place within max_replicas, though it serves nothing."""
    held = [running("r1", "chat", "n1", 0, state=ReplicaState.FAILED)]
    nodes = [a_node("n1", is_frozen=True), a_node("n2")]
    plan = last(rich(nodes, [chat(max_replicas=2, min_replicas=2)], held))

    assert sorted(p.node for p in plan.placements) == ["n1", "n2"]


def test_surplus_goes_when_max_replicas_is_lowered():
    """What runs above a lowered max_replicas does not leave the fleet without a plan."""
    held = [running(f"r{i}", "chat", "n1", i) for i in range(3)]
    plan = last(rich([a_node("n1")], [chat(max_replicas=2)], held))

    assert len(plan.placements) == 2


@pytest.mark.parametrize(
    ("state", "ready"),
    [(ReplicaState.FAILED, True), (ReplicaState.DRAINING, True), (ReplicaState.LOST, False)],
)
def test_failover_is_told_short_when_what_is_left_does_not_serve(state, ready):
    """A replica that failed, drains or is lost makes up for no other domain."""
    spec = chat(work={"tight": 100.0, "loose": 0.0, "failover": 1.0}, max_replicas=2)
    held = [running("r1", "chat", "n1", 0), running("r2", "chat", "n2", 0, state=state)]
    nodes = [a_node("n1"), a_node("n2", is_ready=ready, is_frozen=True)]
    plan = last(rich(nodes, [spec], held, max_moves=0))

    (misfit,) = [m for m in plan.misfits if m.dimension == "failover"]
    assert misfit.needed - misfit.available == pytest.approx(100.0)


def test_replicas_on_devices_no_longer_reported_do_not_stop_a_round():
    """A node comes back with fewer devices than its replicas hold."""
    held = [running("r1", "chat", "n1", 0), running("r2", "chat", "n1", 3)]
    plan = last(rich([a_node("n1", devices=2)], [chat()], held))

    assert {p.devices for p in plan.placements} <= {(0,), (1,)}


def test_nodes_of_mixed_devices_offer_the_large_ones_when_small_ones_lie_beside():
    """The memory of one device type does not stand for another's."""
    mixed = replace(
        a_node("n1", devices=0),
        devices=(
            Device(index=0, device_type="b", memory_bytes=GIB),
            Device(index=1, device_type="a", memory_bytes=8 * GIB),
        ),
    )
    plan = last(rich([mixed], [chat(weights_bytes=6 * GIB, min_replicas=1)]))

    assert [p.devices for p in plan.placements] == [(1,)]


def test_wrong_device_types_gain_nothing_when_a_replica_runs_there():
    """What runs on a type no longer allowed may stay; nothing joins it."""
    held = [running("r1", "chat", "n1", 0)]
    spec = chat(device_types=("a",), min_replicas=3)
    plan = last(rich([a_node("n1", kind="b"), a_node("n2", kind="b")], [spec], held))

    assert [p.replica for p in plan.placements] in ([], ["r1"])
    assert plan.status is PlanStatus.INFEASIBLE


def test_waiting_seats_take_no_devices_of_what_is_kept():
    """A broken replica yields its devices; one that serves until it is replaced does not."""
    broken = running("r1", "bulk", "n1", 0, 1, state=ReplicaState.FAILED)
    bulk = deployment("bulk", tensor_parallel_size=2)
    plan = last(rich([a_node("n1", devices=2)], [chat(min_replicas=2), bulk], [broken]))

    assert {(p.deployment, p.node) for p in plan.waiting} == {("chat", "n1")}
    assert plan.placements == ()


def test_rollout_ends_when_every_device_is_taken_and_generations_change():
    """Two deployments of an old generation on a full node are replaced, round by round."""
    specs = [chat(generation=2, max_replicas=2), deployment("code", generation=2)]
    snapshot = rich(
        [a_node("n1", devices=2)],
        specs,
        [running("r1", "chat", "n1", 0), running("r2", "code", "n1", 1)],
    )
    for _ in range(10):
        plan = last(snapshot)
        if not plan.moves:
            break
        snapshot = settle(commit(snapshot, plan))

    assert {a.generation for a in snapshot.allocations} == {2}
    assert {a.deployment for a in snapshot.allocations} == {"chat", "code"}


def test_host_memory_of_what_leaves_is_not_given_twice():
    """A new replica waits until the one that goes has given back host memory too."""
    place = a_node("n1", devices=4, host_memory_bytes=3 * GIB)
    old = deployment(
        "old", host_memory_bytes=2 * GIB, min_replicas=0, offline_work=100.0, stage=Stage.ACTIVE
    )
    spec = chat(host_memory_bytes=2 * GIB, min_replicas=1)
    plan = last(rich([place], [spec, old], [running("r1", "old", "n1", 0)]))

    assert [p.deployment for p in plan.waiting] == ["chat"]


@pytest.mark.parametrize("count", [0, 1])
def test_empty_fleets_and_single_nodes_are_answered(count):
    """No node: every wish is a misfit with a remedy. One node: failover cannot be had."""
    spec = chat(min_replicas=2, work={"failover": 1.0})
    plan = last(rich([a_node(f"n{i}") for i in range(count)], [spec]))

    assert plan.status is PlanStatus.INFEASIBLE
    assert "failover" in {m.dimension for m in plan.misfits} if count else plan.placements == ()
    assert all(";" in m.message for m in plan.misfits) and plan.misfits


def test_nothing_is_placed_when_nothing_is_wanted():
    """Zero demand and no least: an empty plan, proved, that says nothing is missing."""
    spec = chat(min_replicas=0, work={"tight": 0.0, "loose": 0.0, "failover": 1.0})
    plan = last(rich([a_node("n1"), a_node("n2")], [spec]))

    assert (plan.placements, plan.misfits) == ((), ())
    assert plan.status in (PlanStatus.OPTIMAL, PlanStatus.KEPT_INCUMBENT)


def test_idle_replicas_leave_when_demand_goes_to_zero_and_nodes_cost():
    """Two of three replicas without work are given up only if that gains; none is added."""
    held = [running(f"r{i}", "chat", "n1", i) for i in range(3)]
    spec = chat(min_replicas=1, work={"tight": 0.0, "loose": 0.0})
    plan = last(rich([a_node("n1")], [spec], held))

    assert all(p.replica is not None for p in plan.placements)
    assert len(plan.placements) >= 1


@pytest.mark.parametrize(
    ("fields", "dimension"),
    [
        ({"weights_bytes": 90 * GIB}, "memory"),
        ({"tensor_parallel_size": 6}, "tensor_parallel"),
        ({"device_types": ("h100",)}, "device_type"),
    ],
)
def test_model_that_fits_nowhere_is_told_what_would_help(fields, dimension):
    """The others are placed; the one that cannot be names what it needs and a remedy."""
    giant = deployment("giant", **fields)
    plan = last(rich([a_node("n1"), a_node("n2")], [chat(min_replicas=1), giant]))

    assert {p.deployment for p in plan.placements} == {"chat"}
    told = [m for m in plan.misfits if m.deployment == "giant"]
    assert dimension in {m.dimension for m in told}
    assert all(";" in m.message for m in told)


def _overloaded(scale):
    """One device type in two domains; demand in all tiers, times `scale`."""
    live = chat(
        work={"tight": 500.0 * scale, "loose": 400.0 * scale, "failover": 0.75},
        max_replicas=16,
    )
    bulk = deployment("bulk", min_replicas=0, max_replicas=16, stage=Stage.ACTIVE)
    return rich(
        [a_node(f"n{i}", devices=2, failure_domain=f"d{i % 2}") for i in range(4)],
        [live, bulk],
        tenants=(Tenant(id="red"),),
        batches=(
            BatchDemand(
                deployment="bulk", tenant="red", offline_work=3000.0, min_offline_work=800.0
            ),
        ),
    )


def _terms(plan):
    return {term.name: term.value for term in plan.terms}


def test_overload_sheds_tier_by_tier_when_demand_grows():
    """Offline work first, then deadlines, then failover, then online: four ways, in order."""
    found = [_terms(last(_overloaded(scale))) for scale in (0.5, 1.0, 1.6, 2.2, 3.0, 4.5)]

    for terms in found:
        is_online, is_failover = (
            terms[tier] > 1e-3 for tier in ("online_shortfall", "failover_shortfall")
        )
        if is_online:
            assert is_failover
        if is_failover:
            assert terms["deadline_shortfall"] == pytest.approx(0.8)
        if terms["deadline_shortfall"] > 1e-3:
            assert terms["offline_work"] <= 0.8
    shed = [
        (t["online_shortfall"], t["failover_shortfall"], t["deadline_shortfall"]) for t in found
    ]
    assert shed == sorted(shed)
    assert shed[0] == pytest.approx((0.0, 0.0, 0.0), abs=1e-3)
    assert min(shed[-1]) > 0.1
    assert len({tuple(short > 1e-3 for short in one) for one in shed}) == 4


def test_overload_says_who_loses_what():
    """Online work, failover and deadlines that are missed are misfits of their deployments."""
    plan = last(_overloaded(4.5))
    told = {(m.deployment, m.dimension) for m in plan.misfits}

    assert ("chat", "capacity") in told
    assert any(of == "bulk" for of, _ in told)
    assert all(";" in m.message for m in plan.misfits)
    assert any("online work" in m.message for m in plan.misfits if m.deployment == "chat")


def test_tight_requests_are_served_before_loose_when_both_cannot_be():
    """Twice the weight: replicas are held to the tight class until it is served."""
    spec = chat(work={"tight": 600.0, "loose": 2000.0}, max_replicas=2)
    plan = last(rich([a_node("n1", devices=2)], [spec]))

    assert [p.slo_class for p in plan.placements] == ["tight", "tight"]
