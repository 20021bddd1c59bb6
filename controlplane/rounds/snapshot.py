"""What a round decides from: committed state and demand, as the planner's values.

Pure. Invariants: the same view and demand give the same snapshot; demand is rounded up
to steps, so that noise makes no round; a deployment whose needs are not known yet gains
no replica, and what already runs of it is kept.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from planner.latency.predictor import default_model
from planner.latency.work import request_work_ms
from planner.model import Deployment, Desired, Snapshot
from storage.batch_records import Backlog
from storage.records import DeploymentRecord, FleetView

DEMAND_STEP = 50.0
"""Engine-ms per second: a twentieth of one replica."""
BACKLOG_HORIZON_S = 60.0
"""A backlog is wanted done within a minute; what the fleet cannot do waits."""
REPLICA_WORK = 1000.0
"""Engine-ms per second that one busy replica works."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What is wanted of the deployments, by id, and when it was looked at."""

    online_work: Mapping[str, float] = field(default_factory=dict)  # smoothed, observed
    backlog: Mapping[str, Backlog] = field(default_factory=dict)
    now_s: float = 0.0  # Unix


def build_snapshot(view: FleetView, demand: Demand) -> Snapshot:
    """The snapshot of a view.

    A replica of an earlier generation is one whose engine is not what its deployment asks
    for now; replicas of deleted deployments are there as stopping.
    """
    return Snapshot(
        revision=view.state.revision,
        nodes=tuple(node.planned for node in view.nodes),
        deployments=tuple(
            _planned(one, view, demand) if one.engine.is_sized else _kept(one, view)
            for one in view.deployments
            if not one.is_deleted
        ),
        allocations=tuple(one.allocation for one in view.allocations),
    )


def _planned(record: DeploymentRecord, view: FleetView, demand: Demand) -> Deployment:
    spec, engine = record.spec, record.engine
    offline, least = _offline_work(record, view, demand)
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
        online_work=_stepped(
            max(spec.expected_online_work, demand.online_work.get(record.id, 0.0))
        ),
        offline_work=offline,
        min_offline_work=least,
    )


def _offline_work(record: DeploymentRecord, view: FleetView, demand: Demand) -> tuple[float, float]:
    """Offline work wanted, and the rate deadlines rest on, engine-ms per second."""
    backlog = demand.backlog.get(record.id)
    if backlog is None or backlog.items == 0 or view.state.kill_switch:
        return 0.0, 0.0
    types = record.spec.device_types or tuple(
        sorted({device.device_type for node in view.nodes for device in node.devices})
    )
    if not types:
        return 0.0, 0.0
    item_ms = request_work_ms(
        default_model(types[0]),
        prompt_tokens=max(1, backlog.prompt_tokens // backlog.items),
        cached_tokens=0,
        output_tokens=max(1, backlog.output_tokens // backlog.items),
    )
    total_ms = item_ms * backlog.items
    most = REPLICA_WORK * record.spec.max_replicas
    token_ms = total_ms / max(1, backlog.prompt_tokens + backlog.output_tokens)
    least = 0.0
    due_tokens = 0
    for deadline_s, tokens in backlog.due:  # soonest first: what is due by each of them
        due_tokens += tokens
        least = max(least, due_tokens * token_ms / max(1.0, deadline_s - demand.now_s))
    wanted = min(most, max(least, total_ms / BACKLOG_HORIZON_S))
    return _stepped(wanted), min(most, _stepped(least))


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
    )


def _stepped(work: float) -> float:
    return math.ceil(work / DEMAND_STEP) * DEMAND_STEP
