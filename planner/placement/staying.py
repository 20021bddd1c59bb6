"""What a draft may not take away: replicas below min_replicas that could be kept.

Owns the difference between a seat that waits and one that is taken. Counts see none: a
replica on devices that others have yet to leave serves as much there as any. So a draft of
counts can give up what runs for a seat that is minutes away. Refuses to weigh. Invariants:
a deployment short of min_replicas keeps every good replica that no limit, pin or freeze
takes away, before anything waits for its devices; one that it lacks comes to free devices
first, wherever they are; a draft that lacks nothing is returned as it is.
"""

from collections import Counter

from planner.model import Allocation, ReplicaState
from planner.placement.counting import Counting
from planner.placement.fleet import Draft, Fleet, Seat, Standing
from planner.placement.neighbours import Present, are_apart
from planner.placement.seats import choose_devices


def stayed(fleet: Fleet, counting: Counting, draft: Draft) -> Draft:
    """The draft with what it may not take away.

    Args:
        fleet: The survey.
        counting: Of the fleet; its least counts say which seats are pinned.
        draft: A lawful one; what it keeps is lawful with all of it that is new.

    Returns:
        A lawful draft. Seats that waited for devices of what is kept are left out.
    """
    lacking = _lacking(fleet, draft)
    if not lacking:
        return draft
    change = _Change(fleet=fleet, counting=counting, draft=draft)
    for name in sorted(lacking):
        lack = lacking[name] - change.keep(name, lacking[name])
        change.hasten(name, lack)
    change.undo()
    return Draft(kept=frozenset(change.kept), new=tuple(change.new), waiting=tuple(change.waiting))


def _lacking(fleet: Fleet, draft: Draft) -> Counter[str]:
    """Replicas below min_replicas, of deployments that give one up or have one waiting."""
    present = Counter(seat.deployment for seat in draft.new)
    concerned = {seat.deployment for seat in draft.waiting}
    for replica, allocation in fleet.allocations.items():
        standing = fleet.standing[replica]
        if replica in draft.kept:
            present[allocation.deployment] += standing is not Standing.BROKEN
        elif standing is Standing.GOOD:
            concerned.add(allocation.deployment)
    lacks = {name: fleet.deployments[name].min_replicas - present[name] for name in concerned}
    return Counter({name: lack for name, lack in lacks.items() if lack > 0})


class _Change:
    """A draft as it changes."""

    def __init__(self, *, fleet: Fleet, counting: Counting, draft: Draft) -> None:
        self._fleet = fleet
        self._counting = counting
        self.kept = set(draft.kept)
        self.new = list(draft.new)
        self.waiting = list(draft.waiting)
        self._undone: Counter[str] = Counter()  # seats that no longer wait, by deployment

    def keep(self, name: str, most: int) -> int:
        """Keeps up to so many that were given up, each for a seat that waits; how many."""
        found = 0
        for one in self._given_up(name):
            if found >= most or self._left(name) <= 0:
                break
            hindered = [seat for seat in self.waiting if _hinders(self._fleet, seat, one)]
            if any(self._is_pinned(seat) for seat in hindered):
                continue
            found += 1
            self.kept.add(one.replica)
            own = [seat for seat in hindered if seat.deployment == name] or [
                seat
                for seat in self.waiting
                if seat.deployment == name and not self._is_pinned(seat)
            ]
            for seat in {*hindered, *own[-1:]}:
                self.waiting.remove(seat)
                self._undone[seat.deployment] += 1
            self._undone[name] -= 1
        return found

    def hasten(self, name: str, most: int) -> None:
        """Seats up to so many that wait where devices are free now."""
        for seat in [seat for seat in self.waiting if seat.deployment == name]:
            sooner = self._sooner(seat) if most > 0 and self._left(name) > 0 else None
            if sooner is not None:
                self.waiting.remove(seat)
                self.new.append(sooner)
                most -= 1

    def undo(self) -> None:
        """Keeps what was given up for seats that no longer wait."""
        for name in sorted(self._undone):
            for one in self._given_up(name):
                if self._undone[name] <= 0 or self._left(name) <= 0:
                    break
                if not any(_hinders(self._fleet, seat, one) for seat in self.waiting):
                    self.kept.add(one.replica)
                    self._undone[name] -= 1

    def _left(self, name: str) -> int:
        """How many more may be placed."""
        placed = sum(a.replica in self.kept for a in self._fleet.of(name))
        placed += sum(seat.deployment == name for seat in self.new)
        return self._fleet.deployments[name].max_replicas - placed

    def _given_up(self, name: str) -> list[Allocation]:
        """Good replicas that are not kept, those that run first."""
        given = [
            a
            for a in self._fleet.of(name)
            if self._fleet.standing[a.replica] is Standing.GOOD and a.replica not in self.kept
        ]
        return sorted(given, key=lambda a: (a.state is not ReplicaState.RUNNING, a.replica))

    def _is_pinned(self, seat: Seat) -> bool:
        key = self._counting.key(self._fleet, seat.deployment, seat.node, seat.devices)
        return key in self._counting.problem.least

    def _sooner(self, seat: Seat) -> Seat | None:
        """A seat of the same shape on devices that are free now and nobody waits beside."""
        fleet, problem = self._fleet, self._counting.problem
        if self._is_pinned(seat):
            return None
        kind = fleet.device_type(seat.node, seat.devices)
        shape = self._counting.shape_of[seat.deployment, kind, len(seat.devices)]
        present = Present(fleet)
        for one in self.new:
            present.takes(one)
        counts = self._counting.count(fleet, Draft(kept=frozenset(self.kept), new=tuple(self.new)))
        domains = Counter(
            fleet.nodes[a.node].failure_domain
            for a in fleet.of(seat.deployment)
            if a.replica in self.kept
        )
        awaited = {one.node for one in self.waiting if one is not seat}
        rank = {name: (domains[fleet.nodes[name].failure_domain], name) for name in fleet.free}
        for node in sorted(fleet.free, key=rank.__getitem__):
            cell = self._counting.cell_of.get((node, kind))
            if cell is None or node in awaited or (seat.deployment, node) in fleet.avoided:
                continue
            if counts.get((cell, shape), 0) >= problem.fits(cell, shape):
                continue
            taken = {d for one in self.new if one.node == node for d in one.devices}
            free = frozenset(
                d.index
                for d in fleet.nodes[node].devices
                if d.device_type == kind and d.index in fleet.free[node] and d.index not in taken
            )
            devices = choose_devices(free, len(seat.devices))
            if devices is not None:
                sooner = Seat(deployment=seat.deployment, node=node, devices=devices)
                if present.takes(sooner):
                    return sooner
        return None


def _hinders(fleet: Fleet, seat: Seat, kept: Allocation) -> bool:
    """Whether a seat waits for what a replica holds: devices, host memory, a node alone."""
    if seat.node != kept.node:
        return False
    needs = fleet.deployments[seat.deployment].host_memory_bytes
    holds = fleet.deployments[kept.deployment].host_memory_bytes
    return (
        not set(seat.devices).isdisjoint(kept.devices)
        or are_apart(fleet, seat.deployment, kept.deployment)
        or bool(fleet.nodes[seat.node].host_memory_bytes and needs and holds)
    )
