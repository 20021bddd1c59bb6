"""Sticky and fair greedy in counts: what runs, with what online work lacks added.

Owns the first answer of a round: replicas are added where their deployment lacks online
work or failover, one at a time, to whoever lacks most; where no slots are free, replicas
that serve nobody online yield, those first whose offline work is worth least. Refuses
offline gain; what comes after it finds that. Invariants: nothing that is short gets
shorter; pinned and frozen replicas stay; deterministic.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from planner.placement.counts.capacity import Capacity
from planner.placement.counts.problem import Counts, Problem, Shape

_LEAST = 1e-6
_MOST_STEPS = 100_000


def repaired(problem: Problem, counts: Counts) -> dict[tuple[int, int], int]:
    """Counts with what online work and failover lack added, as far as there is room.

    Args:
        problem: All of it, its cells in domains.
        counts: What runs.
    """
    bench = _Bench(problem, counts)
    for (cell, shape), least in sorted(problem.least.items()):
        while bench.capacity.counts.get((cell, shape), 0) < least:
            pinned = bench.pinned(cell, shape)
            if pinned is None:
                break
            bench.take(pinned)
    given_up: set[int] = set()
    for _ in range(_MOST_STEPS):
        lacking = [d for d in bench.lacking() if d not in given_up]
        if not lacking:
            break
        step = bench.best(lacking[0])
        if step is None:
            given_up.add(lacking[0])
        else:
            bench.take(step)
    return {key: count for key, count in bench.capacity.counts.items() if count}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A replica added, and those that yield their slots to it: (shape, how many)."""

    cell: int
    shape: int
    yields: tuple[tuple[int, int], ...] = ()


class _Bench:
    def __init__(self, problem: Problem, counts: Counts) -> None:
        self._problem = problem
        self.capacity = Capacity(problem, counts)
        self._lacks = [self.capacity.lack(d) for d in range(len(problem.wanted))]
        self._replicas = [0] * len(problem.wanted)
        self._host = [0.0] * len(problem.cells)
        for (c, q), count in counts.items():
            self._host[c] += count * problem.shapes[q].host_bytes
            self._replicas[problem.shapes[q].deployment] += count
        self._worth = [0.0] * len(problem.wanted)
        for demand in problem.offline:
            self._worth[demand.deployment] = max(self._worth[demand.deployment], demand.weight)
        self._moves = 0

    def lacking(self) -> list[int]:
        """Deployments short of replicas or of online work, those that lack most first."""
        short = [
            d
            for d, wanted in enumerate(self._problem.wanted)
            if self._lacks[d] > _LEAST or self._replicas[d] < wanted.min_replicas
        ]
        return sorted(short, key=lambda d: (-self._lacks[d], d))

    def best(self, d: int) -> _Step | None:
        """The replica that lowers what is lacking most by the slot; without yielding if so."""
        wanted = self._problem.wanted[d]
        is_bound = self._problem.max_moves is not None and self._moves >= self._problem.max_moves
        if self._replicas[d] >= wanted.max_replicas or is_bound:
            return None
        for candidates in (self._free(d), self._evicting(d)):
            ranked = [(self._gain(d, step), step) for step in candidates]
            ranked = [(gain, step) for gain, step in ranked if gain > _LEAST]
            if ranked:
                return max(ranked, key=lambda one: (one[0], -one[1].shape, -one[1].cell))[1]
        return None

    def pinned(self, c: int, q: int) -> _Step | None:
        """One more of a shape in a cell, whoever has to yield; None if that makes no room.

        Where its deployment has as many replicas as it may, one that is not pinned goes.
        """
        d = self._problem.shapes[q].deployment
        gone: tuple[int, int] | None = None
        if self._replicas[d] >= self._problem.wanted[d].max_replicas:
            spare = [
                key
                for key, count in sorted(self.capacity.counts.items())
                if self._problem.shapes[key[1]].deployment == d
                and count > self._problem.least.get(key, 0)
            ]
            if not spare:
                return None
            gone = spare[0]
            self._move(*gone, -1)
        step = self._forced(c, q)
        if step is None and gone is not None:
            self._move(*gone, 1)
        return step

    def _forced(self, c: int, q: int) -> _Step | None:
        shape = self._problem.shapes[q]
        yields: tuple[tuple[int, int], ...] | None = ()
        if self.capacity.room[c] < shape.slots:
            yields = self._yields(c, shape.deployment, shape.slots - self.capacity.room[c])
        if yields is None or not self._has_host(c, shape, yields):
            return None
        return _Step(cell=c, shape=q, yields=yields)

    def take(self, step: _Step) -> None:
        """Makes the step."""
        for q, count in step.yields:
            self._move(step.cell, q, -count)
        self._move(step.cell, step.shape, 1)
        self._moves += 1

    def _move(self, c: int, q: int, by: int) -> None:
        self.capacity.move(c, q, by)
        self._host[c] += by * self._problem.shapes[q].host_bytes
        d = self._problem.shapes[q].deployment
        self._replicas[d] += by
        self._lacks[d] = self.capacity.lack(d)

    def _gain(self, d: int, step: _Step) -> float:
        """What it lowers of the lack, by the slot; any replica gains below min_replicas."""
        slots = self._problem.shapes[step.shape].slots
        self.capacity.weigh(step.cell, step.shape, 1)
        gain = self._lacks[d] - self.capacity.lack(d)
        self.capacity.weigh(step.cell, step.shape, -1)
        if gain <= _LEAST and self._replicas[d] < self._problem.wanted[d].min_replicas:
            gain = 2 * _LEAST * slots
        return gain / slots

    def _open(self, d: int) -> Iterator[tuple[int, int, Shape]]:
        for q in self.capacity.shapes[d]:
            shape = self._problem.shapes[q]
            for c, cell in enumerate(self._problem.cells):
                if cell.kind == shape.kind and self.capacity.counts.get(
                    (c, q), 0
                ) < self._problem.fits(c, q):
                    yield c, q, shape

    def _free(self, d: int) -> Iterator[_Step]:
        for c, q, shape in self._open(d):
            if self.capacity.room[c] >= shape.slots and self._has_host(c, shape):
                yield _Step(cell=c, shape=q)

    def _has_host(self, c: int, shape: Shape, yields: tuple[tuple[int, int], ...] = ()) -> bool:
        """Whether host memory takes one more of a shape, once others have yielded."""
        cell = self._problem.cells[c]
        if cell.host_bytes == float("inf"):
            return True
        used = self._host[c]
        used -= sum(count * self._problem.shapes[q].host_bytes for q, count in yields)
        return used + shape.host_bytes <= cell.host_bytes * cell.nodes

    def _evicting(self, d: int) -> Iterator[_Step]:
        for c, q, shape in self._open(d):
            yields = self._yields(c, d, shape.slots - self.capacity.room[c])
            if yields is not None and self._has_host(c, shape, yields):
                yield _Step(cell=c, shape=q, yields=yields)

    def _yields(self, c: int, d: int, slots: int) -> tuple[tuple[int, int], ...] | None:
        """Replicas of a cell that free so many slots and leave nobody short; None if too few."""
        found: list[tuple[int, int]] = []
        own = [
            (self._worth[self._problem.shapes[q].deployment], self._problem.shapes[q].slots, q)
            for (of, q), count in sorted(self.capacity.counts.items())
            if of == c and count > 0 and self._problem.shapes[q].deployment != d
        ]
        for _, each, q in sorted(own):
            spare = self.capacity.counts[c, q] - self._problem.least.get((c, q), 0)
            count = min(spare, -(-slots // each))
            count = self._spared(c, q, count)
            if count > 0:
                found.append((q, count))
                slots -= count * each
            if slots <= 0:
                return tuple(found)
        return None

    def _spared(self, c: int, q: int, count: int) -> int:
        """How many of a shape may go without leaving their deployment short."""
        d = self._problem.shapes[q].deployment
        count = min(count, self._replicas[d] - self._problem.wanted[d].min_replicas)
        while count > 0:
            self.capacity.weigh(c, q, -count)
            lack = self.capacity.lack(d)
            self.capacity.weigh(c, q, count)
            if lack <= max(_LEAST, self._lacks[d]):
                return count
            count //= 2
        return 0
