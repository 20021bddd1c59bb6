"""The measure of the bench as a linear programme, and its tiers in order.

Owns one formulation for both questions: what given replicas are worth (their counts
fixed), and what no placement can pass (counts free, in totals over the fleet). So a value
and a bound differ by placement alone. Refuses nodes and domains but as stated. With
n[k] replicas of choice k, frontiers concave, flows of n identical replicas are exactly n
times one's, and no binary is needed:

    sum_s a[k,s] <= n[k]                                replicas by SLO mode
    sum_i x[k,s,i] <= most_online[k,s] a[k,s]           mode s serves classes i >= s
    alpha sum_i x[k,s,i] + beta y[k,s] <= gamma a[k,s]  every segment
    sum_{k,s} x[k,s,i] + short_online[d,i] >= demand    classes i of deployment d
    sum_{k,s} y[k,s] >= sum_j z[j]                      batches j of deployment d
    z[j] + short_deadline[j] >= least[j]; z[j] <= most[j]; quotas
    sum_k n[k] + short_replicas[d] >= min_replicas[d]

and, with counts free:

    sum_k devices n <= devices of the kind; host memory alike
    sum_s b[k,s] <= n[k] (D - 1) / D,  x_fail + short_failover[d,i] >= share of the demand
    sum_k (n - n_now)+ <= moves

The failover rows are those of D domains, added up: what survives the loss of one domain
is (D - 1) / D of the replicas on average, and a worst loss is no smaller than the mean.
`bounds` adds what integrality says of single large replicas.

Tiers, each before the next: replicas, online (tight, then loose), failover (tight, then
loose), deadlines, weighted offline work. All but the last are shortfalls in
device-equivalents.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix, vstack

from bench.placement.board import CLASSES, Board, Counts, Floats

SHORTFALLS = (
    "replicas",
    "online_tight",
    "online_loose",
    "failover_tight",
    "failover_loose",
    "deadlines",
)
"""Tiers before weighted offline work, first first."""

SLACK = 1e-6
"""Of a tier's sum, in device-equivalents: the solver's tolerance."""


class ProgrammeError(Exception):
    """The solver found no answer where there must be one."""


@dataclass(slots=True, kw_only=True)
class Programme:
    """Rows and columns, grown one at a time; minimised."""

    lower: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    is_integer: list[bool] = field(default_factory=list)
    values: dict[int, float] = field(default_factory=dict)  # weighted offline, by column
    short: dict[str, list[int]] = field(
        default_factory=lambda: {tier: [] for tier in SHORTFALLS}
    )
    counts: dict[int, int] = field(default_factory=dict)  # choice -> column
    _rows: list[int] = field(default_factory=list)
    _columns: list[int] = field(default_factory=list)
    _factors: list[float] = field(default_factory=list)
    _least: list[float] = field(default_factory=list)
    _most: list[float] = field(default_factory=list)

    def column(self, least: float, most: float, *, is_integer: bool = False) -> int:
        """A variable; returns its index."""
        self.lower.append(least)
        self.upper.append(max(least, most))
        self.is_integer.append(is_integer)
        return len(self.lower) - 1

    def shortfall(self, tier: str, most: float) -> int:
        """A slack of a tier."""
        column = self.column(0.0, most)
        self.short[tier].append(column)
        return column

    def row(
        self,
        terms: Sequence[tuple[int, float]],
        *,
        least: float = -np.inf,
        most: float = np.inf,
    ) -> None:
        """least <= sum of factor times column <= most."""
        number = len(self._least)
        for column, factor in terms:
            if factor != 0.0:
                self._rows.append(number)
                self._columns.append(column)
                self._factors.append(factor)
        self._least.append(least)
        self._most.append(most)

    def solve(
        self,
        cost: Mapping[int, float],
        *,
        caps: Mapping[str, float],
        seconds: float | None = None,
        is_relaxed: bool = True,
        gap_ratio: float = 1e-4,
        excess_cost: float | None = None,
    ) -> "Solved":
        """Minimises a cost with the sums of some tiers capped.

        Args:
            cost: By column.
            caps: By tier.
            seconds: Time limit.
            is_relaxed: Without integers.
            gap_ratio: That ends a search with integers.
            excess_cost: Caps may be passed at this cost, so that something is always
                found (scipy tells no bound without it); what it proves holds without too.

        Raises:
            ProgrammeError: HiGHS ended without a bound.
        """
        named = [tier for tier in caps if self.short[tier]]
        shape = (len(self._least), len(self.lower) + len(named))
        matrix = csr_matrix((self._factors, (self._rows, self._columns)), shape=shape)
        least, most = np.array(self._least), np.array(self._most)
        if named:
            rows = [row for row, tier in enumerate(named) for _ in self.short[tier]]
            columns = [column for tier in named for column in self.short[tier]]
            rows += range(len(named))
            columns += range(len(self.lower), shape[1])
            factors = np.ones(len(rows))
            factors[-len(named) :] = -1.0
            extra = csr_matrix((factors, (rows, columns)), shape=(len(named), shape[1]))
            matrix = vstack([matrix, extra], format="csr")
            least = np.concatenate([least, np.full(len(named), -np.inf)])
            most = np.concatenate([most, np.array([caps[tier] for tier in named])])
        costs = np.zeros(shape[1])
        for column, factor in cost.items():
            costs[column] = factor
        costs[len(self.lower) :] = excess_cost or 0.0
        excess = np.full(len(named), 0.0 if excess_cost is None else np.inf)
        options: dict[str, float] = {} if is_relaxed else {"mip_rel_gap": gap_ratio}
        if seconds is not None:
            options["time_limit"] = seconds
        found = milp(
            costs,
            integrality=(
                None
                if is_relaxed
                else np.array([*self.is_integer, *(False for _ in named)], dtype=np.int64)
            ),
            bounds=Bounds(
                np.concatenate([np.array(self.lower), np.zeros(len(named))]),
                np.concatenate([np.array(self.upper), excess]),
            ),
            constraints=LinearConstraint(matrix, least, most),
            options=options,
        )
        if found.status == 2:
            return Solved(values=None, objective=np.inf, bound=np.inf)
        bound = found.fun if is_relaxed else found.mip_dual_bound
        if bound is None or (is_relaxed and found.x is None):
            raise ProgrammeError(f"HiGHS: {found.message}")
        return Solved(
            values=found.x,
            objective=np.inf if found.x is None else float(found.fun),
            bound=float(bound),
        )

    def tiers_in_order(self, *, caps: Mapping[str, float] | None = None) -> "Tiers":
        """The least shortfalls, tier by tier, then the most weighted offline work.

        Args:
            caps: Tiers whose sums are given instead of sought (allowed to be as much).

        Raises:
            ProgrammeError: The solver failed, or the caps are below what is possible.
        """
        caps = dict(caps or {})
        offline = {column: -value for column, value in self.values.items()}
        free = [tier for tier in SHORTFALLS if tier not in caps]
        # Mostly nothing is short: then one programme answers all tiers.
        found = self.solve(offline, caps=caps | dict.fromkeys(free, SLACK))
        if found.values is None:
            for tier in free:
                least = self.solve(dict.fromkeys(self.short[tier], 1.0), caps=caps)
                caps[tier] = max(0.0, least.objective) + SLACK
            found = self.solve(offline, caps=caps)
        if found.values is None:
            raise ProgrammeError(f"nothing is possible within {caps}")
        return Tiers(
            short={
                tier: float(sum(found.values[column] for column in self.short[tier]))
                for tier in SHORTFALLS
            },
            offline=-found.objective,
            solution=found.values,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """One solve: values by column, or None where nothing is possible or was found."""

    values: Floats | None
    objective: float
    bound: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiers:
    """Shortfalls by tier, and weighted offline work."""

    short: Mapping[str, float]
    offline: float
    solution: Floats


def formulate(board: Board, *, totals: Counts | None = None) -> Programme:
    """The programme of given replicas, or of all placements.

    Args:
        board: What there is.
        totals: Replicas by choice, shape (choices,); None: free, within the fleet.
    """
    made = Programme()
    for number, choice in enumerate(board.choices):
        if totals is not None:
            if totals[number]:
                count = float(totals[number])
                made.counts[number] = made.column(count, count)
            continue
        fits = board.devices[board.kind == choice.kind] // choice.devices
        made.counts[number] = made.column(0.0, float(fits.sum()), is_integer=True)
    _online_and_offline(made, board)
    for number, deployment in enumerate(board.deployments):
        own = [(made.counts[k], 1.0) for k in board.of_deployment[number] if k in made.counts]
        slack = made.shortfall("replicas", float(deployment.min_replicas))
        made.row([*own, (slack, 1.0)], least=float(deployment.min_replicas))
    return made


def _online_and_offline(made: Programme, board: Board) -> None:
    """What replicas carry, by mode."""
    serving: dict[tuple[int, int], list[tuple[int, float]]] = {}
    carrying: dict[int, list[tuple[int, float]]] = {}
    wanted = [0.0] * len(board.deployments)
    for batch in board.batches:
        wanted[batch.deployment] += batch.most
    for number, column in made.counts.items():
        choice = board.choices[number]
        share = []
        for mode in choice.modes:
            a = made.column(0.0, np.inf)
            share.append((a, 1.0))
            xs = []
            for rank in range(mode.rank, CLASSES):
                demand = float(board.online[choice.deployment, rank])
                if demand > 0.0 and mode.most_online > 0.0:
                    x = made.column(0.0, demand)
                    xs.append(x)
                    serving.setdefault((choice.deployment, rank), []).append((x, 1.0))
            if xs:
                made.row([*((x, 1.0) for x in xs), (a, -mode.most_online)], most=0.0)
            if not wanted[choice.deployment]:
                continue
            y = made.column(0.0, wanted[choice.deployment])
            carrying.setdefault(choice.deployment, []).append((y, 1.0))
            for alpha, beta, gamma in mode.segments:
                made.row([*((x, alpha) for x in xs), (y, beta), (a, -gamma)], most=0.0)
        if share:
            made.row([*share, (column, -1.0)], most=0.0)
    tiers = ("online_tight", "online_loose")
    for (deployment, rank), demand in np.ndenumerate(board.online):
        if demand > 0.0:
            slack = made.shortfall(tiers[rank], float(demand))
            made.row(
                [*serving.get((deployment, rank), []), (slack, 1.0)], least=float(demand)
            )
    _demands(made, board, carrying)


def _demands(
    made: Programme, board: Board, carrying: Mapping[int, Sequence[tuple[int, float]]]
) -> None:
    """Batches, deadlines and quotas."""
    done: dict[int, list[tuple[int, float]]] = {}
    quotas: dict[int, list[tuple[int, float]]] = {}
    for batch in board.batches:
        z = made.column(0.0, batch.most)
        made.values[z] = batch.value
        done.setdefault(batch.deployment, []).append((z, -1.0))
        if batch.tenant >= 0 and np.isfinite(board.quotas[batch.tenant]):
            scale = batch.work_per_unit / float(board.quotas[batch.tenant])
            quotas.setdefault(batch.tenant, []).append((z, scale))
        if batch.least > 0.0:
            slack = made.shortfall("deadlines", batch.least)
            made.row([(z, 1.0), (slack, 1.0)], least=batch.least)
    for deployment, terms in done.items():
        made.row([*carrying.get(deployment, []), *terms], least=0.0)
    for terms in quotas.values():
        made.row(terms, most=1.0)
