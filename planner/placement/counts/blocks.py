"""Deployments apart: each a small programme of its own, and the rows they share.

Owns what a deployment decides alone and what it takes of what all share: devices and host
memory of a cell, the round's moves, quotas and fair shares of tenants. Refuses to solve.
Invariant: one solution of each block that keep to the shared rows together are a solution
of the whole programme at the same cost, and the other way round.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite

from planner.placement.counts.problem import Counts, Entitlement, Problem
from planner.placement.counts.programme import Part, Programme
from planner.placement.counts.sparse import Sparse, Term


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """One row that blocks share: what all take of it is at most `limit`.

    `relief` is what a unit more costs; None: there is none to have.
    """

    limit: float
    relief: float | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """One deployment's programme, and what its columns take of the shared rows."""

    deployment: int
    programme: Programme
    takes: Mapping[int, tuple[Term, ...]] = field(repr=False)  # column -> (shared row, each)

    @property
    def sparse(self) -> Sparse:
        """Columns and rows."""
        return self.programme.sparse

    def taken(self, values: Sequence[float]) -> dict[int, float]:
        """Of each shared row, by values of the columns."""
        taken: dict[int, float] = defaultdict(float)
        for column, terms in self.takes.items():
            if values[column]:
                for row, each in terms:
                    taken[row] += each * values[column]
        return dict(taken)

    def counts(self, values: Sequence[float]) -> dict[tuple[int, int], int]:
        """Replicas by (cell, shape)."""
        found = {key: round(values[column]) for key, column in self.programme.n.items()}
        return {key: count for key, count in found.items() if count}


class Blocks:
    """A problem as blocks and shared rows.

    Args:
        problem: Usually of merged cells, which are few.

    Attributes:
        blocks: By deployment.
        shared: The rows they share.
        constant: The cost of nothing at all.
    """

    def __init__(self, problem: Problem) -> None:
        self._alone = replace(
            problem,
            tenants=tuple(Entitlement(most=None, fair=0.0) for _ in problem.tenants),
            max_moves=None,
        )
        self._rows = _Rows(problem)
        self.blocks = tuple(self._block(self._alone, d) for d in range(len(problem.wanted)))
        self.shared: tuple[Shared, ...] = tuple(self._rows.shared)
        self.constant = problem.weights.drop * sum(problem.held.values())

    def wider(self, deployment: int, *, failover: float) -> Block:
        """A deployment's block with its failover ratios times `failover`."""
        return self._block(self._alone.scaled(failover=failover), deployment)

    def _block(self, problem: Problem, deployment: int) -> Block:
        every = frozenset(range(len(problem.cells)))
        programme = Programme(problem, Part(deployments=(deployment,), cells=every), counts={})
        return Block(deployment, programme, self._rows.takes(programme))


class _Rows:
    """The shared rows of a problem, numbered."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self.shared: list[Shared] = []
        # Pins and freezes take what they take; what runs may stay, though devices or memory
        # were taken away under it.
        least, held = _taken(problem, problem.least), _taken(problem, problem.held)
        self._slots = [
            self._row(max(float(cell.all_slots), least[c][0], held[c][0]))
            for c, cell in enumerate(problem.cells)
        ]
        self._host = {
            c: self._row(max(float(cell.nodes), most / max(1.0, cell.host_bytes)))
            for c, cell in enumerate(problem.cells)
            if isfinite(cell.host_bytes)
            for most in (max(least[c][1], held[c][1]),)
        }
        moves = sum(
            max(0, count - problem.held.get(key, 0)) for key, count in problem.least.items()
        )
        self._moves = (
            None if problem.max_moves is None else self._row(float(max(problem.max_moves, moves)))
        )
        self._quota = {
            t: self._row(one.most, relief=_worth(problem, t))
            for t, one in enumerate(problem.tenants)
            if one.most is not None
        }
        self._fair = {
            t: self._row(-one.fair, relief=problem.weights.fair)
            for t, one in enumerate(problem.tenants)
            if one.fair > 0.0
        }

    def takes(self, programme: Programme) -> dict[int, tuple[Term, ...]]:
        """What each column of a block takes of the rows."""
        found: dict[int, list[Term]] = defaultdict(list)
        for (c, q), column in programme.n.items():
            shape = self._problem.shapes[q]
            found[column].append((self._slots[c], float(shape.slots)))
            if c in self._host and shape.host_bytes > 0.0:
                unit = max(1.0, self._problem.cells[c].host_bytes)
                found[column].append((self._host[c], shape.host_bytes / unit))
        if self._moves is not None:
            for column, _, _ in programme.new:
                found[column].append((self._moves, 1.0))
        for j, column in programme.o.items():
            tenant = self._problem.offline[j].tenant
            if tenant in self._quota:
                found[column].append((self._quota[tenant], 1.0))
            if tenant in self._fair:
                found[column].append((self._fair[tenant], -self._problem.offline[j].claim))
        return {column: tuple(terms) for column, terms in found.items()}

    def _row(self, limit: float, *, relief: float | None = None) -> int:
        self.shared.append(Shared(limit=limit, relief=relief))
        return len(self.shared) - 1


def _worth(problem: Problem, tenant: int) -> float:
    """Most that a unit of a tenant's work is worth: what one beyond its quota costs.

    Such work is not done, so a deployment whose batches alone would exceed the quota loses
    what it is worth, and no choice is impossible for it.
    """
    dearest = max((one.weight for one in problem.offline if one.tenant == tenant), default=0.0)
    return problem.weights.offline * dearest + problem.weights.deadline


def _taken(problem: Problem, counts: Counts) -> list[tuple[float, float]]:
    """Devices and host memory that counts take, by cell."""
    taken = [(0.0, 0.0)] * len(problem.cells)
    for (c, q), count in counts.items():
        slots, host = taken[c]
        shape = problem.shapes[q]
        taken[c] = slots + count * shape.slots, host + count * shape.host_bytes
    return taken


def joined(blocks: Blocks) -> tuple[Sparse, list[int], list[int]]:
    """All blocks as one programme.

    Returns:
        It, the first column of each block, and the number of each shared row.
    """
    whole = Sparse()
    offsets: list[int] = []
    in_row: list[list[Term]] = [[] for _ in blocks.shared]
    for block in blocks.blocks:
        offset = whole.append(block.sparse)
        offsets.append(offset)
        for column, terms in block.takes.items():
            for row, each in terms:
                in_row[row].append((offset + column, each))
    rows = []
    for shared, taken in zip(blocks.shared, in_row, strict=True):
        if shared.relief is not None:
            taken.append((whole.column(cost=shared.relief), -1.0))
        rows.append(len(whole.row_lower))
        whole.at_most(taken, shared.limit)
    return whole, offsets, rows
