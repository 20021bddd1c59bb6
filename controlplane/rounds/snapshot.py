"""What a round decides from: committed state and demand, as the planner's values.

Pure. Invariants: the same view, demand and settings give the same snapshot; a deployment
whose needs are not known yet gains no replica, and what already runs of it is kept.
"""

import hashlib
import json
from dataclasses import dataclass, field, replace

from controlplane.rounds.demand import (
    REPLICA_WORK,
    Demand,
    batches_of,
    classes_of,
    online_wanted,
    stepped,
)
from controlplane.rounds.frontiers import FrontierBook, replica_frontiers
from planner.interference.frontier import offline_limit
from planner.model import (
    BatchDemand,
    Deployment,
    Desired,
    Node,
    Pin,
    ReplicaFrontier,
    Snapshot,
    Tenant,
)
from storage.codecs import to_json
from storage.records import DeploymentRecord, FleetView, NodeRecord

__all__ = [
    "Demand",
    "PlacementSettings",
    "build_snapshot",
    "inputs_hash",
]

DEFAULT_LOAD_S = 60.0
"""As `planner.model.Deployment`: until a new replica serves, where nobody said."""
DEFAULT_WARM_LOAD_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementSettings:
    """What a control plane was started with that placement depends on.

    Attributes:
        prices: (device type or part of its name, price of a device-hour) pairs.
        max_moves: ADDs a round may make; None: no bound.
        device_cost: What a device of mean price must be worth, as of a snapshot; 0: nothing.
        frontiers: What is known of replicas' frontiers; the rest is assumed.
    """

    prices: tuple[tuple[str, float], ...] = ()
    max_moves: int | None = None
    device_cost: float = 0.0
    frontiers: FrontierBook = field(default_factory=FrontierBook)

    @property
    def without_bound(self) -> "PlacementSettings":
        """The same without a bound on moves: for what an operator orders."""
        return replace(self, max_moves=None)


def build_snapshot(
    view: FleetView, demand: Demand, settings: PlacementSettings | None = None
) -> Snapshot:
    """The snapshot of a view.

    A replica of an earlier generation is one whose engine is not what its deployment asks
    for now; replicas of deleted deployments are there as stopping.
    """
    settings = settings or PlacementSettings()
    live = {one.id: one for one in view.deployments if not one.is_deleted}
    frontiers = replica_frontiers(view, settings.frontiers)
    most = {one.id: _most_work(one, frontiers) for one in live.values()}
    demands = {
        one.id: batches_of(one, view, demand, most_work=most[one.id]) for one in live.values()
    }
    nodes = {one.id for one in view.nodes}
    return Snapshot(
        revision=view.state.revision,
        nodes=tuple(_node(one, view) for one in view.nodes),
        deployments=tuple(
            _planned(one, view, demand, demands[one.id], most_work=most[one.id])
            if one.engine.is_sized
            else _kept(one, view)
            for one in live.values()
        ),
        allocations=tuple(one.allocation for one in view.allocations),
        frontiers=frontiers,
        max_moves=settings.max_moves,
        tenants=tuple(
            Tenant(id=one.id, weight=one.weight, max_offline_work=one.max_offline_work)
            for one in view.tenants
        ),
        batches=tuple(
            batch for one in live.values() if one.engine.is_sized for batch in demands[one.id]
        ),
        pins=tuple(
            Pin(deployment=one.deployment, node=one.node, replicas=one.replicas)
            for one in view.pins
            if one.deployment in live and live[one.deployment].engine.is_sized and one.node in nodes
        ),
        prices=_prices(view, settings),
        device_cost=settings.device_cost,
    )


def inputs_hash(snapshot: Snapshot) -> str:
    """SHA-256, as hex, of all a snapshot holds but its revision."""
    document = to_json(replace(snapshot, revision=0))
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _node(record: NodeRecord, view: FleetView) -> Node:
    return replace(record.planned, is_frozen=view.is_frozen_target(f"nodes/{record.id}"))


def _prices(view: FleetView, settings: PlacementSettings) -> tuple[tuple[str, float], ...]:
    """A price for each type of the fleet that has one.

    The type itself is stronger than a part of its name, a longer part than a shorter one.
    """
    found = []
    for kind in sorted({one.device_type for node in view.nodes for one in node.devices}):
        known = [
            (name == kind, len(name), name, price)
            for name, price in settings.prices
            if name.lower() in kind.lower()
        ]
        if known:
            found.append((kind, max(known)[3]))
    return tuple(found)


def _planned(
    record: DeploymentRecord,
    view: FleetView,
    demand: Demand,
    batches: tuple[BatchDemand, ...],
    *,
    most_work: float,
) -> Deployment:
    spec, engine = record.spec, record.engine
    classes = classes_of(record, demand)
    online = sum(stepped(work) for work in online_wanted(record, demand).values())
    load_s = spec.load_s or DEFAULT_LOAD_S
    return Deployment(
        id=record.id,
        model=engine.model,
        slo=spec.slo,
        min_replicas=spec.min_replicas,
        max_replicas=spec.max_replicas,
        weights_bytes=engine.weights_bytes,
        kv_cache_bytes=engine.kv_cache_tokens * engine.kv_bytes_per_token,
        tensor_parallel_size=engine.tensor_parallel_size,
        device_types=spec.device_types,
        stage=spec.stage,
        spread=spec.spread,
        offline_weight=spec.offline_weight,
        generation=record.generation,
        latency_budget_ms=spec.latency_budget_ms or None,
        online_work=online,
        offline_work=min(most_work, sum(one.offline_work for one in batches)),
        min_offline_work=min(most_work, sum(one.min_offline_work for one in batches)),
        slo_classes=classes,
        failover_ratio=spec.failover_ratio,
        other_tensor_parallel_sizes=spec.other_tensor_parallel_sizes,
        host_memory_bytes=spec.host_memory_bytes,
        node_groups=spec.node_groups,
        anti_affinity=spec.anti_affinity,
        is_frozen=view.is_frozen_target(f"deployments/{record.id}"),
        load_s=load_s,
        warm_load_s=spec.warm_load_s or min(load_s, DEFAULT_WARM_LOAD_S),
    )


def _most_work(record: DeploymentRecord, frontiers: tuple[ReplicaFrontier, ...]) -> float:
    """Offline work all its replicas could do at the most, engine-ms per second."""
    own = [offline_limit(f.frontier, 0.0) for f in frontiers if f.deployment == record.id]
    return max([REPLICA_WORK, *own]) * record.spec.max_replicas


def _kept(record: DeploymentRecord, view: FleetView) -> Deployment:
    """A deployment of unknown needs: wants nothing new, and keeps what runs of it."""
    running = [
        one for one in view.of_deployment(record.id) if one.allocation.desired is Desired.RUNNING
    ]
    engine = running[0].engine if running else record.engine
    return Deployment(
        id=record.id,
        model=engine.model,
        slo=record.spec.slo,
        min_replicas=0,
        max_replicas=len(running),
        weights_bytes=engine.weights_bytes,
        kv_cache_bytes=engine.kv_cache_tokens * engine.kv_bytes_per_token,
        tensor_parallel_size=engine.tensor_parallel_size,
        generation=min((one.allocation.generation for one in running), default=1),
        is_frozen=view.is_frozen_target(f"deployments/{record.id}"),
    )
