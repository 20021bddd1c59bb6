"""The choice of one pattern a deployment, within the rows that deployments share.

Owns the patterns found and the master programme of Dantzig and Wolfe's decomposition, whole
and relaxed. Refuses to make patterns. Invariants: a choice keeps every shared row; with some
patterns that keep them among those found, no choice costs more than those, but for blame.

Few more deployments than there are binding rows hang between two patterns in the relaxed
programme (Shapley and Folkman), so that choosing whole patterns costs little.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from planner.placement.counts.blocks import Blocks
from planner.placement.counts.problem import Counts
from planner.placement.counts.solver import solve_lp, solve_mip
from planner.placement.counts.sparse import Sparse, Term

_ZERO = 1e-6
_NODES = 2_000
_GAP = 1e-4

_Key: TypeAlias = tuple[int, tuple[tuple[tuple[int, int], int], ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """One thing a deployment may do."""

    deployment: int
    counts: Counts
    cost: float
    taken: Mapping[int, float]  # of each shared row


class Choosing:
    """The patterns found so far, and what is chosen of them.

    Args:
        blocks: Whose shared rows a choice keeps.
    """

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._found: dict[_Key, Pattern] = {}
        self._chosen: dict[int, _Key] = {}
        self._blamed: dict[_Key, float] = {}

    def take(self, pattern: Pattern) -> None:
        """Takes in a pattern; of those with the same counts the cheapest stays."""
        key = pattern.deployment, tuple(sorted(pattern.counts.items()))
        known = self._found.get(key)
        if known is None or pattern.cost < known.cost:
            self._found[key] = pattern

    def choice(self) -> tuple[Counts, float]:
        """Counts of one pattern a deployment, at the least cost found, and that cost.

        Raises:
            SolverError: No choice keeps the shared rows, or the solver failed.
        """
        programme, columns, _ = self._programme()
        answer = solve_mip(programme.proto(), node_limit=_NODES, relative_gap=_GAP)
        counts: dict[tuple[int, int], int] = {}
        for (key, pattern), column in zip(self._found.items(), columns, strict=True):
            if answer.values[column] > 0.5:
                counts |= pattern.counts
                self._chosen[pattern.deployment] = key
        return counts, answer.cost + self._blocks.constant

    def blame(self, deployment: int, *, cost: float) -> None:
        """Makes the pattern last chosen of a deployment dearer."""
        key = self._chosen[deployment]
        self._blamed[key] = self._blamed.get(key, 0.0) + cost

    def prices(self, near: Sequence[float], *, within: float) -> list[float]:
        """Prices of the shared rows that the mixture of patterns is worth which costs least.

        Args:
            near: Prices to stay near to, one a shared row.
            within: Share of themselves by which they may depart from those.

        Raises:
            SolverError: The solver failed.
        """
        programme, _, rows = self._programme(near=near, within=within)
        answer = solve_lp(programme.proto(is_relaxed=True))
        return [answer.prices[row] for row in rows]

    def _programme(
        self, *, near: Sequence[float] = (), within: float | None = None
    ) -> tuple[Sparse, list[int], list[int]]:
        """The choice among patterns: it, a column a pattern, and a number a shared row.

        With prices, shared rows may be broken and left slack at prices so near those.
        """
        made = Sparse()
        columns: list[int] = []
        in_row: list[list[Term]] = [[] for _ in self._blocks.shared]
        of: dict[int, list[Term]] = defaultdict(list)
        for key, pattern in self._found.items():
            cost = pattern.cost + self._blamed.get(key, 0.0)
            column = made.column(1.0, cost=cost, is_integer=True)
            columns.append(column)
            of[pattern.deployment].append((column, 1.0))
            for row, taken in pattern.taken.items():
                in_row[row].append((column, taken))
        rows: list[int] = []
        for r, shared in enumerate(self._blocks.shared):
            if shared.relief is not None:
                in_row[r].append((made.column(cost=shared.relief), -1.0))
            if within is not None:
                price = near[r]
                dear = price * (1.0 + within) + _ZERO
                in_row[r].append((made.column(cost=dear), -1.0))
                if price > _ZERO:
                    in_row[r].append((made.column(cost=-price * (1.0 - within)), 1.0))
            rows.append(len(made.row_lower))
            made.at_most(in_row[r], shared.limit)
        for terms in of.values():
            made.equal(terms, 1.0)
        return made, columns, rows
