"""Small fleets with all that a fleet may have, drawn by hypothesis.

SLO classes, failover, several replica sizes, batches of tenants with quotas, pins, freezes,
cordons, node groups, host memory, anti-affinity, replicas in every state, moves at most.
"""

from hypothesis import strategies as st

from planner.model import (
    OFFLINE_ONLY,
    Allocation,
    BatchDemand,
    Desired,
    Frontier,
    Pin,
    ReplicaFrontier,
    ReplicaState,
    Segment,
    Slo,
    SloClass,
    Stage,
    Tenant,
)
from tests.planner.placement.fleets import GIB, deployment, fleet, node

_CLOSED = ({"is_cordoned": True}, {"is_cordoned": True, "is_draining": True}, {"is_ready": False})
_STATES = (
    *[ReplicaState.RUNNING] * 5,
    ReplicaState.PENDING,
    ReplicaState.STARTING,
    ReplicaState.FAILED,
    ReplicaState.DRAINING,
)


def curve(online, offline, *, bend=0.7):
    """A concave frontier from (0, offline) down to (online, 0)."""
    return Frontier(
        max_online_work=0.9 * online,
        segments=(
            Segment(alpha=bend * offline / online, beta=1.0, gamma=offline),
            Segment(alpha=offline / (bend * online), beta=1.0, gamma=offline / bend),
        ),
        source="drawn",
    )


def curves(name, classes, sizes, *, kinds=("a", "b"), known=lambda *_: True):
    """Frontiers of a deployment in all its modes; looser classes bear more, "b" is slower."""
    ids = [cls.id for cls in classes] or [""]
    found = []
    for kind in kinds:
        speed = 1.0 if kind == "a" else 0.45
        for size in sizes:
            bears = 1000.0 * speed * size**0.9
            for rank, slo_class in enumerate([*ids, OFFLINE_ONLY]):
                if not known(kind, size, slo_class):
                    continue
                online = bears * (0.35 + 0.25 * rank)
                if slo_class == OFFLINE_ONLY:
                    frontier = Frontier(
                        max_online_work=0.0,
                        segments=(Segment(alpha=1.0, beta=1.0, gamma=1.3 * bears),),
                        source="drawn",
                    )
                else:
                    frontier = curve(online, bears * (0.8 + 0.1 * rank))
                found.append(
                    ReplicaFrontier(
                        deployment=name,
                        device_type=kind,
                        frontier=frontier,
                        tensor_parallel_size=size,
                        slo_class=slo_class,
                    )
                )
    return found


def classes(*, tight=0.0, loose=0.0, failover=0.0):
    """Two SLO classes, work in engine-ms per second."""
    return (
        SloClass(
            id="tight",
            slo=Slo(ttft_ms=500.0, itl_ms=50.0),
            online_work=tight,
            failover_ratio=failover,
        ),
        SloClass(
            id="loose",
            slo=Slo(ttft_ms=2000.0, itl_ms=150.0),
            online_work=loose,
            failover_ratio=failover,
        ),
    )


@st.composite
def _wanted(draw, name, names):
    work = st.sampled_from([0.0, 150.0, 700.0, 1900.0])
    least = draw(st.integers(0, 2))
    size = draw(st.sampled_from([1, 1, 2, 3, 4]))
    others = draw(st.sampled_from([(), (), (1,), (2,), (6,), (3, 6)]))
    asked = draw(st.sampled_from([0.0, 0.0, 0.5, 1.0]))
    own = ()
    if draw(st.booleans()):
        own = classes(tight=draw(work), loose=draw(work), failover=asked)
    return deployment(
        name,
        min_replicas=least,
        max_replicas=max(1, least + draw(st.integers(0, 3))),
        tensor_parallel_size=size,
        other_tensor_parallel_sizes=tuple(s for s in others if s != size),
        weights_bytes=draw(st.sampled_from([1, 1, 6])) * GIB,
        device_types=draw(st.sampled_from([(), (), ("a",), ("b", "a")])),
        stage=draw(st.sampled_from([Stage.OBSERVE, Stage.ACTIVE, Stage.ACTIVE])),
        spread=draw(st.booleans()),
        slo_classes=own,
        online_work=0.0 if own else draw(work),
        failover_ratio=0.0 if own else asked,
        offline_work=draw(st.sampled_from([0.0, 900.0])),
        min_offline_work=draw(st.sampled_from([0.0, 300.0])),
        generation=draw(st.sampled_from([1, 1, 1, 2])),
        host_memory_bytes=draw(st.sampled_from([0, 0, 3])) * GIB,
        node_groups=draw(st.sampled_from([(), (), (), ("g",)])),
        anti_affinity=draw(st.sampled_from([(), (), (name,), (names[0],)])),
        is_frozen=draw(st.sampled_from([False] * 6 + [True])),
    )


def _replicas(draw, nodes, specs):
    rows = []
    for place in nodes:
        free = [d.index for d in place.devices]
        host = 0
        for spec in specs:
            size = draw(st.sampled_from(spec.tensor_parallel_sizes))
            if (
                len(free) < size
                or not draw(st.booleans())
                or spec.bytes_per_device_of(size) > place.devices[0].memory_bytes
                or (
                    place.host_memory_bytes
                    and host + spec.host_memory_bytes > place.host_memory_bytes
                )
            ):
                continue
            host += spec.host_memory_bytes
            is_leaving = draw(st.sampled_from([False] * 5 + [True]))
            rows.append(
                Allocation(
                    replica=f"r-{place.id}-{spec.id}",
                    deployment=spec.id,
                    node=place.id,
                    devices=tuple(free[:size]),
                    state=draw(st.sampled_from(_STATES)) if place.is_ready else ReplicaState.LOST,
                    desired=Desired.STOPPED if is_leaving else Desired.RUNNING,
                    latency_budget_ms=20.0,
                    slo_class=draw(st.sampled_from(["", *(c.id for c in spec.slo_classes)])),
                )
            )
            free = free[size:]
    return rows


@st.composite
def rich_fleets(draw, *, nodes=4, wanted=3):
    """Any fleet of a few nodes; nearly all need the solve in counts."""
    places = [
        node(
            f"n{i}",
            devices=draw(st.sampled_from([1, 2, 4, 6])),
            kind=draw(st.sampled_from(["a", "a", "b"])),
            gib=draw(st.sampled_from([2, 8, 8])),
            failure_domain=draw(st.sampled_from(["x", "y", "z"])),
            group=draw(st.sampled_from(["g", "g", "h"])),
            host_memory_bytes=draw(st.sampled_from([0, 4, 7])) * GIB,
            is_frozen=draw(st.sampled_from([False] * 7 + [True])),
            **draw(st.sampled_from([{}] * 7 + list(_CLOSED))),
        )
        for i in range(draw(st.integers(0, nodes)))
    ]
    names = [f"d{i}" for i in range(draw(st.integers(1, wanted)))]
    specs = [draw(_wanted(name, names)) for name in names]
    is_known = draw(st.sampled_from([True, True, False]))
    batches = [
        BatchDemand(
            deployment=draw(st.sampled_from(names)),
            tenant=draw(st.sampled_from(["red", "blue"])),
            offline_work=draw(st.sampled_from([200.0, 1500.0])),
            min_offline_work=draw(st.sampled_from([0.0, 200.0])),
            weight=draw(st.sampled_from([0.5, 1.0, 3.0])),
        )
        for _ in range(draw(st.integers(0, 3)))
    ]
    pins = [
        Pin(
            deployment=draw(st.sampled_from(names)),
            node=draw(st.sampled_from([n.id for n in places])),
            replicas=draw(st.sampled_from([1, 1, 3])),
        )
        for _ in range(draw(st.sampled_from([0, 0, 1, 2])) if places else 0)
    ]
    return fleet(
        places,
        specs,
        _replicas(draw, places, specs),
        frontiers=tuple(
            one
            for spec in specs
            if is_known or draw(st.booleans())
            for one in curves(spec.id, spec.slo_classes, spec.tensor_parallel_sizes)
        ),
        tenants=(Tenant(id="red", max_offline_work=draw(st.sampled_from([None, 0.0, 400.0]))),),
        batches=tuple(batches),
        pins=tuple(pins),
        max_moves=draw(st.sampled_from([None, None, 0, 1, 3])),
        prices=draw(st.sampled_from([(), (("a", 2.0), ("b", 1.0))])),
    )
