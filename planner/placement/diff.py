"""From what runs to what is planned: moves in groups.

Owns the order of a change. A replica that is replaced is removed only once its
replacement runs (`after`); one that yields its devices goes at once and what it makes
room for follows in a later round, when they are free. Refuses to place. Invariants: every
new placement has one ADD, every allocation that is no longer placed one REMOVE; a group
is whole in itself, so it can be applied or refused alone; groups that make room come first.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from planner.model import Allocation, Desired, Move, MoveKind, Placement, ReplicaState, Snapshot
from planner.placement.fleet import Fleet, Standing, survey

_STOPPING = frozenset({ReplicaState.DRAINING, ReplicaState.STOPPED})


def moves(
    snapshot: Snapshot,
    placements: Sequence[Placement],
    *,
    waiting: Sequence[Placement] = (),
) -> tuple[Move, ...]:
    """Moves that lead from the snapshot's allocations to the placements.

    Args:
        snapshot: What runs and what was already decided.
        placements: The plan's placements, in its order: `new:<i>` indexes them.
        waiting: Decided placements whose devices are not free yet; they explain removals.

    Returns:
        Moves with groups numbered from 1.
    """
    return moves_of(survey(snapshot), placements, waiting=waiting)


def moves_of(
    fleet: Fleet,
    placements: Sequence[Placement],
    *,
    waiting: Sequence[Placement],
    chosen: str = "",
) -> tuple[Move, ...]:
    """As `moves`, on a snapshot surveyed before.

    Args:
        fleet: The survey.
        placements: The plan's.
        waiting: Decided placements whose devices are not free yet.
        chosen: Why a replica goes that nothing but the plan lets go, where somebody chose
            the plan; "": a round did, to which it is surplus.
    """
    kept = {p.replica: p for p in placements if p.replica is not None}
    added: dict[str, list[tuple[str, Placement]]] = defaultdict(list)
    for i, placement in enumerate(placements):
        if placement.replica is None:
            added[placement.deployment].append((f"new:{i}", placement))
    changes = [
        _Change(
            fleet=fleet,
            deployment=name,
            kept=kept,
            added=added[name],
            waiting=waiting,
            chosen=chosen,
        )
        for name in sorted(
            {*fleet.deployments, *(a.deployment for a in fleet.allocations.values())}
        )
    ]
    swaps = [group for change in changes for group in change.replacements()]
    room = [group for change in changes for group in change.removals()]
    more = [group for change in changes for group in change.additions()]
    shares = [group for change in changes for group in change.adjustments()]
    groups = [*room, *swaps, *more, *shares]
    return tuple(
        replace(move, group=number)
        for number, group in enumerate(groups, start=1)
        for move in group
    )


@dataclass(slots=True, kw_only=True)
class _Change:
    """One deployment's moves. Methods are called in the order of `moves_of`."""

    fleet: Fleet
    deployment: str
    kept: dict[str, Placement]
    added: list[tuple[str, Placement]]
    waiting: Sequence[Placement]
    chosen: str
    removed: list[Allocation] = field(default_factory=list)
    paired: list[str] = field(default_factory=list)  # keys of the additions of this round

    def replacements(self) -> Iterator[list[Move]]:
        """Each new replica with the one it stands in for; the rest stays to be paired."""
        for allocation in self.fleet.of(self.deployment):
            standing = self.fleet.standing[allocation.replica]
            if allocation.replica in self.kept:
                continue
            if standing.is_keepable or self._is_stale(allocation):
                self.removed.append(allocation)
        self.removed.sort(key=lambda a: (_serves(a), a.replica))
        while self.removed and self.added:
            allocation = self.removed.pop(0)
            key, placement = self.added.pop(0)
            self.paired.append(key)
            reason = self._why_removed(allocation)
            yield [
                self._add(key, placement, reason=f"replaces {allocation.replica}: {reason}"),
                self._remove(allocation, after=(key,), reason=reason),
            ]

    def removals(self) -> Iterator[list[Move]]:
        """Removals that no new replica replaces."""
        for allocation in self.fleet.of(self.deployment):
            if self.fleet.standing[allocation.replica] is Standing.DROPPED:
                yield [self._remove(allocation, reason=self._why_removed(allocation))]
        for allocation in self.removed:
            after = self._successors(allocation)
            if after is not None and not _is_decided(allocation, after):
                reason = self._why_removed(allocation)
                yield [self._remove(allocation, after=after, reason=reason)]

    def additions(self) -> Iterator[list[Move]]:
        """New replicas that replace none."""
        for key, placement in self.added:
            yield [self._add(key, placement, reason=self._why_added())]

    def adjustments(self) -> Iterator[list[Move]]:
        """Shares and budgets that change, as one group: shares are relative."""
        group = [
            Move(
                group=0,
                kind=MoveKind.ADJUST,
                replica=allocation.replica,
                deployment=self.deployment,
                node=allocation.node,
                reason=_what_adjusts(allocation, self.kept[allocation.replica]),
            )
            for allocation in self.fleet.of(self.deployment)
            if allocation.replica in self.kept
            and _what_adjusts(allocation, self.kept[allocation.replica])
        ]
        if group:
            yield group

    def _is_stale(self, allocation: Allocation) -> bool:
        return (
            allocation.desired is Desired.STOPPED
            and allocation.state not in _STOPPING
            and not all(self._is_coming(replica) for replica in allocation.after)
        )

    def _is_coming(self, replica: str) -> bool:
        """Whether it runs, or is wanted and on its way."""
        return replica in self.kept and (
            self.fleet.standing[replica] is not Standing.BROKEN
            or self.fleet.allocations[replica].state is ReplicaState.RUNNING
        )

    def _successors(self, allocation: Allocation) -> tuple[str, ...] | None:
        """What has to run before an unpaired removal; None: it has to wait for a plan."""
        own = [a for a in self.fleet.of(self.deployment) if a.replica in self.kept]
        if not _serves(allocation) or self.deployment not in self.fleet.deployments:
            return ()
        wanted = self.fleet.deployments[self.deployment].min_replicas
        is_enough = sum(_serves(a) for a in own) >= wanted
        # Where devices cost something it may go for others that bear as much, once they run.
        is_free = self.fleet.snapshot.device_cost <= 0.0
        if is_enough and (is_free or self._yields_to(allocation) is not None):
            return ()
        coming = [a.replica for a in own if not _serves(a) and self._is_coming(a.replica)]
        keys = [*coming, *self.paired]
        if not keys and not is_enough and allocation.desired is Desired.STOPPED:
            return None
        return tuple(keys)

    def _yields_to(self, allocation: Allocation) -> str | None:
        for seat in self.waiting:
            if seat.node == allocation.node and set(seat.devices) & set(allocation.devices):
                return seat.deployment
        return None

    def _why_removed(self, allocation: Allocation) -> str:
        reason = _why_removed(self.fleet, allocation, chosen=self.chosen)
        beneficiary = self._yields_to(allocation)
        if beneficiary is not None and self.fleet.standing[allocation.replica] is Standing.GOOD:
            return f"yields its devices to deployment {beneficiary}"
        return reason

    def _why_added(self) -> str:
        deployment = self.fleet.deployments[self.deployment]
        own = [a for a in self.fleet.of(self.deployment) if a.replica in self.kept]
        if len(own) < deployment.min_replicas:
            return f"below min_replicas {deployment.min_replicas}"
        return (
            f"capacity for {deployment.online_work:.0f} online and "
            f"{deployment.offline_work:.0f} offline engine-ms/s"
        )

    def _add(self, key: str, placement: Placement, *, reason: str) -> Move:
        return Move(
            group=0,
            kind=MoveKind.ADD,
            replica=key,
            deployment=self.deployment,
            node=placement.node,
            reason=reason,
        )

    def _remove(self, allocation: Allocation, *, reason: str, after: tuple[str, ...] = ()) -> Move:
        return Move(
            group=0,
            kind=MoveKind.REMOVE,
            replica=allocation.replica,
            deployment=self.deployment,
            node=allocation.node,
            after=after,
            reason=reason,
        )


def _serves(allocation: Allocation) -> bool:
    return allocation.state is ReplicaState.RUNNING


def _is_decided(allocation: Allocation, after: tuple[str, ...]) -> bool:
    return allocation.desired is Desired.STOPPED and allocation.after == after


def _why_removed(fleet: Fleet, allocation: Allocation, *, chosen: str) -> str:
    node = fleet.nodes.get(allocation.node)
    deployment = fleet.deployments.get(allocation.deployment)
    if deployment is None:
        return f"deployment {allocation.deployment} is deleted"
    if node is None:
        return f"node {allocation.node} is removed"
    if not node.is_ready:
        return f"node {node.id} is lost"
    if allocation.state is ReplicaState.FAILED:
        return f"it failed on node {node.id}"
    if node.is_draining:
        return f"node {node.id} is draining"
    if allocation.generation < deployment.generation:
        return f"generation {allocation.generation} is replaced by {deployment.generation}"
    if allocation.desired is Desired.STOPPED:
        return "its removal was decided before"
    if chosen:
        return chosen
    if deployment.spread:
        return "surplus, or spread over failure domains"
    what = "that is worth its devices" if fleet.snapshot.device_cost > 0.0 else "for it to do"
    return f"surplus: max_replicas {deployment.max_replicas}, or nothing {what}"


def _what_adjusts(allocation: Allocation, placement: Placement) -> str:
    changes = [
        f"{name} {old:g} to {new:g}"
        for name, old, new in (
            ("online_share", allocation.online_share, placement.online_share),
            ("offline_share", allocation.offline_share, placement.offline_share),
            ("latency_budget_ms", allocation.latency_budget_ms, placement.latency_budget_ms),
        )
        if abs(old - new) > 1e-9
    ]
    return ", ".join(changes)
