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

from controlplane.rounds.drafted import ROLLBACK, drafted
from controlplane.rounds.unrestored import closed, misshapen, unrestored
from planner.model import Allocation, Misfit, Placement, Plan, Snapshot
from planner.placement.fleet import Standing, survey
from planner.placement.verify import Violation, verify


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
        self._held = {
            (one.node, device) for one in fleet.allocations.values() for device in one.devices
        }
        self._keepable = {
            replica: one
            for replica, one in fleet.allocations.items()
            if fleet.standing[replica].is_keepable
        }
        self._serving = {
            replica for replica in self._keepable if fleet.standing[replica] is not Standing.BROKEN
        }
        self._seated = {
            (one.deployment, one.node, one.devices): one for one in self._keepable.values()
        }
        self._counts: Counter[str] = Counter()  # deployment -> replicas it will have
        self._taken: dict[tuple[str, int], str] = {}  # device -> deployment that will have it
        self.matched: set[str] = set()  # replicas
        self.kept: dict[str, Allocation] = {}
        self.unmatched: list[Placement] = []
        self.new: list[Placement] = []
        self.waiting: list[Placement] = []
        self.misfits: list[Misfit] = []
        self._lacking: Counter[str] = Counter()  # deployment -> not restored

    def match(self, placement: Placement) -> None:
        """Keeps the replica that has the seat now: that of then, or one in its place."""
        one = self._seated.get((placement.deployment, placement.node, placement.devices))
        if one is None or one.replica in self.matched:
            self.unmatched.append(placement)
            return
        self.matched.add(one.replica)
        self._keep(one)

    def protect(self) -> None:
        """Keeps what the way back may not touch."""
        for one in self._keepable.values():
            node, deployment = self._nodes[one.node], self._deployments[one.deployment]
            if one.deployment in self._untouched or node.is_frozen or deployment.is_frozen:
                self._keep(one)

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
        held = any((seat.node, device) in self._held for device in seat.devices)
        (self.waiting if held else self.new).append(seat)
        self._take(seat)

    def substitute(self) -> None:
        """Keeps a replica of today for each one that cannot be restored."""
        for deployment, count in sorted(self._lacking.items()):
            spare = [
                one
                for one in self._keepable.values()
                if one.deployment == deployment
                and one.replica not in self.kept
                and not any((one.node, device) in self._taken for device in one.devices)
            ]
            spare.sort(key=lambda one: (one.replica not in self._serving, one.replica))
            room = self._room(deployment)
            for one in spare[: min(count, room)]:
                self._keep(one)
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
            self._snapshot, (*kept, *self.new), waiting=tuple(self.waiting), solver=ROLLBACK
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
            self.misfits.append(unrestored(own, violation.rule, 1, 0, why))
            self.new = [one for one in self.new if not _overlap(one, own)]
            self.waiting = [one for one in self.waiting if not _overlap(one, own)]
            self._counts[own.deployment] -= 1
            for device in own.devices:
                self._taken.pop((own.node, device), None)
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
        return max(0, owner.max_replicas - self._counts[deployment]) if owner else 0

    def _keep(self, one: Allocation) -> None:
        if one.replica not in self.kept:
            self.kept[one.replica] = one
            self._take(one)

    def _take(self, one: Allocation | Placement) -> None:
        self._counts[one.deployment] += 1
        self._taken |= dict.fromkeys(((one.node, device) for device in one.devices), one.deployment)

    def _misfit(self, placement: Placement) -> Misfit | None:
        """Why a replica cannot be where it was."""
        deployment = self._deployments.get(placement.deployment)
        node = self._nodes.get(placement.node)
        if deployment is None:
            return unrestored(placement, "deleted", 1, 0, "is deleted; apply it again first")
        if node is None:
            return unrestored(placement, "devices", 1, 0, f"node {placement.node} is gone")
        return (
            closed(placement, deployment, node)
            or misshapen(placement, deployment, node)
            or self._held_misfit(placement)
        )

    def _held_misfit(self, placement: Placement) -> Misfit | None:
        devices = ((placement.node, device) for device in placement.devices)
        holder = next((self._taken[one] for one in devices if one in self._taken), None)
        if holder is not None:
            return unrestored(
                placement,
                "devices",
                len(placement.devices),
                0,
                f"devices {list(placement.devices)} of node {placement.node} are held by"
                f" deployment {holder}, which stays",
            )
        if self._room(placement.deployment) == 0:
            most = self._deployments[placement.deployment].max_replicas
            return unrestored(
                placement, "capacity", most + 1, most, f"max_replicas is {most} now; raise it first"
            )
        return None


def _overlap(one: Placement, other: Placement) -> bool:
    return one.node == other.node and bool(set(one.devices) & set(other.devices))
