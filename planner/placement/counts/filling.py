"""Free slots filled with offline work, the most valuable first.

Owns the greedy between the repair of online work and the search: every round has an answer
that does the work deadlines rest on and fills what is free, before anything is optimised.
Refuses to take a replica away, and to divide work between replicas that run: it starts from
work already divided. Invariants: counts only grow, within slots, host memory, what a cell
may hold, max_replicas and the round's moves; deterministic.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush

from planner.placement.counts.problem import Counts, Problem

_LEAST = 1e-6
_LEAST_VALUE = 0.1


def filled(
    problem: Problem, counts: Counts, offline: Mapping[int, float]
) -> dict[tuple[int, int], int]:
    """The counts and what offline work not yet served is worth on free slots.

    A replica counts for the offline work it bears without any online work. It is ranked by its
    worth for what its devices are worth to all (`_values`), which falls as work is served: shapes
    wait in a heap and are weighed anew when they come up.

    Args:
        problem: All of it.
        counts: By (cell, shape).
        offline: Work by demand that they do.
    """
    left = _Left(problem, offline)
    room = _Room(problem, counts)
    gives = [shape.most_offline for shape in problem.shapes]
    values = _values(problem, gives)

    def rank(q: int) -> float:
        shape = problem.shapes[q]
        return left.worth(q, gives[q]) / (shape.slots * values[shape.kind])

    heap = [(-rank(q), q) for q in range(len(problem.shapes)) if gives[q] > 0.0]
    heapify(heap)
    while heap:
        before, q = heappop(heap)
        now = -rank(q)
        if now >= -_LEAST:
            continue
        if now > before and heap and now > heap[0][0]:
            heappush(heap, (now, q))
        elif room.take(q):
            left.serve(problem.shapes[q].deployment, gives[q])
            heappush(heap, (now, q))
    return {key: count for key, count in room.counts.items() if count}


class _Left:
    """Offline work not yet served, and what it is worth."""

    def __init__(self, problem: Problem, offline: Mapping[int, float]) -> None:
        self._problem = problem
        self._of: dict[int, list[int]] = defaultdict(list)
        self._least: dict[int, float] = {}
        self._most: dict[int, float] = {}
        done = [0.0] * len(problem.tenants)
        claimed = [0.0] * len(problem.tenants)
        for j, demand in enumerate(problem.offline):
            work = offline.get(j, 0.0)
            self._of[demand.deployment].append(j)
            self._least[j] = max(0.0, demand.least - work)
            self._most[j] = max(0.0, demand.most - work)
            done[demand.tenant] += work
            claimed[demand.tenant] += demand.claim * work
        self._quota = [
            float("inf") if one.most is None else max(0.0, one.most - work)
            for one, work in zip(problem.tenants, done, strict=True)
        ]
        self._fair = [
            max(0.0, one.fair - claims)
            for one, claims in zip(problem.tenants, claimed, strict=True)
        ]
        kinds: dict[int, float] = {}
        for cell in problem.cells:
            kinds[cell.kind] = cell.use_cost / cell.slots
        self._slot_cost = kinds

    def worth(self, q: int, gives: float) -> float:
        """Of one more replica of a shape, less what it costs; in the objective's units."""
        shape = self._problem.shapes[q]
        gained = sum(work * worth for _, work, worth in self._served(shape.deployment, gives))
        return gained - shape.load_cost - self._slot_cost.get(shape.kind, 0.0) * shape.slots

    def serve(self, d: int, bears: float) -> None:
        """Takes work of a deployment, the most valuable first."""
        for j, work, _ in self._served(d, bears):
            demand = self._problem.offline[j]
            self._least[j] = max(0.0, self._least[j] - work)
            self._most[j] = max(0.0, self._most[j] - work)
            self._quota[demand.tenant] -= work
            self._fair[demand.tenant] = max(0.0, self._fair[demand.tenant] - demand.claim * work)

    def _served(self, d: int, bears: float) -> list[tuple[int, float, float]]:
        """(demand, work, worth of a unit) for so much work, the most valuable first."""
        weights = self._problem.weights
        parts: list[tuple[float, int, float]] = []
        for j in self._of[d]:
            demand = self._problem.offline[j]
            worth = weights.offline * demand.weight
            if self._fair[demand.tenant] > _LEAST:
                worth += weights.fair * demand.claim
            if self._least[j] > _LEAST:
                parts.append((worth + weights.deadline, j, self._least[j]))
            if self._most[j] > self._least[j] + _LEAST:
                parts.append((worth, j, self._most[j] - self._least[j]))
        parts.sort(key=lambda part: (-part[0], part[1]))
        quota = dict[int, float]()
        found = []
        for worth, j, most in parts:
            tenant = self._problem.offline[j].tenant
            allowed = quota.setdefault(tenant, self._quota[tenant])
            work = min(bears, most, allowed)
            if work > _LEAST:
                found.append((j, work, worth))
                quota[tenant] -= work
                bears -= work
        return found


class _Room:
    """What cells have left."""

    def __init__(self, problem: Problem, counts: Counts) -> None:
        self.counts: dict[tuple[int, int], int] = defaultdict(int, counts)
        self._problem = problem
        self._slots = [cell.all_slots for cell in problem.cells]
        self._host = [cell.host_bytes * cell.nodes for cell in problem.cells]
        self._replicas = [0] * len(problem.wanted)
        self._crowd: dict[tuple[int, int | None], int] = defaultdict(int)
        self._moves = 0
        for (c, q), count in counts.items():
            self._add(c, q, count)
            self._moves += max(0, count - problem.held.get((c, q), 0))
        self._cells: dict[int, list[int]] = defaultdict(list)
        for c, cell in enumerate(problem.cells):
            self._cells[cell.kind].append(c)

    def take(self, q: int) -> bool:
        """Adds a replica where its deployment has fewest, then where most is free."""
        shape = self._problem.shapes[q]
        d = shape.deployment
        if self._replicas[d] >= self._problem.wanted[d].max_replicas:
            return False
        open_cells = [c for c in self._cells[shape.kind] if self._fits(c, q)]
        if not open_cells:
            return False
        crowded = self._crowd if self._problem.wanted[d].is_spread else {}
        cells = self._problem.cells
        c = min(
            open_cells, key=lambda c: (crowded.get((d, cells[c].domain), 0), -self._slots[c], c)
        )
        self._moves += self.counts[c, q] >= self._problem.held.get((c, q), 0)
        self.counts[c, q] += 1
        self._add(c, q, 1)
        return True

    def _fits(self, c: int, q: int) -> bool:
        shape, count = self._problem.shapes[q], self.counts.get((c, q), 0)
        most = self._problem.max_moves
        return (
            self._slots[c] >= shape.slots
            and self._host[c] >= shape.host_bytes
            and count < self._problem.fits(c, q)
            and (most is None or self._moves < most or count < self._problem.held.get((c, q), 0))
        )

    def _add(self, c: int, q: int, count: int) -> None:
        shape = self._problem.shapes[q]
        self._slots[c] -= count * shape.slots
        self._host[c] -= count * shape.host_bytes
        self._replicas[shape.deployment] += count
        self._crowd[shape.deployment, self._problem.cells[c].domain] += count


def _values(problem: Problem, gives: Sequence[float]) -> dict[int, float]:
    """What a device of each type is worth: what it bears of all deployments, on average.

    Of each deployment to what its best type bears, so that those of large numbers count no
    more than others; a type that bears next to nothing is worth no less than a tenth.
    """
    best: dict[tuple[int, int], float] = {}
    for shape, work in zip(problem.shapes, gives, strict=True):
        key = shape.deployment, shape.kind
        best[key] = max(best.get(key, 0.0), work / shape.slots)
    most: dict[int, float] = {}
    for (d, _), work in best.items():
        most[d] = max(most.get(d, 0.0), work)
    known: dict[int, list[float]] = defaultdict(list)
    for (d, kind), work in best.items():
        if most[d] > 0.0:
            known[kind].append(work / most[d])
    return {
        kind: max(_LEAST_VALUE, sum(known[kind]) / len(known[kind])) if known[kind] else 1.0
        for kind in {shape.kind for shape in problem.shapes}
    }
