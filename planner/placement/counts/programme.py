"""The round as a mixed integer programme in counts, whole or in part.

Owns the formulation. Refuses to solve, and to name nodes. Invariants: a part's columns
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

minimise  replica, online, failover, deadline, fair and spread times what is short
          - offline*weight_j*o[j] + load_q*new[c,q] + drop*dropped + node_c*used[c]

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

from planner.placement.counts.problem import Counts, Problem, failover_needs
from planner.placement.counts.sparse import UNBOUNDED, Sparse, Term

_FEW_DOMAINS = 4  # up to here a row of all the rest beats a column of what is lost


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
        self._counts = counts
        self._fixed_modes = modes
        self._some_of: dict[int, int] = {}
        self._cells_of: dict[int, list[int]] = defaultdict(list)
        for c, cell in enumerate(problem.cells):
            self._cells_of[cell.kind].append(c)
        self._is_merged = any(cell.domain is None for cell in problem.cells)
        self._shapes = {d: problem.shapes_of(d) for d in part.deployments}
        self._add_counts()
        self._add_room()
        for d in part.deployments:
            self._add_work(d)
            if modes is None:
                self._add_replicas(d)
                self._add_failover(d)
                self._add_spread(d)
        self._add_tenants(offline or {})

    def terms(self, shape: int, cells: Iterable[int] | None = None) -> tuple[list[Term], float]:
        """Replicas of a shape, over all cells or some: columns, and the constant part."""
        terms: list[Term] = []
        constant = 0.0
        for c in self._cells_of[self.problem.shapes[shape].kind] if cells is None else cells:
            column = self.n.get((c, shape))
            if column is not None:
                terms.append((column, 1.0))
            else:
                constant += self._counts.get((c, shape), 0)
        return terms, constant

    def _add_counts(self) -> None:
        weights = self.problem.weights
        for c in sorted(self.part.cells):
            for d in self.part.deployments:
                for q in self._shapes[d]:
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
                for key, count in self._counts.items()
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
            for key, count in self._counts.items()
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
            if cell.node_cost > 0.0:
                self.used[c] = self.sparse.column(all_slots / cell.slots, cost=cell.node_cost)
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
        for q in self._shapes[d]:
            of_shape, fixed = self.terms(q)
            terms += of_shape
            constant += fixed
        if wanted.min_replicas > 0:
            short = self._missing("replica", (d,), self.problem.weights.replica)
            self.sparse.at_least([*terms, (short, 1.0)], wanted.min_replicas - constant)
        if terms and wanted.max_replicas < 10_000:
            forced = sum(self.sparse.lower[column] for column, _ in terms)
            self.sparse.at_most(terms, max(forced, wanted.max_replicas - constant))

    def _add_work(self, d: int) -> None:
        wanted = self.problem.wanted[d]
        served: dict[int, list[Term]] = defaultdict(list)
        offline: list[Term] = []
        for q in self._shapes[d]:
            terms, constant = self.terms(q)
            if not terms and constant <= 0:
                continue
            for u, replicas, fixed in self._modes(q, terms, constant):
                mode = self.problem.shapes[q].modes[u]
                x = []
                for k in range(mode.served, len(wanted.classes)):
                    if wanted.classes[k].work > 0.0 and mode.max_online > 0.0:
                        self.x[q, u, k] = self.sparse.column(wanted.classes[k].work)
                        x.append((self.x[q, u, k], 1.0))
                        served[k].append((self.x[q, u, k], 1.0))
                y = self.y[q, u] = self.sparse.column()
                offline.append((y, 1.0))
                if x:
                    self.sparse.at_most(
                        [*x, *((k, -mode.max_online * v) for k, v in replicas)],
                        mode.max_online * fixed,
                    )
                for alpha, beta, gamma in mode.segments:
                    if not x and beta <= 0.0:
                        continue
                    self.sparse.at_most(
                        [
                            *((k, alpha * v) for k, v in x),
                            (y, beta),
                            *((k, -gamma * v) for k, v in replicas),
                        ],
                        gamma * fixed,
                    )
        for k, one in enumerate(wanted.classes):
            if one.work > 0.0:
                weight = self.problem.weights.online * one.weight
                short = self._missing("online", (d, k), weight, upper=one.work)
                self.sparse.at_least([*served[k], (short, 1.0)], one.work)
        taken: list[Term] = []
        for j, demand in enumerate(self.problem.offline):
            if demand.deployment != d or demand.most <= 0.0:
                continue
            weights = self.problem.weights
            self.o[j] = self.sparse.column(demand.most, cost=-weights.offline * demand.weight)
            taken.append((self.o[j], -1.0))
            if demand.least > 0.0:
                short = self._missing("deadline", (j,), weights.deadline, upper=demand.least)
                self.sparse.at_least([(self.o[j], 1.0), (short, 1.0)], demand.least)
        if taken:
            self.sparse.at_least([*offline, *taken], 0.0)

    def _modes(
        self, q: int, terms: list[Term], constant: float
    ) -> Iterable[tuple[int, list[Term], float]]:
        """Each mode of a shape with its replicas: columns and constant."""
        modes = self.problem.shapes[q].modes
        if self._fixed_modes is not None:
            held = [(u, self._fixed_modes.get((q, u), 0)) for u in range(len(modes))]
            return [(u, [], float(count)) for u, count in held if count > 0]
        if len(modes) == 1:
            return [(0, terms, constant)]
        upper = constant + sum(self.sparse.upper[column] for column, _ in terms)
        for u in range(len(modes)):
            self.r[q, u] = self.sparse.column(upper, is_integer=True)
        self.sparse.equal(
            [*((self.r[q, u], 1.0) for u in range(len(modes))), *((k, -v) for k, v in terms)],
            constant,
        )
        return [(u, [(self.r[q, u], 1.0)], 0.0) for u in range(len(modes))]

    def _add_failover(self, d: int) -> None:
        shapes = self._shapes[d]
        wanted = self.problem.wanted[d]
        needs = failover_needs(wanted, tuple(self.problem.shapes[q] for q in shapes))
        if not needs:
            return
        asked = sum(cls.failover_ratio * cls.work for cls in wanted.classes)
        short = self._missing("failover", (d,), self.problem.weights.failover, upper=asked)
        for needed, gives in needs:
            self._add_need(shapes, gives, needed=needed, short=(short, needed / asked))

    def _add_need(
        self, shapes: tuple[int, ...], gives: tuple[float, ...], *, needed: float, short: Term
    ) -> None:
        """Rows of one direction: what is left without any one domain."""
        total: list[Term] = []
        constant = 0.0
        by_domain: dict[int, list[Term]] = defaultdict(list)
        of_domain: dict[int, float] = defaultdict(float)
        for q, gain in zip(shapes, gives, strict=True):
            if gain <= 0.0:
                continue
            for c in self._cells_of[self.problem.shapes[q].kind]:
                column = self.n.get((c, q))
                fixed = 0 if column is not None else self._counts.get((c, q), 0)
                if column is None and not fixed:
                    continue
                domain = self.problem.cells[c].domain
                key = -1 if domain is None else domain
                if column is not None:
                    total.append((column, gain))
                    by_domain[key].append((column, gain))
                constant += gain * fixed
                of_domain[key] += gain * fixed
        if self._is_merged:
            rest = max(0.0, (self.problem.domains - 1) / self.problem.domains)
            self.sparse.at_least(
                [*((k, v * rest) for k, v in total), short], needed - constant * rest
            )
            for column, gain in total:
                if gain * (self.problem.domains - 1) > needed:
                    some = self._some(column)
                    self.sparse.at_least([*total, (some, -gain), short], needed - constant)
        elif not of_domain:
            self.sparse.at_least([short], needed)
        else:
            self._add_losses(total, constant, by_domain, of_domain, needed=needed, short=short)

    def _some(self, column: int) -> int:
        """A column that is 1 where a count is not 0."""
        if column not in self._some_of:
            some = self.sparse.column(1.0, is_integer=True)
            self.sparse.at_least([(some, self.sparse.upper[column]), (column, -1.0)], 0.0)
            self._some_of[column] = some
        return self._some_of[column]

    def _add_losses(
        self,
        total: list[Term],
        constant: float,
        by_domain: Mapping[int, list[Term]],
        of_domain: Mapping[int, float],
        *,
        needed: float,
        short: Term,
    ) -> None:
        """One row a domain: what is left without it."""
        if len(of_domain) <= _FEW_DOMAINS:
            for g in sorted(of_domain):
                lost = {k for k, _ in by_domain.get(g, ())}
                rest = [(k, v) for k, v in total if k not in lost]
                self.sparse.at_least([*rest, short], needed - (constant - of_domain[g]))
            return
        sum_of = self.sparse.column()
        self.sparse.at_most([(sum_of, 1.0), *((k, -v) for k, v in total)], constant)
        for g in sorted(of_domain):
            of_lost = self.sparse.column()
            self.sparse.at_least(
                [(of_lost, 1.0), *((k, -v) for k, v in by_domain.get(g, ()))], of_domain[g]
            )
            self.sparse.at_least([(sum_of, 1.0), (of_lost, -1.0), short], needed)

    def _add_spread(self, d: int) -> None:
        if not self.problem.wanted[d].is_spread:
            return
        by_domain: dict[int, list[Term]] = defaultdict(list)
        of_domain: dict[int, float] = {}  # every domain that can serve it
        for q in self._shapes[d]:
            for c in self._cells_of[self.problem.shapes[q].kind]:
                domain = self.problem.cells[c].domain
                if domain is None:
                    return
                if (c, q) in self.n:
                    by_domain[domain].append((self.n[c, q], 1.0))
                count = 0 if (c, q) in self.n else self._counts.get((c, q), 0)
                if count or self.problem.fits(c, q) or (c, q) in self.problem.held:
                    of_domain[domain] = of_domain.get(domain, 0.0) + count
        if len(of_domain) < 2:
            return
        every = [term for terms in by_domain.values() for term in terms]
        crowd = self._missing("spread", (d,), self.problem.weights.spread)
        if not every:
            most = -(-sum(of_domain.values()) // len(of_domain))
            self.sparse.at_least([(crowd, 1.0)], max(of_domain.values()) - most)
            return
        even = self.sparse.column(is_integer=True, upper=UNBOUNDED)
        self.sparse.at_most(
            [(even, float(len(of_domain))), *((k, -v) for k, v in every)],
            sum(of_domain.values()) + len(of_domain) - 1,
        )
        for g in sorted(of_domain):
            self.sparse.at_least(
                [(crowd, 1.0), (even, 1.0), *((k, -v) for k, v in by_domain.get(g, ()))],
                of_domain[g],
            )

    def _add_tenants(self, offline: Mapping[int, float]) -> None:
        own: dict[int, list[Term]] = defaultdict(list)
        claims: dict[int, list[Term]] = defaultdict(list)
        others: dict[int, float] = defaultdict(float)
        claimed: dict[int, float] = defaultdict(float)
        for j, demand in enumerate(self.problem.offline):
            if j in self.o:
                own[demand.tenant].append((self.o[j], 1.0))
                claims[demand.tenant].append((self.o[j], demand.claim))
            else:
                others[demand.tenant] += offline.get(j, 0.0)
                claimed[demand.tenant] += demand.claim * offline.get(j, 0.0)
        for tenant in sorted(own):
            entitled = self.problem.tenants[tenant]
            if entitled.most is not None:
                self.sparse.at_most(own[tenant], max(0.0, entitled.most - others[tenant]))
            if entitled.fair > 0.0:
                short = self._missing(
                    "fair", (tenant,), self.problem.weights.fair, upper=entitled.fair
                )
                self.sparse.at_least(
                    [*claims[tenant], (short, 1.0)], entitled.fair - claimed[tenant]
                )

    def _missing(
        self, tier: str, key: tuple[int, ...], weight: float, *, upper: float = UNBOUNDED
    ) -> int:
        column = self.sparse.column(upper, cost=weight)
        self.short[tier][key] = column
        return column
