"""What every rival needs to make a plan: who fits where, and what replicas bear together.

Owns the only calls of rivals into `planner.placement`. Refuses to choose how many replicas a
model gets; that is each rival's. A plan keeps what runs where it is, drops what is beyond the
count, and seats the rest on the fullest node that fits.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from planner.model import (
    Allocation,
    Deployment,
    Desired,
    Frontier,
    Placement,
    Plan,
    PlanStatus,
    ReplicaState,
    Snapshot,
)
from planner.placement.diff import moves
from planner.placement.fleet import survey
from planner.placement.flow import carry
from planner.placement.shares import with_shares

_ENOUGH = 1.0 - 1e-6


@dataclass(slots=True)
class Seating:
    """Free devices, by node, as seats are taken."""

    snapshot: Snapshot
    free: dict[str, list[int]] = field(init=False)
    kinds: dict[str, str] = field(init=False)  # node -> device type; its devices are alike

    def __post_init__(self) -> None:
        held: dict[str, set[int]] = {}
        for one in self.snapshot.allocations:
            if one.holds_devices:
                held.setdefault(one.node, set()).update(one.devices)
        self.free = {
            node.id: [d.index for d in node.devices if d.index not in held.get(node.id, ())]
            for node in self.snapshot.nodes
            if node.takes_new
        }
        self.kinds = {node.id: node.devices[0].device_type for node in self.snapshot.nodes}

    def kept(self, deployment: str) -> list[Allocation]:
        """Its replicas that may go on, those that serve first."""
        ready = {node.id for node in self.snapshot.nodes if node.is_ready}
        own = [
            one
            for one in self.snapshot.allocations
            if one.deployment == deployment
            and one.desired is Desired.RUNNING
            and one.node in ready
            and one.state is not ReplicaState.FAILED
        ]
        return sorted(own, key=lambda a: (a.state is not ReplicaState.RUNNING, a.replica))

    def room(self, deployment: Deployment) -> Counter[str]:
        """How many more of it fit, by device type."""
        found: Counter[str] = Counter()
        size = deployment.tensor_parallel_size
        for node, indices in self.free.items():
            if self.kinds[node] in deployment.device_types:
                found[self.kinds[node]] += len(indices) // size
        return found

    def seat(self, deployment: Deployment, device_type: str) -> Placement | None:
        """Takes the fullest node that fits."""
        size = deployment.tensor_parallel_size
        nodes = [
            (len(indices), node)
            for node, indices in self.free.items()
            if self.kinds[node] == device_type and len(indices) >= size
        ]
        if not nodes:
            return None
        _, node = min(nodes)
        devices = tuple(self.free[node][:size])
        del self.free[node][:size]
        return Placement(replica=None, deployment=deployment.id, node=node, devices=devices)


def seated(seating: Seating, deployment: Deployment, targets: Mapping[str, int]) -> list[Placement]:
    """The deployment's replicas, as near to so many of each type as there is room."""
    placements: list[Placement] = []
    left = dict(targets)
    for one in seating.kept(deployment.id):
        kind = seating.kinds[one.node]
        if left.get(kind, 0) > 0:
            left[kind] -= 1
            placements.append(_as_placement(one))
    for kind, count in sorted(left.items()):
        for _ in range(count):
            placement = seating.seat(deployment, kind)
            if placement is None:
                break
            placements.append(placement)
    return placements


def planned(snapshot: Snapshot, placements: Sequence[Placement], *, by: str) -> Plan:
    """A plan of these placements, with the product's own shares and moves."""
    shared = _whole(with_shares(survey(snapshot), placements))
    return Plan(
        base_revision=snapshot.revision,
        status=PlanStatus.FEASIBLE,
        solver=by,
        objective=0.0,
        bound=0.0,
        terms=(),
        placements=shared,
        moves=moves(snapshot, shared),
    )


def _whole(placements: Sequence[Placement]) -> tuple[Placement, ...]:
    """The same with a deployment's online shares summing to 1: committed shares that were
    kept as near enough may not, where a replica went.
    """
    sums: defaultdict[str, float] = defaultdict(float)
    for one in placements:
        sums[one.deployment] += one.online_share
    return tuple(
        replace(one, online_share=one.online_share / sums[one.deployment])
        if sums[one.deployment] > 0.0
        else one
        for one in placements
    )


def frontiers_of(snapshot: Snapshot) -> dict[str, dict[str, Frontier]]:
    """By deployment and device type."""
    found: dict[str, dict[str, Frontier]] = {}
    for one in snapshot.frontiers:
        found.setdefault(one.deployment, {})[one.device_type] = one.frontier
    return found


def bears(
    counts: Mapping[str, int],
    frontiers: Mapping[str, Frontier],
    *,
    online_work: float,
    offline_work: float,
) -> bool:
    """Whether replicas carry all of it together."""
    known = {kind: float(count) for kind, count in counts.items() if count > 0}
    if not known:
        return online_work <= 0.0 and offline_work <= 0.0
    flow = carry(
        known,
        {kind: frontiers[kind] for kind in known},
        online_work=online_work,
        offline_work=offline_work,
    )
    return flow.online_work >= online_work * _ENOUGH and flow.offline_work >= offline_work * _ENOUGH


def wanted_offline(deployment: Deployment) -> float:
    """Offline work a rival plans for: what deadlines rest on."""
    return deployment.min_offline_work if deployment.stage.runs_offline else 0.0


def _as_placement(one: Allocation) -> Placement:
    return Placement(
        replica=one.replica, deployment=one.deployment, node=one.node, devices=one.devices
    )
