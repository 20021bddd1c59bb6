"""Values the storage tests share, and strategies that make any of them."""

from hypothesis import strategies as st

from planner.model import (
    Allocation,
    BatchDemand,
    Deployment,
    Desired,
    Device,
    Frontier,
    Misfit,
    Move,
    MoveKind,
    Node,
    ObjectiveTerm,
    Pin,
    Placement,
    Plan,
    PlanStatus,
    ReplicaFrontier,
    ReplicaState,
    Segment,
    Slo,
    SloClass,
    Snapshot,
    Stage,
    Tenant,
)
from storage.records import (
    AllocationRecord,
    DeploymentRecord,
    DeploymentSpec,
    EngineSpec,
    ModelNeeds,
    NodeRecord,
    SloClassSpec,
)

ids = st.from_regex(r"[a-z][a-z0-9-]{0,10}[a-z0-9]", fullmatch=True)
texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False, width=64)
counts = st.integers(min_value=0, max_value=2**40)


def tuples(of: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(of, max_size=3).map(tuple)


slos = st.builds(
    Slo,
    ttft_ms=numbers,
    itl_ms=st.none() | numbers,
    tpot_ms=st.none() | numbers,
    max_gap_ms=st.none() | numbers,
    attainment_ratio=numbers,
)
devices = st.builds(Device, index=counts, device_type=texts, memory_bytes=counts)
nodes = st.builds(
    Node,
    id=ids,
    devices=tuples(devices),
    failure_domain=texts,
    is_ready=st.booleans(),
    is_cordoned=st.booleans(),
    is_draining=st.booleans(),
    is_frozen=st.booleans(),
    group=texts,
    warm_models=tuples(texts),
)
deployments = st.builds(
    Deployment,
    id=ids,
    model=texts,
    slo=slos,
    min_replicas=counts,
    max_replicas=counts,
    weights_bytes=counts,
    kv_cache_bytes=counts,
    device_types=tuples(texts),
    stage=st.sampled_from(Stage),
    spread=st.booleans(),
    latency_budget_ms=st.none() | numbers,
    online_work=numbers,
    slo_classes=tuples(st.builds(SloClass, id=ids, slo=slos, online_work=numbers)),
    anti_affinity=tuples(ids),
)
allocations = st.builds(
    Allocation,
    replica=ids,
    deployment=ids,
    node=ids,
    devices=tuples(counts),
    desired=st.sampled_from(Desired),
    state=st.sampled_from(ReplicaState),
    online_share=numbers,
    after=tuples(ids),
)
frontiers = st.builds(
    Frontier,
    max_online_work=numbers,
    segments=tuples(st.builds(Segment, alpha=numbers, beta=numbers, gamma=numbers)),
    source=texts,
)
snapshots = st.builds(
    Snapshot,
    revision=counts,
    nodes=tuples(nodes),
    deployments=tuples(deployments),
    allocations=tuples(allocations),
    frontiers=tuples(
        st.builds(
            ReplicaFrontier,
            deployment=ids,
            device_type=texts,
            frontier=frontiers,
            tensor_parallel_size=st.none() | counts,
            slo_class=texts,
        )
    ),
    max_moves=st.none() | counts,
    tenants=tuples(st.builds(Tenant, id=ids, weight=numbers, max_offline_work=st.none() | numbers)),
    batches=tuples(
        st.builds(BatchDemand, deployment=ids, tenant=ids, offline_work=numbers, weight=numbers)
    ),
    pins=tuples(st.builds(Pin, deployment=ids, node=ids, replicas=counts)),
    prices=tuples(st.tuples(texts, numbers)),
    device_cost=numbers,
)
plans = st.builds(
    Plan,
    base_revision=counts,
    status=st.sampled_from(PlanStatus),
    solver=texts,
    objective=numbers,
    bound=numbers,
    terms=tuples(st.builds(ObjectiveTerm, name=texts, weight=numbers, value=numbers)),
    placements=tuples(
        st.builds(
            Placement, replica=st.none() | ids, deployment=ids, node=ids, devices=tuples(counts)
        )
    ),
    moves=tuples(
        st.builds(
            Move,
            group=counts,
            kind=st.sampled_from(MoveKind),
            replica=ids,
            deployment=ids,
            node=ids,
            after=tuples(ids),
            reason=texts,
        )
    ),
    misfits=tuples(
        st.builds(
            Misfit,
            deployment=ids,
            node=st.none() | ids,
            dimension=texts,
            needed=numbers,
            available=numbers,
            message=texts,
        )
    ),
)
specs = st.builds(
    DeploymentSpec,
    engine=st.builds(EngineSpec, model=texts, weights_bytes=counts, dtype=texts),
    slo=slos,
    min_replicas=counts,
    max_replicas=counts,
    device_types=tuples(texts),
    stage=st.sampled_from(Stage),
    spread=st.booleans(),
    slo_classes=tuples(st.builds(SloClassSpec, id=ids, slo=slos, failover_ratio=numbers)),
    other_tensor_parallel_sizes=tuples(counts),
    node_groups=tuples(texts),
    load_s=numbers,
)

SLO_CLASS_SPEC = SloClassSpec(
    id="tight", slo=Slo(ttft_ms=500.0, itl_ms=50.0), expected_online_work=10.0, failover_ratio=0.5
)
ENGINE = EngineSpec(model="tiny", weights_bytes=1000, kv_bytes_per_token=10)
NODE = NodeRecord(
    id="n1",
    devices=(
        Device(index=0, device_type="cpu", memory_bytes=2**31),
        Device(index=1, device_type="cpu", memory_bytes=2**31),
    ),
    failure_domain="rack-a",
    address="127.0.0.1:7411",
    agent_version="0.1.0",
    incarnation="i-1",
    labels=(("zone", "a"),),
    drain_deadline_s=None,
)
DEPLOYMENT = DeploymentRecord(
    id="chat",
    generation=1,
    spec=DeploymentSpec(
        engine=EngineSpec(model="tiny"),
        slo=Slo(ttft_ms=500.0, itl_ms=100.0),
        min_replicas=1,
        max_replicas=2,
    ),
    needs=ModelNeeds(weights_bytes=1000, kv_bytes_per_token=10, max_context_tokens=512),
    create_s=1.0,
    update_s=2.0,
)
ALLOCATION = AllocationRecord(
    allocation=Allocation(
        replica="chat-aaaaaa", deployment="chat", node="n1", devices=(0,), after=("chat-bbbbbb",)
    ),
    engine=ENGINE,
    round=1,
    message="",
    create_s=3.0,
)
PLAN = Plan(
    base_revision=3,
    status=PlanStatus.FEASIBLE,
    solver="greedy",
    objective=1.5,
    bound=1.0,
    terms=(ObjectiveTerm(name="moves", weight=2.0, value=1.0),),
    placements=(Placement(replica="chat-aaaaaa", deployment="chat", node="n1", devices=(0,)),),
    moves=(
        Move(group=0, kind=MoveKind.ADD, replica="chat-aaaaaa", deployment="chat", node="n1"),
        Move(
            group=0,
            kind=MoveKind.REMOVE,
            replica="chat-old",
            deployment="chat",
            node="n2",
            after=("chat-aaaaaa",),
            reason="node n2 drains",
        ),
    ),
    misfits=(
        Misfit(
            deployment="big",
            node=None,
            dimension="memory",
            needed=2.0,
            available=1.0,
            message="deployment big: needs 2 B",
        ),
    ),
)
