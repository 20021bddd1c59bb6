"""The round as a mixed integer programme in counts, whole or in part.

Owns the formulation, and the rows of counts; those of work are in `working`, those over
failure domains in `domains`. Refuses to solve, and to name nodes. Invariants: a part's columns
cost what they cost in the whole, so a part's gain is the whole's; counts outside the part
are constants; every row is an inequality that counts of none satisfy, or of the least that
must be, with what is missing in a column of its own, so no programme is infeasible.

Integers, for cells c, shapes q (deployment d(q), type, devices s_q) and modes u of q:

    n[c,q]        replicas of q in c              least[c,q] <= n <= fits(c,q)
    r[q,u]        of them held to mode u          sum_u r[q,u] = N[q] = sum_c n[c,q]

Continuous, in replica-equivalents (1000 engine-ms per second):

    x[q,u,k]      online work of class k          k served by u
    y[q,u]        offline work
    o[j]          offline work of demand j        least_j wanted by deadlines, at most most_j

    (slots)       sum_q s_q*n[c,q] <= slots_c*used[c],   used[c] <= nodes_c
    (host)        sum_q host_q*n[c,q] <= host_c*nodes_c
    (replicas)    sum_q N[q] + replica_short[d] >= min_d,   sum_q N[q] <= max_d
    (moves)       new[c,q] >= n[c,q] - held[c,q],   sum new <= max_moves
    (frontier)    alpha_i*sum_k x[q,u,k] + beta_i*y[q,u] <= gamma_i*r[q,u]
                  sum_k x[q,u,k] <= max_online_u*r[q,u]
    (online)      sum_{q,u} x[q,u,k] + online_short[d,k] >= work[d,k]
    (offline)     sum_{q,u} y[q,u] >= sum_{j of d} o[j]
    (deadline)    o[j] + deadline_short[j] >= least_j
    (quota)       sum_{j of tenant} o[j] <= quota
    (fair)        sum_{j of tenant} claim_j*o[j] + fair_short >= fair share
    (failover)    for each level l, gives[q] and needed of `failover_needs`, each domain g:
                  total - lost[g] + failover_short[d,l] >= needed
                  total <= sum_q gives[q]*N[q],   lost[g] >= sum_{c in g} gives[q]*n[c,q]
    (spread)      crowd[d] >= sum_{c in g} n[c,q] - even,   domains*even <= N + domains - 1
    (reserve)     for each direction of `reserve`:
                  sum_q gives[q]*N[q] + needed*reserve_short[d]/size_d >= needed, or
                  sum_q gives[q]*N[q] + beyond*spare_short[d] >= demand + beyond

minimise  replica, online, failover, deadline, fair and spread times what is short
          - offline*weight_j*o[j] + load_q*new[c,q] + drop*dropped
          + (node_c + device_c*slots_c)*used[c] + reserve*reserve_short[d]
          + spare*spare_short[d]

Frontiers are concave and fall, so n replicas alike carry n times the points of one and the
even split attains it: (frontier) is exact in counts, with no binaries. Where cells of all
domains are merged (`merging`), (failover) becomes total*(D-1)/D + short >= needed, which
every division over D domains satisfies; for shapes of which one replica is more than that
leaves, total - gives[q]*some[q] + short >= needed, where some[q] is 1 if there is any; and n
is at most what a whole type holds: a relaxation.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite

from planner.placement.counts.domains import add_failover, add_spread
from planner.placement.counts.problem import Counts, Problem
from planner.placement.counts.reserve import add_reserve
from planner.placement.counts.sparse import UNBOUNDED, Sparse, Term
from planner.placement.counts.working import add_tenants, add_work


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a programme decides: counts of some deployments in some cells, and their work."""

    deployments: tuple[int, ...]
    cells: frozenset[int]
    bounds: Mapping[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    """Narrower bounds of counts."""


def whole(problem: Problem) -> Part:
    """All of it."""
    return Part(
        deployments=tuple(range(len(problem.wanted))), cells=frozenset(range(len(problem.cells)))
    )


def nothing_placed(problem: Problem) -> Part:
    """Work alone: every count stays."""
    return Part(deployments=tuple(range(len(problem.wanted))), cells=frozenset())


class Programme:
    """One part of a problem as columns and rows.

    Args:
        problem: All of it.
        part: What is decided.
        counts: The rest, which stays.
        offline: Work of the demands of deployments outside the part, which stays.
        modes: Replicas by (shape, mode) where they stay too: what is left is a flow, a
            linear programme without the rows that no flow changes.

    Attributes:
        sparse: Columns and rows so far.
        n, r, x, y, o, used: Columns by the symbols of the formulation.
        short: Columns of what is missing, by tier and key.
        new: (column, (cell, shape), whether it counts all replicas) of additions.
        some_of: Of a column of counts, the one that is 1 where it is not 0.
        cells_of: Cells by device type.
        shapes: Shapes by deployment of the part.
        is_merged: Whether cells of all domains are merged.
    """

    def __init__(
        self,
        problem: Problem,
        part: Part,
        *,
        counts: Counts,
        offline: Mapping[int, float] | None = None,
        modes: Mapping[tuple[int, int], int] | None = None,
    ) -> None:
        self.problem = problem
        self.part = part
        self.sparse = Sparse()
        self.n: dict[tuple[int, int], int] = {}
        self.r: dict[tuple[int, int], int] = {}
        self.x: dict[tuple[int, int, int], int] = {}
        self.y: dict[tuple[int, int], int] = {}
        self.o: dict[int, int] = {}
        self.used: dict[int, int] = {}
        self.short: dict[str, dict[tuple[int, ...], int]] = defaultdict(dict)
        self.new: list[tuple[int, tuple[int, int], bool]] = []
        self.counts = counts
        self.fixed_modes = modes
        self.some_of: dict[int, int] = {}
        self.cells_of: dict[int, list[int]] = defaultdict(list)
        for c, cell in enumerate(problem.cells):
            self.cells_of[cell.kind].append(c)
        self.is_merged = any(cell.domain is None for cell in problem.cells)
        self.shapes = {d: problem.shapes_of(d) for d in part.deployments}
        self._add_counts()
        self._add_room()
        for d in part.deployments:
            add_work(self, d)
            if modes is None:
                self._add_replicas(d)
                add_failover(self, d)
                add_spread(self, d)
                add_reserve(self, d)
        add_tenants(self, offline or {})

    def terms(self, shape: int, cells: Iterable[int] | None = None) -> tuple[list[Term], float]:
        """Replicas of a shape, over all cells or some: columns, and the constant part."""
        terms: list[Term] = []
        constant = 0.0
        for c in self.cells_of[self.problem.shapes[shape].kind] if cells is None else cells:
            column = self.n.get((c, shape))
            if column is not None:
                terms.append((column, 1.0))
            else:
                constant += self.counts.get((c, shape), 0)
        return terms, constant

    def _add_counts(self) -> None:
        weights = self.problem.weights
        for c in sorted(self.part.cells):
            for d in self.part.deployments:
                for q in self.shapes[d]:
                    if self.problem.shapes[q].kind != self.problem.cells[c].kind:
                        continue
                    least = self.problem.least.get((c, q), 0)
                    held = self.problem.held.get((c, q), 0)
                    most = max(self.problem.fits(c, q), held)  # what runs may stay
                    low, high = self.part.bounds.get((c, q), (least, most))
                    low, high = max(low, least), max(least, min(high, most))
                    if high <= 0:
                        continue
                    load = self.problem.shapes[q].load_cost
                    column = self.sparse.column(
                        float(high), lower=float(min(low, high)), is_integer=True
                    )
                    self.n[c, q] = column
                    if held == 0:
                        self.sparse.cost[column] = load
                        self.new.append((column, (c, q), True))
                        continue
                    # n = held + new - dropped, with a cost on both
                    self.sparse.cost[column] = -weights.drop
                    new = self.sparse.column(float(max(0, high - held)), cost=load + weights.drop)
                    self.sparse.at_least([(new, 1.0), (column, -1.0)], -held)
                    self.new.append((new, (c, q), False))
        if self.problem.max_moves is not None and self.new:
            moved = sum(
                max(0, count - self.problem.held.get(key, 0))
                for key, count in self.counts.items()
                if key not in self.n
            )
            forced = sum(
                max(0, self.problem.least.get(key, 0) - self.problem.held.get(key, 0))
                for _, key, _ in self.new
            )
            self.sparse.at_most(
                [(column, 1.0) for column, _, _ in self.new],
                float(max(forced, self.problem.max_moves - moved)),
            )

    def _add_room(self) -> None:
        fixed = {
            key: count
            for key, count in self.counts.items()
            if key not in self.n and key[0] in self.part.cells
        }
        slots, host = self._taken(fixed)
        # What runs may stay, though devices or memory were taken away under it.
        held_slots, held_host = self._taken(self.problem.held)
        in_cell: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for (c, q), column in self.n.items():
            in_cell[c].append((q, column))
        for c in sorted(in_cell):
            cell = self.problem.cells[c]
            taken = [(column, float(self.problem.shapes[q].slots)) for q, column in in_cell[c]]
            all_slots = max(float(cell.all_slots), held_slots[c])
            if cell.use_cost > 0.0:
                self.used[c] = self.sparse.column(all_slots / cell.slots, cost=cell.use_cost)
                taken.append((self.used[c], -float(cell.slots)))
                self.sparse.at_most(taken, -slots[c])
            else:
                self.sparse.at_most(taken, all_slots - slots[c])
            if isfinite(cell.host_bytes):
                forced = sum(
                    self.problem.least.get((c, q), 0) * self.problem.shapes[q].host_bytes
                    for q, _ in in_cell[c]
                )
                left = max(forced, max(cell.host_bytes * cell.nodes, held_host[c]) - host[c])
                unit = max(1.0, cell.host_bytes)
                self.sparse.at_most(
                    [(k, self.problem.shapes[q].host_bytes / unit) for q, k in in_cell[c]],
                    left / unit,
                )

    def _taken(self, counts: Counts) -> tuple[dict[int, float], dict[int, float]]:
        """Devices and host memory by cell."""
        slots: dict[int, float] = defaultdict(float)
        host: dict[int, float] = defaultdict(float)
        for (c, q), count in counts.items():
            slots[c] += count * self.problem.shapes[q].slots
            host[c] += count * self.problem.shapes[q].host_bytes
        return slots, host

    def _add_replicas(self, d: int) -> None:
        wanted = self.problem.wanted[d]
        terms: list[Term] = []
        constant = 0.0
        for q in self.shapes[d]:
            of_shape, fixed = self.terms(q)
            terms += of_shape
            constant += fixed
        if wanted.min_replicas > 0:
            short = self.missing("replica", (d,), self.problem.weights.replica)
            self.sparse.at_least([*terms, (short, 1.0)], wanted.min_replicas - constant)
        if terms and wanted.max_replicas < 10_000:
            forced = sum(self.sparse.lower[column] for column, _ in terms)
            self.sparse.at_most(terms, max(forced, wanted.max_replicas - constant))

    def missing(
        self, tier: str, key: tuple[int, ...], weight: float, *, upper: float = UNBOUNDED
    ) -> int:
        """A column of what a tier lacks, at a cost."""
        column = self.sparse.column(upper, cost=weight)
        self.short[tier][key] = column
        return column
