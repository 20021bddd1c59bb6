"""Rows, columns and tiers on HiGHS.

Owns how a programme is grown, solved and read, and that earlier tiers come strictly first.
Refuses to know what rows mean. scipy's HiGHS answers, so that the referee shares no solver
layer with what it judges.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix, vstack

from bench.placement.board import Floats

SHORTFALLS = (
    "replicas",
    "online_tight",
    "online_loose",
    "failover_tight",
    "failover_loose",
    "deadlines",
    "fair",
)
"""Tiers before weighted offline work, first first; the last in devices below tenants' fair
shares, 0 where a board has none."""

FAIR = "fair"

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
    short: dict[str, list[int]] = field(default_factory=lambda: {tier: [] for tier in SHORTFALLS})
    counts: dict[int, int] = field(default_factory=dict)  # choice -> column
    modes: list[int] = field(default_factory=list)  # replicas by choice and mode
    claims: dict[int, list[tuple[int, float]]] = field(default_factory=dict)  # by tenant
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

    def keep_modes_whole(self) -> None:
        """No replica is divided over modes any more."""
        for column in self.modes:
            self.is_integer[column] = True

    def row(
        self,
        terms: Sequence[tuple[int, float]],
        *,
        least: float = -np.inf,
        most: float = np.inf,
    ) -> None:
        """Holds the sum of factor times column between `least` and `most`."""
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
                found; what it proves holds without too.

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
        with _quiet():
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
        if bound is None and not is_relaxed:
            # scipy tells no bound before the first answer; that of the relaxation holds.
            relaxed = self.solve(cost, caps=caps, excess_cost=excess_cost)
            return Solved(values=None, objective=np.inf, bound=relaxed.objective)
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


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what HiGHS prints of itself, whatever its options say."""
    sys.stdout.flush()
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(nowhere)
        os.close(kept)


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
