"""What a draft may not take away: replicas that are needed, or soon would be, and can stay.

Owns the difference between a seat that waits and one that is taken. Counts see none: a
replica on devices that others have yet to leave serves as much there as any. So a draft of
counts can give up what runs for a seat that is minutes away. Refuses to weigh. Invariants:
a deployment short of min_replicas keeps every good replica that no limit, pin or freeze
takes away, before anything waits for its devices; one that it lacks comes to free devices
first, wherever they are; no replica moves for spread alone onto devices of one that a demand
`DEMAND_TOLERANCE` higher would want back; where devices cost something, none is given up that
today's demand needs until what replaces it can sit, unless somebody needs its devices who is
short without; any other draft is returned as it is.
"""

from collections import Counter
from collections.abc import Iterable

from planner.model import Allocation, ReplicaState
from planner.placement.counting import Counting
from planner.placement.counts.reserve import DEMAND_TOLERANCE, is_borne
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
    change = _Change(fleet=fleet, counting=counting, draft=draft)
    change.steady()
    lacking = _lacking(fleet, change.draft)
    for name in sorted(lacking):
        lack = lacking[name] - change.keep(name, lacking[name])
        change.hasten(name, lack)
    if fleet.snapshot.device_cost > 0.0:
        change.bridge()
    change.undo()
    return change.draft


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

    @property
    def draft(self) -> Draft:
        """As it is now."""
        return Draft(kept=frozenset(self.kept), new=tuple(self.new), waiting=tuple(self.waiting))

    def steady(self) -> None:
        """Takes back moves for spread alone that cost a replica which may be wanted again."""
        for seat in list(self.waiting):
            if not self._is_for_spread(seat):
                continue
            yields = Counter(
                one.deployment
                for replica, one in self._fleet.allocations.items()
                if one.node == seat.node
                and replica not in self.kept
                and self._fleet.standing[replica] is Standing.GOOD
                and not set(one.devices).isdisjoint(seat.devices)
            )
            if any(name != seat.deployment and self._is_wanted_again(name) for name in yields):
                self.waiting.remove(seat)
                self._undone[seat.deployment] += 1
                self._undone.update(yields)
                self.undo()

    def _is_for_spread(self, seat: Seat) -> bool:
        """Whether a seat is one replica's move between domains, and nothing else's."""
        fleet, name = self._fleet, seat.deployment
        deployment = fleet.deployments[name]
        is_kept_to = any(cls.failover_ratio > 0.0 for cls in deployment.classes)
        if not deployment.spread or is_kept_to or self._is_pinned(seat):
            return False
        kind = fleet.device_type(seat.node, seat.devices)
        return any(
            fleet.device_type(one.node, one.devices) == kind
            and len(one.devices) == len(seat.devices)
            and not any(_hinders(fleet, other, one) for other in self.waiting if other is not seat)
            for one in self._given_up(name)
        )

    def _is_wanted_again(self, name: str) -> bool:
        """Whether what is left bears less than a demand a little above today's, and than before."""
        wanted = self._counting.problem.wanted[self._counting.deployments.index(name)]
        work = (1.0 + DEMAND_TOLERANCE) * sum(cls.work for cls in wanted.classes)
        left = [(s.node, s.devices) for s in (*self.new, *self.waiting) if s.deployment == name]
        left += [(a.node, a.devices) for a in self._fleet.of(name) if a.replica in self.kept]
        held = [
            (a.node, a.devices)
            for a in self._fleet.of(name)
            if self._fleet.standing[a.replica] is Standing.GOOD
        ]
        return self._bears(name, left) < min(work, self._bears(name, held)) - 1e-9

    def _bears(self, name: str, places: Iterable[tuple[str, tuple[int, ...]]]) -> float:
        """Online work of the tightest class on such places, replica-equivalents."""
        keys = [self._counting.key(self._fleet, name, node, devices) for node, devices in places]
        shapes = self._counting.problem.shapes
        return sum(shapes[key[1]].modes[0].max_online for key in keys if key is not None)

    def bridge(self) -> None:
        """Keeps what is given up while the rest bears too little and what replaces it waits.

        Of seats that wait, first those are sought that can sit at once.
        """
        for name in sorted({seat.deployment for seat in self.waiting}):
            lack = self._short(name)
            if lack:
                self.hasten(name, lack)
                self.keep(name, self._short(name), is_yielding=True)

    def _short(self, name: str) -> int:
        """How many of its seats that wait its demand needs now."""
        counts: Counter[tuple[int, int]] = Counter()
        d = self._counting.deployments.index(name)
        waiting = [(s.node, s.devices) for s in self.waiting if s.deployment == name]
        present = [(s.node, s.devices) for s in self.new if s.deployment == name]
        present += [(a.node, a.devices) for a in self._fleet.of(name) if a.replica in self.kept]
        for node, devices in present:
            key = self._counting.key(self._fleet, name, node, devices)
            if key is not None:
                counts[key] += 1
        short = 0
        while short < len(waiting) and not is_borne(self._counting.problem, d, counts):
            key = self._counting.key(self._fleet, name, *waiting[short])
            short += 1
            if key is not None:
                counts[key] += 1
        return short

    def _is_needy(self, name: str) -> bool:
        """Whether a deployment is short with all that runs of it."""
        problem, d = self._counting.problem, self._counting.deployments.index(name)
        own = {
            key: count
            for key, count in problem.held.items()
            if problem.shapes[key[1]].deployment == d
        }
        is_few = sum(own.values()) < problem.wanted[d].min_replicas
        return is_few or not is_borne(problem, d, own)

    def keep(self, name: str, most: int, *, is_yielding: bool = False) -> int:
        """Keeps up to so many that were given up; how many.

        Where others wait for one, it is kept for good and a seat of its own waits no more,
        or all would wait for each other; if `is_yielding`, not where they are short without.
        """
        found = 0
        for one in self._given_up(name):
            if found >= most or self._left(name) <= 0:
                break
            hindered = [seat for seat in self.waiting if _hinders(self._fleet, seat, one)]
            others = {seat.deployment for seat in hindered if seat.deployment != name}
            if is_yielding and any(self._is_needy(other) for other in others):
                continue
            if any(self._is_pinned(seat) for seat in hindered):
                continue
            found += 1
            self.kept.add(one.replica)
            if not any(seat.deployment != name for seat in hindered):
                for seat in hindered:
                    self.waiting.remove(seat)
                continue  # nobody else is to come: it goes once what waits has come
            own = [
                seat
                for seat in self.waiting
                if seat.deployment == name and seat not in hindered and not self._is_pinned(seat)
            ]
            for seat in [*hindered, *own[-1:]]:
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
