"""What a placement serves of what is wanted, and what it takes.

Pure. Owns the sums that dry runs, what-ifs and the page of the fleet show. Invariants:
nothing is served beyond what is wanted, nor by a replica that failed or whose node is not
ready; a replica of an SLO class serves that class and every looser one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from planner.interference.frontier import frontier_for, online_limit
from planner.model import OFFLINE_ONLY, Deployment, Desired, Placement, ReplicaState, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Work in engine-ms per second, and counts; `price_per_hour` in the prices' unit."""

    online_work_wanted: float = 0.0
    online_work_served: float = 0.0
    offline_work_wanted: float = 0.0
    offline_work_served: float = 0.0
    deadline_work_wanted: float = 0.0
    deadline_work_served: float = 0.0
    replicas: int = 0
    missing_replicas: int = 0
    nodes_used: int = 0
    nodes_ready: int = 0
    devices_used: int = 0
    devices_ready: int = 0
    price_per_hour: float = 0.0


def running(snapshot: Snapshot) -> tuple[Placement, ...]:
    """What is placed now, as placements."""
    return tuple(
        Placement(
            replica=one.replica,
            deployment=one.deployment,
            node=one.node,
            devices=one.devices,
            online_share=one.online_share,
            offline_share=one.offline_share,
            latency_budget_ms=one.latency_budget_ms,
            slo_class=one.slo_class,
        )
        for one in snapshot.allocations
        if one.desired is Desired.RUNNING
    )


def serving(snapshot: Snapshot, placements: Iterable[Placement]) -> tuple[Placement, ...]:
    """Those that serve, or will: not those that failed, nor on nodes that are not ready."""
    ready = {node.id for node in snapshot.nodes if node.is_ready}
    broken = {
        one.replica
        for one in snapshot.allocations
        if one.state in (ReplicaState.FAILED, ReplicaState.LOST)
    }
    return tuple(one for one in placements if one.node in ready and one.replica not in broken)


def by_deployment(snapshot: Snapshot, placements: Iterable[Placement]) -> Mapping[str, Totals]:
    """The totals of each deployment, by id."""
    own: dict[str, list[Placement]] = {one.id: [] for one in snapshot.deployments}
    for placement in serving(snapshot, placements):
        if placement.deployment in own:
            own[placement.deployment].append(placement)
    kinds = {
        (node.id, device.index): device.device_type
        for node in snapshot.nodes
        for device in node.devices
    }
    prices = dict(snapshot.prices)
    return {
        one.id: _of(snapshot, one, own[one.id], kinds, prices)
        for one in sorted(snapshot.deployments, key=lambda each: each.id)
    }


def summed(
    snapshot: Snapshot, placements: Iterable[Placement], each: Mapping[str, Totals]
) -> Totals:
    """The totals of the fleet.

    Args:
        snapshot: What the placements are of.
        placements: All of them.
        each: By deployment, of the same placements.
    """
    sums = {
        one.name: sum(getattr(totals, one.name) for totals in each.values())
        for one in fields(Totals)
    }
    ready = [node for node in snapshot.nodes if node.is_ready]
    sums |= {
        "nodes_used": len({one.node for one in serving(snapshot, placements)}),
        "nodes_ready": len(ready),
        "devices_ready": sum(len(node.devices) for node in ready),
    }
    return Totals(**sums)


def _of(
    snapshot: Snapshot,
    deployment: Deployment,
    placements: list[Placement],
    kinds: Mapping[tuple[str, int], str],
    prices: Mapping[str, float],
) -> Totals:
    devices = [(one.node, index) for one in placements for index in one.devices]
    offline_wanted, deadline_wanted = _offline_wanted(snapshot, deployment)
    offline = min(offline_wanted, sum(one.offline_share for one in placements))
    return Totals(
        online_work_wanted=sum(one.online_work for one in deployment.classes),
        online_work_served=_online_served(snapshot, deployment, placements, kinds),
        offline_work_wanted=offline_wanted,
        offline_work_served=offline,
        deadline_work_wanted=deadline_wanted,
        deadline_work_served=min(deadline_wanted, offline),
        replicas=len(placements),
        missing_replicas=max(0, deployment.min_replicas - len(placements)),
        nodes_used=len({one.node for one in placements}),
        devices_used=len(devices),
        price_per_hour=sum(prices.get(kinds.get(device, ""), 0.0) for device in devices),
    )


def _offline_wanted(snapshot: Snapshot, deployment: Deployment) -> tuple[float, float]:
    """Offline work wanted, and the rate deadlines rest on; none before its stage allows."""
    if not deployment.stage.runs_offline:
        return 0.0, 0.0
    own = [one for one in snapshot.batches if one.deployment == deployment.id]
    least = sum(one.min_offline_work for one in own) if own else deployment.min_offline_work
    wanted = sum(one.offline_work for one in own) if own else deployment.offline_work
    return max(wanted, least), least


def _online_served(
    snapshot: Snapshot,
    deployment: Deployment,
    placements: list[Placement],
    kinds: Mapping[tuple[str, int], str],
) -> float:
    tightest = deployment.classes[0].id
    room: dict[str, float] = {}
    for one in placements:
        if one.slo_class == OFFLINE_ONLY:
            continue
        size = len(one.devices)
        frontier = frontier_for(
            snapshot,
            deployment.id,
            kinds.get((one.node, one.devices[0]), ""),
            tensor_parallel_size=None if size == deployment.tensor_parallel_size else size,
            slo_class=one.slo_class,
        )
        class_ = one.slo_class or tightest
        room[class_] = room.get(class_, 0.0) + online_limit(frontier)
    left = served = 0.0
    for each in deployment.classes:  # tightest first: what is left serves the looser ones
        left += room.get(each.id, 0.0)
        served += min(left, each.online_work)
        left -= min(left, each.online_work)
    return served
