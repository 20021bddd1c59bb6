"""Sticky and fair greedy in counts: what runs, with what comes before offline gain added.

Owns the first answer of a round: replicas are added where their deployment lacks online work
or failover, then where deadlines lack offline work; one at a time or a sixteenth of what is
lacking, to whoever lacks most. Where no slots are free, replicas that serve nobody online
yield, those first on whose work no deadline rests, then those whose offline work is worth
least. For a deadline only the former yield. Refuses offline gain; what comes after it finds
that. Invariants: no online work that is short gets shorter; pinned and frozen replicas stay;
deterministic.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from planner.placement.counts.capacity import Capacity
from planner.placement.counts.problem import Counts, Problem, Shape

_LEAST = 1e-6
_LEAST_WORK = 1e-4  # replica-equivalents of what deadlines lack
_MOST_STEPS = 100_000
_AT_ONCE = 1 / 8  # of the replicas a deployment lacks; small enough to spread over domains


def repaired(
    problem: Problem,
    counts: Counts,
    offline: Mapping[int, float],
    *,
    has_deadlines: bool = True,
) -> dict[tuple[int, int], int]:
    """Counts with what online work, failover and deadlines lack added, as far as there is room.

    Args:
        problem: All of it, its cells in domains.
        counts: What runs, or more.
        offline: Work by demand that it does.
        has_deadlines: Whether deadlines too are repaired.
    """
    bench = _Bench(problem, counts, offline)
    for (cell, shape), least in sorted(problem.least.items()):
        while bench.capacity.counts.get((cell, shape), 0) < least:
            pinned = bench.pinned(cell, shape)
            if pinned is None:
                break
            bench.take(pinned)
    _repair(bench, bench.online)
    if has_deadlines:
        _repair(bench, bench.deadlines)
    return {key: count for key, count in bench.capacity.counts.items() if count}


def _repair(bench: "_Bench", need: "_Need") -> None:
    """Adds replicas to whoever lacks most, until nobody lacks or nothing helps."""
    given_up: set[int] = set()
    for _ in range(_MOST_STEPS):
        lacking = [d for d in need.lacking() if d not in given_up]
        if not lacking:
            return
        step = bench.best(lacking[0], need)
        if step is None:
            given_up.add(lacking[0])
        else:
            bench.take(step, times=bench.times(lacking[0], step, need))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A replica added, and those that yield their slots to it: (shape, how many)."""

    cell: int
    shape: int
    yields: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Need:
    """What replicas are added for.

    Attributes:
        lacking: Deployments that lack of it, those that lack most first.
        lack: How much one lacks.
        gain: What a step lowers of it.
        may_yield: How many replicas of a shape yield for it at the most.
    """

    lacking: Callable[[], list[int]]
    lack: Callable[[int], float]
    gain: Callable[[int, _Step], float]
    may_yield: Callable[[int], float]


class _Bench:
    def __init__(self, problem: Problem, counts: Counts, offline: Mapping[int, float]) -> None:
        self._problem = problem
        self.capacity = Capacity(problem, counts)
        self._lacks = [self.capacity.lack(d) for d in range(len(problem.wanted))]
        self._replicas = [0] * len(problem.wanted)
        self._host = [0.0] * len(problem.cells)
        for (c, q), count in counts.items():
            self._host[c] += count * problem.shapes[q].host_bytes
            self._replicas[problem.shapes[q].deployment] += count
        self._worth = [0.0] * len(problem.wanted)
        self._spare = [0.0] * len(problem.wanted)  # offline work beyond what deadlines rest on
        self._has_deadline = [False] * len(problem.wanted)
        for j, demand in enumerate(problem.offline):
            d = demand.deployment
            self._worth[d] = max(self._worth[d], demand.weight)
            self._spare[d] += offline.get(j, 0.0) - demand.least
            self._has_deadline[d] |= demand.least > 0.0
        self._offline = [shape.most_offline for shape in problem.shapes]
        self._moves = sum(max(0, n - problem.held.get(key, 0)) for key, n in counts.items())
        self.online = _Need(
            lacking=self._short_online,
            lack=self._lacks.__getitem__,
            gain=self._online_gain,
            may_yield=lambda _: math.inf,
        )
        self.deadlines = _Need(
            lacking=self._short_deadlines,
            lack=lambda d: -self._spare[d],
            gain=lambda d, step: min(self._offline[step.shape], -self._spare[d]),
            may_yield=self._not_rested_on,
        )

    def _short_deadlines(self) -> list[int]:
        """Deployments short of what deadlines rest on, those that lack most first."""
        short = [d for d, spare in enumerate(self._spare) if spare < -_LEAST_WORK]
        return sorted(short, key=lambda d: (self._spare[d], d))

    def _not_rested_on(self, q: int) -> float:
        """How many replicas of a shape may go before a deadline lacks work."""
        d = self._problem.shapes[q].deployment
        if not self._has_deadline[d] or self._offline[q] <= 0.0:
            return math.inf
        return max(0.0, self._spare[d]) // self._offline[q]

    def _short_online(self) -> list[int]:
        """Deployments short of replicas or of online work, those that lack most first."""
        short = [
            d
            for d, wanted in enumerate(self._problem.wanted)
            if self._lacks[d] > _LEAST or self._replicas[d] < wanted.min_replicas
        ]
        return sorted(short, key=lambda d: (-self._lacks[d], d))

    def best(self, d: int, need: _Need) -> _Step | None:
        """The replica that lowers what is lacking most by the slot; without yielding if so."""
        wanted = self._problem.wanted[d]
        is_bound = self._problem.max_moves is not None and self._moves >= self._problem.max_moves
        if self._replicas[d] >= wanted.max_replicas or is_bound:
            return None
        for candidates in (self._free(d), self._evicting(d, need)):
            ranked = [
                (need.gain(d, step) / self._problem.shapes[step.shape].slots, step)
                for step in candidates
            ]
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
            yields = self._yields(
                c, shape.deployment, shape.slots - self.capacity.room[c], self.online
            )
        if yields is None or not self._has_host(c, shape, yields):
            return None
        return _Step(cell=c, shape=q, yields=yields)

    def times(self, d: int, step: _Step, need: _Need) -> int:
        """How often a step is to be made at once: once where others yield for it."""
        shape, c = self._problem.shapes[step.shape], self._problem.cells[step.cell]
        times = int(_AT_ONCE * need.lack(d) / need.gain(d, step))
        if times <= 1 or step.yields:
            return 1
        limits = [
            self.capacity.room[step.cell] // shape.slots,
            self._problem.fits(step.cell, step.shape) - self.capacity.counts[step.cell, step.shape],
            self._problem.wanted[d].max_replicas - self._replicas[d],
        ]
        if self._problem.max_moves is not None:
            limits.append(self._problem.max_moves - self._moves)
        if shape.host_bytes > 0.0 and c.host_bytes != float("inf"):
            free_bytes = c.host_bytes * c.nodes - self._host[step.cell]
            limits.append(int(free_bytes / shape.host_bytes))
        return max(1, min(times, *limits))

    def take(self, step: _Step, *, times: int = 1) -> None:
        """Makes the step, so many times where nobody yields for it."""
        for q, count in step.yields:
            self._move(step.cell, q, -count)
        self._move(step.cell, step.shape, times)

    def _move(self, c: int, q: int, by: int) -> None:
        count, held = self.capacity.counts[c, q], self._problem.held.get((c, q), 0)
        self._moves += max(0, count + by - held) - max(0, count - held)
        self.capacity.move(c, q, by)
        self._spare[self._problem.shapes[q].deployment] += by * self._offline[q]
        self._host[c] += by * self._problem.shapes[q].host_bytes
        d = self._problem.shapes[q].deployment
        self._replicas[d] += by
        self._lacks[d] = self.capacity.lack(d)

    def _online_gain(self, d: int, step: _Step) -> float:
        """What it lowers of the lack; any replica gains below min_replicas."""
        self.capacity.weigh(step.cell, step.shape, 1)
        gain = self._lacks[d] - self.capacity.lack(d)
        self.capacity.weigh(step.cell, step.shape, -1)
        if gain <= _LEAST and self._replicas[d] < self._problem.wanted[d].min_replicas:
            gain = 2 * _LEAST * self._problem.shapes[step.shape].slots
        return gain

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

    def _evicting(self, d: int, need: _Need) -> Iterator[_Step]:
        for c, q, shape in self._open(d):
            yields = self._yields(c, d, shape.slots - self.capacity.room[c], need)
            if yields is not None and self._has_host(c, shape, yields):
                yield _Step(cell=c, shape=q, yields=yields)

    def _yields(
        self, c: int, d: int, slots: int, need: _Need
    ) -> tuple[tuple[int, int], ...] | None:
        """Replicas of a cell that free so many slots and leave no online work short."""
        found: list[tuple[int, int]] = []
        own = [
            (
                self._not_rested_on(q) < 1.0,
                self._worth[self._problem.shapes[q].deployment],
                self._problem.shapes[q].slots,
                q,
            )
            for (of, q), count in sorted(self.capacity.counts.items())
            if of == c
            and count > 0
            and self._problem.shapes[q].deployment != d
            and need.may_yield(q) >= 1.0
        ]
        for _, _, each, q in sorted(own):
            spare = self.capacity.counts[c, q] - self._problem.least.get((c, q), 0)
            count = int(min(spare, -(-slots // each), need.may_yield(q)))
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
