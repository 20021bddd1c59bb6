"""The way back to an earlier plan's placement, as far as the fleet still allows.

Pure. Owns what is kept, made anew or given up on that way. Refuses to order moves (the
diff does) and to break rules (`verify` does). Invariants: a replica in a seat of the
earlier plan is kept; a replica of today stands in for each that cannot be restored, while
there are some; deployments that did not exist then, and what is frozen, stay as they are.
Once nothing is left to do it says so, so that rounds may go on as usual.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from controlplane.rounds.drafted import drafted
from planner.model import Allocation, Deployment, Misfit, Node, Placement, Plan, Snapshot
from planner.placement.fleet import Standing, survey
from planner.placement.verify import Violation, verify

SOLVER = "rollback"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoration:
    """The next plan on the way back, and what of the earlier one is out of reach."""

    plan: Plan
    unrestored: tuple[Misfit, ...]
    restored: int  # placements of the earlier plan that stand, or will by this plan

    @property
    def is_reached(self) -> bool:
        """Whether nothing is left to do."""
        moves = {one.kind.value for one in self.plan.moves}
        return not self.plan.waiting and moves <= {"adjust"}


def restored(
    snapshot: Snapshot, target: Sequence[Placement], *, untouched: Collection[str] = ()
) -> Restoration:
    """The plan that comes as near to the earlier placement as can be now.

    Args:
        snapshot: The state now.
        target: Placements of the earlier plan, with their replicas of then.
        untouched: Deployments whose replicas stay, e.g. those made since.
    """
    way = _Way(snapshot, untouched=frozenset(untouched))
    for placement in sorted(target, key=lambda one: (one.deployment, one.node, one.devices)):
        way.match(placement)
    way.protect()
    for placement in way.unmatched:
        way.seat(placement)
    way.substitute()
    plan = way.plan()
    while way.give_up(plan, verify(snapshot, plan)):
        way.substitute()
        plan = way.plan()
    return Restoration(
        plan=plan,
        unrestored=tuple(way.misfits),
        restored=len(way.matched) + len(way.new) + len(way.waiting),
    )


class _Way:
    """The draft being made. Its methods are called in the order of `restored`."""

    def __init__(self, snapshot: Snapshot, *, untouched: frozenset[str]) -> None:
        fleet = survey(snapshot)
        self._snapshot = snapshot
        self._untouched = untouched
        self._nodes = fleet.nodes
        self._deployments = fleet.deployments
        self._holding = fleet.allocations
        self._keepable = {
            replica: one
            for replica, one in fleet.allocations.items()
            if fleet.standing[replica].is_keepable
        }
        self._serving = {
            replica for replica in self._keepable if fleet.standing[replica] is not Standing.BROKEN
        }
        self.matched: set[str] = set()  # replicas
        self.kept: dict[str, Allocation] = {}
        self.unmatched: list[Placement] = []
        self.new: list[Placement] = []
        self.waiting: list[Placement] = []
        self.misfits: list[Misfit] = []
        self._lacking: Counter[str] = Counter()  # deployment -> not restored

    def match(self, placement: Placement) -> None:
        """Keeps the replica that has the seat now: that of then, or one in its place."""
        seat = (placement.deployment, placement.node, placement.devices)
        for one in self._keepable.values():
            if (one.deployment, one.node, one.devices) == seat and one.replica not in self.matched:
                self.matched.add(one.replica)
                self.kept[one.replica] = one
                return
        self.unmatched.append(placement)

    def protect(self) -> None:
        """Keeps what the way back may not touch."""
        for one in self._keepable.values():
            node, deployment = self._nodes[one.node], self._deployments[one.deployment]
            if one.deployment in self._untouched or node.is_frozen or deployment.is_frozen:
                self.kept[one.replica] = one

    def seat(self, placement: Placement) -> None:
        """Makes a replica anew where it was, now or once the devices are free."""
        misfit = self._misfit(placement)
        if misfit is not None:
            self.misfits.append(misfit)
            self._lacking[placement.deployment] += 1
            return
        seat = Placement(
            replica=None,
            deployment=placement.deployment,
            node=placement.node,
            devices=placement.devices,
            slo_class=placement.slo_class,
        )
        held = any(_overlap(one, placement) for one in self._holding.values())
        (self.waiting if held else self.new).append(seat)

    def substitute(self) -> None:
        """Keeps a replica of today for each one that cannot be restored."""
        wanted = [*self.new, *self.waiting]
        for deployment, count in sorted(self._lacking.items()):
            spare = [
                one
                for one in self._keepable.values()
                if one.deployment == deployment
                and one.replica not in self.kept
                and not any(_overlap(one, seat) for seat in wanted)
            ]
            spare.sort(key=lambda one: (one.replica not in self._serving, one.replica))
            room = self._room(deployment)
            for one in spare[: min(count, room)]:
                self.kept[one.replica] = one
        self._lacking.clear()

    def plan(self) -> Plan:
        """What is kept, what is new and what waits, as a plan."""
        kept = (
            Placement(
                replica=one.replica, deployment=one.deployment, node=one.node, devices=one.devices
            )
            for one in self.kept.values()
        )
        return drafted(
            self._snapshot, (*kept, *self.new), waiting=tuple(self.waiting), solver=SOLVER
        )

    def give_up(self, plan: Plan, broken: Sequence[Violation]) -> bool:
        """Gives up seats that break a rule of many: groups, anti-affinity, host memory.

        At most one a node: what breaks a rule beside it may be well without it.

        Returns:
            Whether any was given up.
        """
        seats = {f"new:{i}": one for i, one in enumerate(plan.placements) if one.replica is None}
        seats |= {f"waiting:{i}": one for i, one in enumerate(plan.waiting)}
        given_up: set[str] = set()  # nodes
        for violation in broken:
            own = seats.get(violation.subject) or self._largest(violation.subject)
            if own is None or own.node in given_up:
                continue
            given_up.add(own.node)
            self._lacking[own.deployment] += 1
            why = f"{violation.message}; change the spec or the node first"
            self.misfits.append(_misfit(own, violation.rule, 1, 0, why))
            self.new = [one for one in self.new if not _overlap(one, own)]
            self.waiting = [one for one in self.waiting if not _overlap(one, own)]
        return bool(given_up)

    def _largest(self, node: str) -> Placement | None:
        """The seat on a node that takes most host memory."""
        here = [one for one in (*self.new, *self.waiting) if one.node == node]
        return max(
            here,
            key=lambda one: (self._deployments[one.deployment].host_memory_bytes, one.devices),
            default=None,
        )

    def _room(self, deployment: str) -> int:
        """Replicas the deployment may still have."""
        owner = self._deployments.get(deployment)
        own = sum(one.deployment == deployment for one in self.kept.values())
        own += sum(one.deployment == deployment for one in (*self.new, *self.waiting))
        return max(0, owner.max_replicas - own) if owner else 0

    def _misfit(self, placement: Placement) -> Misfit | None:
        """Why a replica cannot be where it was."""
        deployment = self._deployments.get(placement.deployment)
        node = self._nodes.get(placement.node)
        size = len(placement.devices)
        if deployment is None:
            return _misfit(placement, "deleted", 1, 0, "is deleted; apply it again first")
        if node is None:
            return _misfit(placement, "devices", size, 0, f"node {placement.node} is gone")
        if deployment.is_frozen or node.is_frozen:
            what = "the deployment" if deployment.is_frozen else f"node {node.id}"
            return _misfit(placement, "frozen", size, 0, f"{what} is frozen; thaw it first")
        if not node.takes_new:
            how = (
                "is not ready; start its agent"
                if not node.is_ready
                else f"is {'draining' if node.is_draining else 'cordoned'}; uncordon it first"
            )
            return _misfit(placement, "cordoned", size, 0, f"node {node.id} {how}")
        return self._shape_misfit(placement, deployment, node) or self._held_misfit(placement)

    def _shape_misfit(
        self, placement: Placement, deployment: Deployment, node: Node
    ) -> Misfit | None:
        size = len(placement.devices)
        if size not in deployment.tensor_parallel_sizes:
            return _misfit(
                placement,
                "tensor_parallel",
                deployment.tensor_parallel_size,
                size,
                f"had {size} devices on node {node.id}, its spec now says"
                f" {deployment.tensor_parallel_size}; apply the earlier spec first",
            )
        devices = [one for one in node.devices if one.index in placement.devices]
        if len(devices) < size:
            return _misfit(
                placement,
                "devices",
                size,
                len(devices),
                f"had devices {list(placement.devices)} of node {node.id}, which has"
                f" {len(node.devices)} now",
            )
        kinds = sorted({one.device_type for one in devices})
        if len(kinds) > 1 or (deployment.device_types and kinds[0] not in deployment.device_types):
            return _misfit(
                placement,
                "device_type",
                size,
                0,
                f"may not run on {', '.join(kinds)} of node {node.id}; apply the earlier spec"
                " first",
            )
        needed = deployment.bytes_per_device_of(size)
        least = min(one.memory_bytes for one in devices)
        if least < needed:
            return _misfit(
                placement,
                "memory",
                needed,
                least,
                f"needs {needed} bytes a device, node {node.id} has {least}; apply the earlier"
                " spec first",
            )
        return None

    def _held_misfit(self, placement: Placement) -> Misfit | None:
        holder = next(
            (one for one in self.kept.values() if _overlap(one, placement)),
            next((one for one in (*self.new, *self.waiting) if _overlap(one, placement)), None),
        )
        if holder is not None:
            return _misfit(
                placement,
                "devices",
                len(placement.devices),
                0,
                f"devices {list(placement.devices)} of node {placement.node} are held by"
                f" deployment {holder.deployment}, which stays",
            )
        if self._room(placement.deployment) == 0:
            most = self._deployments[placement.deployment].max_replicas
            return _misfit(
                placement, "capacity", most + 1, most, f"max_replicas is {most} now; raise it first"
            )
        return None


def _overlap(one: Allocation | Placement, other: Placement) -> bool:
    return one.node == other.node and bool(set(one.devices) & set(other.devices))


def _misfit(
    placement: Placement, dimension: str, needed: float, available: float, message: str
) -> Misfit:
    was = f"deployment {placement.deployment}: replica {placement.replica or '(new)'}"
    return Misfit(
        deployment=placement.deployment,
        node=placement.node,
        dimension=dimension,
        needed=float(needed),
        available=float(available),
        message=f"{was} is not restored: {message}",
    )
