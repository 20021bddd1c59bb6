"""What is wanted of the deployments: online work to place for, and batches with their rates.

Pure. Owns the demand a round decides from and the way from what is seen of it to work.
Invariants: online demand is the most of what is expected, observed and forecast, so never
less than what is observed; it is rounded up to steps, so that noise makes no round.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from planner.latency.predictor import default_model
from planner.latency.work import request_work_ms
from planner.model import BatchDemand, SloClass
from storage.batch_records import Backlog
from storage.plan_records import DemandRecord
from storage.records import DeploymentRecord, DeploymentSpec, FleetView

DEMAND_STEP = 50.0
"""Engine-ms per second: a twentieth of one replica."""
BACKLOG_HORIZON_S = 60.0
"""A backlog is wanted done within a minute; what the fleet cannot do waits."""
REPLICA_WORK = 1000.0
"""Engine-ms per second of a busy replica whose frontier is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineParts:
    """What online work to place for is the most of, engine-ms per second.

    `forecast` is 0 where none was made, or none of it counts: that of a whole whose classes
    agents tell apart.
    """

    slo_class: str = ""  # "" of all of them together
    expected: float = 0.0
    observed: float = 0.0
    forecast: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What is wanted of the deployments, and when it was looked at.

    Online work is by `key_of`: of deployments, and of their SLO classes where agents tell it
    apart. `backlog` is by (deployment, tenant).
    """

    online_work: Mapping[str, float] = field(default_factory=dict)  # smoothed, observed
    forecast: Mapping[str, float] = field(default_factory=dict)  # bounds of what is to come
    backlog: Mapping[tuple[str, str], Backlog] = field(default_factory=dict)
    now_s: float = 0.0  # Unix


def expected_work(spec: DeploymentSpec) -> float:
    """Online work the spec expects, engine-ms per second; 0 where it says nothing."""
    return max(spec.expected_online_work, sum(one.expected_online_work for one in spec.slo_classes))


def key_of(deployment: str, slo_class: str = "") -> str:
    """What online work of a deployment, or of one of its classes, goes by."""
    return f"{deployment}/{slo_class}" if slo_class else deployment


def online_wanted(record: DeploymentRecord, demand: Demand) -> dict[str, float]:
    """Online work to place for by SLO class, "" of a deployment without any.

    What is expected, observed or forecast, whichever is most. Where agents do not tell the
    classes of what they serve, the whole is split as what is expected; what they tell of no
    class belongs to the tightest, so that no promise is broken.
    """
    spec = record.spec
    whole = _most(record.id, expected_work(spec), demand)
    if not spec.slo_classes:
        return {"": whole}
    keys = {one.id: key_of(record.id, one.id) for one in spec.slo_classes}
    if not _are_told(record, demand):
        expected = sum(one.expected_online_work for one in spec.slo_classes)
        return {
            one.id: whole
            * (one.expected_online_work / expected if expected > 0 else 1.0 / len(keys))
            for one in spec.slo_classes
        }
    works = {
        one.id: _most(keys[one.id], one.expected_online_work, demand) for one in spec.slo_classes
    }
    unnamed = max(demand.online_work.get(record.id, 0.0), spec.expected_online_work)
    works[spec.slo_classes[0].id] += max(0.0, unnamed - sum(works.values()))
    return works


def online_parts(record: DeploymentRecord, demand: Demand) -> tuple[OnlineParts, ...]:
    """What `online_wanted` is made of: of the whole, then of classes that agents tell apart."""
    are_told = _are_told(record, demand)
    whole = OnlineParts(
        expected=expected_work(record.spec),
        observed=demand.online_work.get(record.id, 0.0),
        forecast=0.0 if are_told else demand.forecast.get(record.id, 0.0),
    )
    classes = (
        OnlineParts(
            slo_class=one.id,
            expected=one.expected_online_work,
            observed=demand.online_work.get(key_of(record.id, one.id), 0.0),
            forecast=demand.forecast.get(key_of(record.id, one.id), 0.0),
        )
        for one in record.spec.slo_classes
        if are_told
    )
    return (whole, *classes)


def demand_records(view: FleetView, demand: Demand) -> tuple[DemandRecord, ...]:
    """What the ledger says of a round's online demand: of all that have any."""
    return tuple(
        DemandRecord(
            deployment=one.id,
            slo_class=slo_class,
            observed=round(demand.online_work.get(key_of(one.id, slo_class), 0.0), 1),
            forecast=round(demand.forecast.get(key_of(one.id, slo_class), 0.0), 1),
            placed=stepped(work),
        )
        for one in view.deployments
        if not one.is_deleted
        for slo_class, work in online_wanted(one, demand).items()
        if work > 0.0
    )


def classes_of(record: DeploymentRecord, demand: Demand) -> tuple[SloClass, ...]:
    """Its classes with what is wanted of each; none of a deployment without."""
    works = online_wanted(record, demand)
    return tuple(
        SloClass(
            id=one.id,
            slo=one.slo,
            online_work=stepped(works[one.id]),
            failover_ratio=one.failover_ratio,
        )
        for one in record.spec.slo_classes
    )


def _are_told(record: DeploymentRecord, demand: Demand) -> bool:
    """Whether agents tell the classes of what they serve."""
    return any(key_of(record.id, one.id) in demand.online_work for one in record.spec.slo_classes)


def _most(key: str, expected: float, demand: Demand) -> float:
    return max(expected, demand.online_work.get(key, 0.0), demand.forecast.get(key, 0.0))


def batches_of(
    record: DeploymentRecord, view: FleetView, demand: Demand, *, most_work: float
) -> tuple[BatchDemand, ...]:
    """Offline work wanted and the rate deadlines rest on, engine-ms per second, by tenant.

    Args:
        record: Of the deployment.
        view: The state.
        demand: With the backlog.
        most_work: What all replicas it may have could work: no more is asked for.
    """
    types = record.spec.device_types or tuple(
        sorted({device.device_type for node in view.nodes for device in node.devices})
    )
    if not types or view.state.kill_switch:
        return ()
    found = []
    for (deployment, tenant), backlog in sorted(demand.backlog.items()):
        if deployment != record.id or backlog.items == 0:
            continue
        wanted, least = _rates(backlog, types[0], now_s=demand.now_s, most_work=most_work)
        found.append(
            BatchDemand(
                deployment=record.id,
                tenant=tenant,
                offline_work=wanted,
                min_offline_work=least,
                weight=record.spec.offline_weight,
            )
        )
    return tuple(found)


def _rates(
    backlog: Backlog, device_type: str, *, now_s: float, most_work: float
) -> tuple[float, float]:
    """Offline work wanted of a backlog, and the rate its deadlines rest on."""
    item_ms = request_work_ms(
        default_model(device_type),
        prompt_tokens=max(1, backlog.prompt_tokens // backlog.items),
        cached_tokens=0,
        output_tokens=max(1, backlog.output_tokens // backlog.items),
    )
    total_ms = item_ms * backlog.items
    token_ms = total_ms / max(1, backlog.prompt_tokens + backlog.output_tokens)
    least = 0.0
    due_tokens = 0
    for deadline_s, tokens in backlog.due:  # soonest first: what is due by each of them
        due_tokens += tokens
        least = max(least, due_tokens * token_ms / max(1.0, deadline_s - now_s))
    wanted = min(most_work, max(least, total_ms / BACKLOG_HORIZON_S))
    return stepped(wanted), min(most_work, stepped(least))


def stepped(work: float) -> float:
    """Work rounded up to a step."""
    return math.ceil(work / DEMAND_STEP) * DEMAND_STEP
