"""Replicas exchanged between failure domains, until no exchange lowers what failover lacks.

Owns the repair of a division over domains. Refuses to change how many replicas of a shape
there are: one moves to a cell of its device type that has room, or changes places with one
or more replicas of another shape. Invariants: what the domains lack in sum falls with
every exchange, so it ends; pinned and frozen replicas stay; devices, host memory and the
round's moves are kept to.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from planner.placement.counts.capacity import Capacity
from planner.placement.counts.problem import Counts, Problem

_LEAST_GAIN = 1e-6
_MOST_EXCHANGES = 2_000


def balanced(problem: Problem, counts: Counts) -> dict[tuple[int, int], int]:
    """Counts of the same totals whose domains can better be lost.

    Args:
        problem: All of it, its cells in domains.
        counts: By (cell, shape), within what fits.
    """
    scales = _Scales(problem, counts)
    for _ in range(_MOST_EXCHANGES):
        best: tuple[float, _Exchange] | None = None
        for d in scales.short():
            for exchange in scales.exchanges(d):
                gain = scales.gain(exchange)
                if gain > _LEAST_GAIN and (best is None or gain > best[0]):
                    best = gain, exchange
            if best is not None:
                break  # the one that lacks most goes first
        if best is None:
            break
        scales.take(best[1])
    return {key: count for key, count in scales.counts.items() if count}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exchange:
    """A replica goes from one cell to another, and what comes back for it."""

    shape: int
    source: int
    target: int
    back: int | None = None  # shape of what comes back; None where the target has room
    times: int = 0  # how many of those


class _Scales:
    """What each domain holds of every deployment, and what that lacks."""

    def __init__(self, problem: Problem, counts: Counts) -> None:
        self._capacity = Capacity(problem, counts)
        self._problem = problem
        self._in_cell: dict[int, set[int]] = defaultdict(set)
        self._host = [0.0] * len(problem.cells)
        self._moves = 0
        for (c, q), count in counts.items():
            self._in_cell[c].add(q)
            self._host[c] += count * problem.shapes[q].host_bytes
            self._moves += max(0, count - problem.held.get((c, q), 0))
        self._lacks = [self._capacity.lack(d) for d in range(len(problem.wanted))]

    @property
    def counts(self) -> Counts:
        """As they are now."""
        return self._capacity.counts

    def short(self) -> list[int]:
        """Deployments that lack something, those that lack most first."""
        lacking = [d for d, lack in enumerate(self._lacks) if lack > _LEAST_GAIN]
        return sorted(lacking, key=lambda d: (-self._lacks[d], d))

    def exchanges(self, d: int) -> Iterator[_Exchange]:
        """All that take a replica of a deployment out of a domain that holds much of it."""
        for q in self._capacity.shapes[d]:
            shape = self._problem.shapes[q]
            cells = [c for c, cell in enumerate(self._problem.cells) if cell.kind == shape.kind]
            for source in cells:
                if self.counts.get((source, q), 0) <= self._problem.least.get((source, q), 0):
                    continue
                for target in cells:
                    if self._capacity.domain(target) == self._capacity.domain(source):
                        continue
                    if self.counts.get((target, q), 0) >= self._problem.fits(target, q):
                        continue
                    if self._capacity.room[target] >= shape.slots:
                        free = _Exchange(shape=q, source=source, target=target)
                        if self._may(free):
                            yield free
                        continue
                    for other in sorted(self._in_cell[target]):
                        times = self._comes_back(other, target, source, slots=shape.slots)
                        swap = _Exchange(
                            shape=q, source=source, target=target, back=other, times=times
                        )
                        if times and self._may(swap):
                            yield swap

    def gain(self, exchange: _Exchange) -> float:
        """By how much less is lacking after it."""
        touched = {self._problem.shapes[exchange.shape].deployment}
        if exchange.back is not None:
            touched.add(self._problem.shapes[exchange.back].deployment)
        before = sum(self._lacks[d] for d in touched)
        self._weigh(exchange, sign=1)
        after = sum(self._capacity.lack(d) for d in touched)
        self._weigh(exchange, sign=-1)
        return before - after

    def take(self, exchange: _Exchange) -> None:
        """Makes the exchange."""
        self._count(exchange.source, exchange.shape, -1)
        self._count(exchange.target, exchange.shape, 1)
        touched = [exchange.shape]
        if exchange.back is not None:
            self._count(exchange.target, exchange.back, -exchange.times)
            self._count(exchange.source, exchange.back, exchange.times)
            touched.append(exchange.back)
        for q in touched:
            d = self._problem.shapes[q].deployment
            self._lacks[d] = self._capacity.lack(d)

    def _comes_back(self, other: int, target: int, source: int, *, slots: int) -> int:
        """How many of another shape make room in the target and find it in the source."""
        shape = self._problem.shapes[other]
        times = -(-(slots - self._capacity.room[target]) // shape.slots)
        spare = self.counts[target, other] - self._problem.least.get((target, other), 0)
        held = self.counts.get((source, other), 0)
        if (
            times > spare
            or self._capacity.room[source] + slots < times * shape.slots
            or held + times > self._problem.fits(source, other)
        ):
            return 0
        return times

    def _may(self, exchange: _Exchange) -> bool:
        """Whether host memory of both cells and the round's moves allow it."""
        comes = self._problem.shapes[exchange.shape].host_bytes
        if exchange.back is not None:
            comes -= exchange.times * self._problem.shapes[exchange.back].host_bytes
        for c, more in ((exchange.target, comes), (exchange.source, -comes)):
            cell = self._problem.cells[c]
            if more > 0.0 and self._host[c] + more > cell.host_bytes * cell.nodes:
                return False
        if self._problem.max_moves is None:
            return True
        changes = [(exchange.source, exchange.shape, -1), (exchange.target, exchange.shape, 1)]
        if exchange.back is not None:
            changes.append((exchange.target, exchange.back, -exchange.times))
            changes.append((exchange.source, exchange.back, exchange.times))
        more_moves = sum(self._moves_of(c, q, by) for c, q, by in changes)
        return more_moves <= 0 or self._moves + more_moves <= self._problem.max_moves

    def _moves_of(self, c: int, q: int, by: int) -> int:
        """How many more moves a change of one count takes."""
        held = self._problem.held.get((c, q), 0)
        count = self.counts.get((c, q), 0)
        return max(0, count + by - held) - max(0, count - held)

    def _count(self, c: int, q: int, by: int) -> None:
        self._moves += self._moves_of(c, q, by)
        self._host[c] += by * self._problem.shapes[q].host_bytes
        self._capacity.move(c, q, by)
        if self.counts[c, q]:
            self._in_cell[c].add(q)
        else:
            self._in_cell[c].discard(q)

    def _weigh(self, exchange: _Exchange, *, sign: int) -> None:
        weigh = self._capacity.weigh
        weigh(exchange.source, exchange.shape, -sign)
        weigh(exchange.target, exchange.shape, sign)
        if exchange.back is not None:
            weigh(exchange.target, exchange.back, -sign * exchange.times)
            weigh(exchange.source, exchange.back, sign * exchange.times)
