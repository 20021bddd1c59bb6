"""Counts made concrete: which replicas stay, and nodes and devices for the others.

Owns the choice inside a cell. Sticky: a replica that is kept keeps node and devices.
Where devices are free in pieces too small for a larger replica, smaller ones of the same
cell move over for it, as few as make room; where that finds none, it sits in another cell of
its device type, if it can in the same failure domain. Refuses to weigh: counts that find no
seat anywhere are left out, and the standing of what was seated shows it. Deterministic;
larger replicas sit first, on the fullest node that fits, nodes that hold their weights before
others.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from math import inf

from planner.model import Allocation
from planner.placement.counting import Counting
from planner.placement.counts.problem import Counts
from planner.placement.counts.reserve import is_borne
from planner.placement.fleet import Draft, Fleet, Seat, Standing, is_frozen
from planner.placement.neighbours import Present, are_apart
from planner.placement.seats import choose_devices, keep_rank
from planner.placement.staying import stayed


def seated(fleet: Fleet, counting: Counting, counts: Counts) -> Draft:
    """A draft with these counts, as far as seats are found.

    Args:
        fleet: The survey the counting was made from.
        counting: What the counts stand for.
        counts: Good, new and waiting replicas by (cell, shape).
    """
    room = _Room(fleet=fleet, counting=counting)
    room.hold_due()
    problem = counting.problem
    held = _held(fleet, counting)
    may_be = {key: max(problem.fits(*key), len(held.get(key, ()))) for key in counts}
    stuck = Counter(a.deployment for r, a in fleet.allocations.items() if _is_stuck(fleet, r))
    left = [
        one.max_replicas - stuck[name]
        for one, name in zip(problem.wanted, counting.deployments, strict=True)
    ]
    stays = [
        (not is_frozen(fleet, a), rank, a)
        for key, own in held.items()
        for rank, a in enumerate(sorted(own, key=lambda a: keep_rank(fleet, a)))
        if rank < counts.get(key, 0) or is_frozen(fleet, a)
    ]
    stays.sort(key=lambda stay: (stay[0], keep_rank(fleet, stay[2])))
    for is_free, _, a in stays:
        d = counting.deployments.index(a.deployment)
        if left[d] > 0 or not is_free:
            room.keep(a)
            left[d] -= 1
    wanted: list[tuple[int, int]] = []
    for key in sorted(counts):
        d = problem.shapes[key[1]].deployment
        more = min(counts[key], may_be[key]) - len(held.get(key, ()))
        more = max(0, min(more, left[d]))
        wanted += [key] * more
        left[d] -= more
    wanted.sort(key=lambda key: (key not in problem.least, -counting.shapes[key[1]][2], key))
    if problem.max_moves is not None:
        del wanted[problem.max_moves :]
        room.spare_moves = problem.max_moves - len(wanted)
    unseated = [key for key in wanted if not room.seat(key) and not room.make_room(key)]
    for key in unseated:
        if key not in problem.least:  # a pin is met on its node alone
            room.seat_elsewhere(key)
    return stayed(fleet, counting, room.draft())


def _held(fleet: Fleet, counting: Counting) -> dict[tuple[int, int], list[Allocation]]:
    held: dict[tuple[int, int], list[Allocation]] = defaultdict(list)
    for replica, allocation in fleet.allocations.items():
        if fleet.standing[replica] is Standing.GOOD:
            key = counting.key(fleet, allocation.deployment, allocation.node, allocation.devices)
            if key is not None:
                held[key].append(allocation)
    return held


@dataclass(slots=True, kw_only=True)
class _Room:
    """Devices as they fill up: those nobody holds now, and those free once others stopped."""

    fleet: Fleet
    counting: Counting
    kept: dict[str, Allocation] = field(default_factory=dict)
    seats: list[tuple[tuple[int, int], Seat]] = field(default_factory=list)
    _devices: dict[tuple[str, str], frozenset[int]] = field(default_factory=dict)
    _taken: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    _host: Counter[str] = field(default_factory=Counter)
    _beside: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    _last: tuple[tuple[int, int], tuple[bool, bool, int, str]] | None = None
    """Of the seat found last, where nothing was taken or given since: its key and rank."""
    spare_moves: float = inf  # beyond one for each replica that is to be seated

    def hold_due(self) -> None:
        """Takes the room of what serves until it is replaced, or is frozen where it is."""
        for replica, allocation in self.fleet.allocations.items():
            if self.fleet.standing[replica] is Standing.DUE or _is_stuck(self.fleet, replica):
                self._take(allocation.deployment, allocation.node, allocation.devices)

    def keep(self, allocation: Allocation) -> None:
        """Keeps a replica where it is."""
        self.kept[allocation.replica] = allocation
        self._take(allocation.deployment, allocation.node, allocation.devices)

    def seat(self, key: tuple[int, int]) -> bool:
        """Seats one more replica of a cell and shape; whether there was room."""
        cell, shape = key
        name, kind, slots = self.counting.shapes[shape]
        model = self.fleet.deployments[name].model
        best: tuple[tuple[bool, bool, int, str], frozenset[int]] | None = None
        last = self._last if self._last is not None and self._last[0] == key else None
        nodes = self.counting.cells[cell]
        for node in nodes if last is None else (last[1][3], *nodes):
            room = self._room(node, kind)
            if len(room) < slots or not self._may(name, node):
                continue
            now = room & self.fleet.free.get(node, frozenset())
            is_cold = model not in self.fleet.nodes[node].warm_models
            rank = (len(now) < slots, is_cold, len(room), node)
            if best is None or rank < best[0]:
                best = rank, now if len(now) >= slots else room
            if best[0][:2] == (False, False) and best[0][2] == slots:
                break  # no seat is better
            if last is not None and (rank[:2], node) == (last[1][:2], last[1][3]):
                break  # the best before, fuller now, and no other has changed
        if best is None:
            return False
        devices = choose_devices(best[1], slots)
        assert devices is not None  # there are as many
        seat = Seat(deployment=name, node=best[0][3], devices=devices)
        self.seats.append((key, seat))
        self._take(seat.deployment, seat.node, seat.devices)
        self._last = key, best[0]
        return True

    def seat_elsewhere(self, key: tuple[int, int]) -> bool:
        """Seats it in another cell of its device type, first in the same failure domain."""
        cell, shape = key
        problem = self.counting.problem
        cells = problem.cells
        present = Counter(seated for seated, _ in self.seats)
        present.update(self._key(a) for a in self.kept.values())
        others = [
            c
            for c, other in enumerate(cells)
            if c != cell
            and other.kind == cells[cell].kind
            and present[c, shape] < problem.fits(c, shape)
        ]
        others.sort(key=lambda c: (cells[c].domain != cells[cell].domain, c))
        return any(self.seat((c, shape)) for c in others)

    def make_room(self, key: tuple[int, int]) -> bool:
        """Moves smaller replicas of the cell over so that one more fits; whether it does."""
        cell, shape = key
        name, kind, slots = self.counting.shapes[shape]
        best: tuple[int, str, list[Allocation]] | None = None
        for node in self.counting.cells[cell]:
            if not self._may(name, node):
                continue
            room = len(self._room(node, kind))
            movable = [
                a
                for a in self.kept.values()
                if a.node == node
                and len(a.devices) < slots
                and self.fleet.device_type(node, a.devices) == kind
                and not self.fleet.deployments[a.deployment].is_frozen
                and self.counting.problem.least.get(self._key(a), 0) == 0
            ]
            movable.sort(key=lambda a: (-len(a.devices), a.replica))
            chosen: list[Allocation] = []
            for a in movable:
                if room >= slots:
                    break
                chosen.append(a)
                room += len(a.devices)
            if len(chosen) > self.spare_moves:
                continue
            if room >= slots and chosen and (best is None or len(chosen) < best[0]):
                best = len(chosen), node, chosen
        if best is None:
            return False
        self.spare_moves -= best[0]
        for a in best[2]:
            del self.kept[a.replica]
            self._give(a.deployment, a.node, a.devices)
        is_seated = self.seat(key)
        for a in best[2]:
            moved = self._key(a)
            if not self.seat(moved):
                self.seat_elsewhere(moved)
        return is_seated

    def draft(self) -> Draft:
        """Kept and new replicas, and of those to be replaced what no other stands in for yet."""
        new: list[Seat] = []
        waiting: list[Seat] = []
        present = Present(self.fleet)
        for _, seat in self.seats:
            free = self.fleet.free.get(seat.node, frozenset())
            if free.issuperset(seat.devices) and present.takes(seat):
                new.append(seat)
            else:
                waiting.append(seat)
        kept = set(self.kept)
        arrived = Counter(seat.deployment for seat in new)
        good = Counter(a.deployment for a in self.kept.values())
        for name, deployment in self.fleet.deployments.items():
            old = [
                a
                for a in self.fleet.of(name)
                if self.fleet.standing[a.replica] in (Standing.DUE, Standing.BROKEN)
                and not self._yields(a)
                and not self._is_done_without(a, new)
            ]
            old.sort(key=lambda a: (self.fleet.standing[a.replica] is Standing.BROKEN, a.replica))
            stay = len(old) - arrived[name]
            stay = max(0, min(stay, deployment.max_replicas - good[name] - arrived[name]))
            kept.update(a.replica for a in old[:stay])
        kept.update(
            a.replica
            for a in self.fleet.allocations.values()
            if self.fleet.standing[a.replica].is_keepable and is_frozen(self.fleet, a)
        )
        return Draft(kept=frozenset(kept), new=tuple(new), waiting=tuple(waiting))

    def _yields(self, allocation: Allocation) -> bool:
        """Whether a broken one goes, since what is seated on its node needs its room."""
        if self.fleet.standing[allocation.replica] is not Standing.BROKEN:
            return False
        if is_frozen(self.fleet, allocation):
            return False
        node = allocation.node
        if self._taken[node].intersection(allocation.devices):
            return True
        if not any(seat.node == node for _, seat in self.seats):
            return False
        needed = self._host[node] + self.fleet.deployments[allocation.deployment].host_memory_bytes
        limit = self.fleet.nodes[node].host_memory_bytes
        return 0 < limit < needed or self._is_apart(allocation.deployment, node)

    def _is_done_without(self, allocation: Allocation, new: list[Seat]) -> bool:
        """Whether a lost one would come back to devices that cost something, and nothing to do."""
        fleet, name = self.fleet, allocation.deployment
        if fleet.snapshot.device_cost <= 0.0 or fleet.nodes[allocation.node].is_ready:
            return False
        counts = Counter(self._key(a) for a in self.kept.values() if a.deployment == name)
        for seat in new:
            key = self.counting.key(fleet, name, seat.node, seat.devices)
            if seat.deployment == name and key is not None:
                counts[key] += 1
        is_enough = counts.total() >= fleet.deployments[name].min_replicas
        d = self.counting.deployments.index(name)
        return is_enough and is_borne(self.counting.problem, d, counts)

    def _is_apart(self, name: str, node: str) -> bool:
        """Whether a deployment is to share no node with one that is there."""
        return any(
            count and are_apart(self.fleet, name, other)
            for other, count in self._beside[node].items()
        )

    def _key(self, allocation: Allocation) -> tuple[int, int]:
        key = self.counting.key(
            self.fleet, allocation.deployment, allocation.node, allocation.devices
        )
        assert key is not None  # it was counted
        return key

    def _room(self, node: str, kind: str) -> frozenset[int]:
        own = self._devices.get((node, kind))
        if own is None:
            own = self._devices[node, kind] = frozenset(
                d.index for d in self.fleet.nodes[node].devices if d.device_type == kind
            )
        return own - self._taken[node]

    def _may(self, name: str, node: str) -> bool:
        deployment = self.fleet.deployments[name]
        place = self.fleet.nodes[node]
        if not place.takes_new or (name, node) in self.fleet.avoided:
            return False
        needed = deployment.host_memory_bytes
        if place.host_memory_bytes and self._host[node] + needed > place.host_memory_bytes:
            return False
        return not self._is_apart(name, node)

    def _take(self, name: str, node: str, devices: tuple[int, ...]) -> None:
        self._last = None
        self._taken[node].update(devices)
        self._host[node] += self.fleet.deployments[name].host_memory_bytes
        self._beside[node][name] += 1

    def _give(self, name: str, node: str, devices: tuple[int, ...]) -> None:
        self._last = None
        self._taken[node].difference_update(devices)
        self._host[node] -= self.fleet.deployments[name].host_memory_bytes
        self._beside[node][name] -= 1


def _is_stuck(fleet: Fleet, replica: str) -> bool:
    """Whether a broken replica is frozen where it is."""
    is_broken = fleet.standing[replica] is Standing.BROKEN
    return is_broken and is_frozen(fleet, fleet.allocations[replica])
