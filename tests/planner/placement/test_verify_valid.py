"""Plans valid by construction pass the verifier; `plans` draws them for its other tests."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from planner.interference.frontier import DEFAULT_FRONTIER, offline_limit, online_limit
from planner.model import (
    OFFLINE_ONLY,
    BatchDemand,
    Frontier,
    Pin,
    Placement,
    Plan,
    PlanStatus,
    ReplicaFrontier,
    Segment,
    Slo,
    SloClass,
    Stage,
    Tenant,
)
from planner.placement.verify import verify
from tests.planner.placement.fleets import GIB, deployment, fleet, node, running
from tests.planner.placement.test_verify_cases import QUICK, Case, moves

TIGHT, LOOSE = Slo(ttft_ms=500.0, itl_ms=50.0), Slo(ttft_ms=5000.0, itl_ms=200.0)


def curve(online, offline):
    """A frontier through (online, 0) and (0, offline)."""
    return Frontier(
        max_online_work=0.8 * online,
        segments=(Segment(alpha=offline / online, beta=1.0, gamma=offline),),
        source="drawn",
    )


FRONTIERS = tuple(
    ReplicaFrontier(
        deployment=name,
        device_type=kind,
        tensor_parallel_size=size,
        slo_class=of,
        frontier=curve(online * speed * (size or 1), 900.0 * speed * (size or 1)),
    )
    for name, classes in (
        ("chat", (("tight", 500.0), ("loose", 800.0), ("", 500.0))),
        ("solo", (("", 700.0),)),
        ("batch", ((OFFLINE_ONLY, 1.0),)),
    )
    for of, online in classes
    for kind, speed in (("a", 1.0), ("b", 2.0))
    for size in ((None, 2) if name == "chat" else (None,))
)


@st.composite
def plans(draw):
    """A fleet of every kind of wish, and a plan that heeds them all.

    Of chat (two classes, on one device or two) n0 keeps a tight replica and n1 gains one over
    two devices, n2 gains a loose one; of batch (offline-only) n0 gains and n1 keeps one; solo,
    at most one a node, may be on any. Demand is what the drawn loads come to.
    """
    count = draw(st.integers(3, 6))
    nodes = [
        node(
            f"n{i}",
            devices=4,
            kind="ab"[i % 2],
            gib=draw(st.integers(2, 8)),
            failure_domain=f"z{i % 3}",
            group="east" if i % 2 else "west",
            host_memory_bytes=0,
        )
        for i in range(count)
    ]
    seats = [
        ("chat", 0, (0,), "tight", "r-chat"),
        ("chat", 1, (0, 1), "tight", None),
        ("chat", 2, (0,), "loose", None),
        ("batch", 0, (3,), OFFLINE_ONLY, None),
        ("batch", 1, (3,), OFFLINE_ONLY, "r-batch"),
        ("solo", 0, (2,), "", "r-solo"),
    ]
    for i in range(1, count):
        if draw(st.booleans()):
            seats.append(("solo", i, (2,), "", draw(st.sampled_from([None, f"r-solo-{i}"]))))
    for i in range(3, count):
        size = draw(st.integers(1, 2))
        of = draw(st.sampled_from(["tight", "loose", OFFLINE_ONLY]))
        held = draw(st.sampled_from([None, f"r-chat-{i}"]))
        seats.append(("chat", i, tuple(range(size)), of, held))
    placements, online = _loaded(draw, seats)
    tight, loose = online["tight"], online["loose"]
    lent = draw(st.floats(0.0, 1.0)) * tight  # tight replicas also serve loose requests
    wanted, tenants = _batches(draw, placements)
    snapshot = fleet(
        nodes,
        [
            deployment(
                "chat",
                other_tensor_parallel_sizes=(2,),
                max_replicas=8,
                stage=Stage.ACTIVE,
                slo_classes=(
                    SloClass(id="tight", slo=TIGHT, online_work=tight - lent),
                    SloClass(id="loose", slo=LOOSE, online_work=loose + lent),
                ),
                anti_affinity=("other",),
            ),
            deployment(
                "solo",
                max_replicas=8,
                stage=Stage.ACTIVE,
                online_work=online["solo"],
                offline_work=sum(p.offline_share for p in placements if p.deployment == "solo"),
                anti_affinity=("solo",),
            ),
            deployment("batch", max_replicas=8, stage=Stage.ACTIVE, min_replicas=0),
            deployment("other", min_replicas=0),
        ],
        [
            running(p.replica, p.deployment, p.node, *p.devices, slo_class=p.slo_class)
            for p in placements
            if p.replica is not None
        ],
        frontiers=FRONTIERS,
        batches=wanted,
        tenants=tenants,
        max_moves=sum(p.replica is None for p in placements),
        pins=(Pin(deployment="batch", node="n0", replicas=1),),
    )
    host = sum(p.node == "n0" and p.deployment == "batch" for p in placements)
    snapshot = replace(
        snapshot,
        nodes=tuple(
            replace(n, host_memory_bytes=host * GIB if n.id == "n0" else 0) for n in snapshot.nodes
        ),
        deployments=tuple(
            replace(d, host_memory_bytes=GIB if d.id == "batch" else 0)
            for d in snapshot.deployments
        ),
    )
    plan = Plan(
        base_revision=1,
        status=PlanStatus.FEASIBLE,
        solver="drawn",
        objective=0.0,
        bound=0.0,
        terms=(),
        placements=tuple(placements),
        moves=moves(snapshot, placements),
    )
    return Case(snapshot=snapshot, plan=plan)


def frontier_of(of, where, devices, slo_class):
    """The drawn frontier of a replica; nodes with an even number are of type a."""
    kind = "ab"[int(where[1:]) % 2]
    size = None if len(devices) == 1 else len(devices)
    for one in FRONTIERS:
        if (one.deployment, one.device_type, one.tensor_parallel_size, one.slo_class) == (
            of,
            kind,
            size,
            slo_class,
        ):
            return one.frontier
    return DEFAULT_FRONTIER  # none is known of chat's offline-only replicas


def _loaded(draw, seats):
    """Placements with loads on or under their frontiers, and the online work by class."""
    loads = []
    for of, i, devices, slo_class, _ in seats:
        frontier = frontier_of(of, f"n{i}", devices, slo_class)
        x = 0.0
        if slo_class != OFFLINE_ONLY:
            x = draw(st.floats(0.1, 1.0)) * online_limit(frontier)
        loads.append((x, draw(st.sampled_from([0.0, 0.5, 1.0])) * offline_limit(frontier, x)))
    totals = {"chat": 0.0, "solo": 0.0, "batch": 0.0}
    online = {"tight": 0.0, "loose": 0.0, "solo": 0.0}
    for (of, _, _, slo_class, _), (x, _) in zip(seats, loads, strict=True):
        totals[of] += x
        if of == "chat" and slo_class != OFFLINE_ONLY:
            online[slo_class] += x
        elif of == "solo":
            online["solo"] += x
    placements = [
        Placement(
            replica=replica,
            deployment=of,
            node=f"n{i}",
            devices=devices,
            slo_class=slo_class,
            online_share=x / totals[of] if x else 0.0,
            offline_share=y,
            latency_budget_ms=20.0,
        )
        for (of, i, devices, slo_class, replica), (x, y) in zip(seats, loads, strict=True)
    ]
    return placements, online


def _batches(draw, placements):
    """Two tenants whose demands and quotas are exactly what the shares come to."""
    part = draw(st.floats(0.0, 1.0))
    wanted, whole = [], {"t0": 0.0, "t1": 0.0}
    for of in ("chat", "batch"):
        carried = sum(p.offline_share for p in placements if p.deployment == of)
        for tenant, work in (("t0", part * carried), ("t1", (1.0 - part) * carried)):
            wanted.append(BatchDemand(deployment=of, tenant=tenant, offline_work=work))
            whole[tenant] += work
    quota = draw(st.sampled_from([True, False]))
    return tuple(wanted), (
        Tenant(id="t0", max_offline_work=whole["t0"]),
        Tenant(id="t1", max_offline_work=whole["t1"] if quota else None),
    )


@QUICK
@given(plans())
def test_verify_passes_a_plan_when_it_keeps_every_rule(case):
    """Classes, sizes, quotas, pins, host memory and moves exactly at their bounds."""
    assert verify(case.snapshot, case.plan) == ()


@QUICK
@given(plans())
def test_verify_judges_memory_by_the_size_of_each_replica(case):
    """What fits two devices each with half of it does not fit one."""
    heavy = case.with_deployment("chat", weights_bytes=7 * GIB, kv_cache_bytes=GIB)
    for one in case.snapshot.nodes:
        devices = tuple(replace(d, memory_bytes=4 * GIB) for d in one.devices)
        heavy = heavy.with_node(one.id, devices=devices)

    refused = {v.subject for v in verify(heavy.snapshot, heavy.plan) if v.rule == "memory"}

    assert refused == {
        f"new:{i}"
        for i, p in enumerate(case.plan.placements)
        if p.replica is None and p.deployment == "chat" and len(p.devices) == 1
    }
    assert f"new:{case.placement('chat', is_new=True)}" not in refused  # over two devices
