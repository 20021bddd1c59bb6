"""Prices of what deployments share, and the best one deployment does at such prices.

Owns Dantzig and Wolfe's decomposition by deployment. A fleet's deployments share but a
few rows (`blocks`), so once those have prices each deployment is a small programme of its
own, solved to a proof in hundredths of a second. What each does then is a *pattern*.
Refuses to choose among them (`choosing`), domains, names and time. Invariant: `bound` never
exceeds the cost of any counts (Lagrange).

The bound is that of the convex hull of every deployment's whole patterns, so it closes
most of what the plain relaxation leaves (1.2 % at 1000 nodes and 50 deployments, measured).
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from planner.placement.counts.blocks import Block, Blocks, joined
from planner.placement.counts.choosing import Choosing, Pattern
from planner.placement.counts.evenness import Evenness
from planner.placement.counts.merging import merged_cells
from planner.placement.counts.problem import Counts, Problem
from planner.placement.counts.solver import Solution, solve_lp, solve_mip
from planner.placement.counts.sparse import Sparse

_TAIL_REPLICAS = 3.0
_TAIL_WINDOW = 2
_ZERO = 1e-6
_PART_NODES = 200
_PART_GAP = 5e-4  # of the bound, all deployments' together

_MARGINS = (1.02, 1.05, 1.1, 1.2, 1.4)
"""On failover, tried in turn where dividing a pattern over domains loses some of it."""
_BLAME = 0.5  # of what a division lost: another choice beside it may divide better
_KEPT_DOWN = 0.4  # how often a variation keeps a count down
_LEAST_LOSS = 1e-3  # replica-equivalents


class Patterns:
    """The patterns found so far of a problem, and what they prove.

    Args:
        problem: All of it, its cells in domains.

    Attributes:
        problem: As given.
        merged: The problem with cells merged by device type: what patterns are of.
        member: Of each cell, its merged one.
        bound: A lower bound of the weighted cost of any counts.

    Raises:
        SolverError: The solver failed at the relaxation.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.merged, self.member = merged_cells(problem)
        self._evenness = Evenness(problem, self.member)
        self._blocks = Blocks(self.merged)
        self._choosing = Choosing(self._blocks)
        programme, offsets, rows = joined(self._blocks)
        answer = solve_lp(programme.proto(is_relaxed=True))
        self.bound = answer.bound + self._blocks.constant
        self._prices = tuple(self._allowed(r, answer.prices[row]) for r, row in enumerate(rows))
        self._relaxed = [
            answer.values[offset : offset + len(block.sparse.cost)]
            for block, offset in zip(self._blocks.blocks, offsets, strict=True)
        ]
        self._gap = _PART_GAP * abs(self.bound) / max(1, len(self._blocks.blocks))
        self._last: dict[int, Sequence[float]] = {}  # deployment -> its columns
        self._margin: dict[int, int] = {}  # deployment -> which of the margins it needs
        self._wide: dict[tuple[int, int], Block] = {}

    @property
    def divisible(self) -> Problem:
        """The merged problem with the failover margins that dividing deployments needs."""
        wanted = list(self.merged.wanted)
        for d, step in self._margin.items():
            ratio = _MARGINS[step]
            wanted[d] = replace(
                wanted[d],
                classes=tuple(
                    replace(cls, failover_ratio=cls.failover_ratio * ratio)
                    for cls in wanted[d].classes
                ),
            )
        return replace(self.merged, wanted=tuple(wanted))

    def raise_bound(self, proven: float) -> None:
        """Takes in a bound proven of the whole programme, without what all runs costs."""
        self.bound = max(self.bound, proven + self._blocks.constant)

    def keep(self, counts: Counts) -> None:
        """Takes in merged counts that fit: each deployment's as a pattern.

        Raises:
            SolverError: The solver failed.
        """
        for block in self._blocks.blocks:
            sparse = block.sparse
            bounds = {}
            for key, column in block.programme.n.items():
                count = min(max(counts.get(key, 0), sparse.lower[column]), sparse.upper[column])
                bounds[column] = count, count
            values = self._solve(block, self._prices, bounds=bounds).values
            self._take(block, values)
            if self.merged.held and any(count for count, _ in bounds.values()):
                self._last.setdefault(block.deployment, values)

    def explore(self, *, work_left: Callable[[], bool]) -> None:
        """Patterns near the relaxation's counts: each a good start of its deployment's best.

        Raises:
            SolverError: The solver failed.
        """
        for block, values in zip(self._blocks.blocks, self._relaxed, strict=True):
            if not work_left():
                return
            if block.deployment in self._last:
                continue  # what runs is as good a start
            answer = self._solve(block, self._prices, bounds=_window(block, values))
            self._take(block, answer.values)
            self._last[block.deployment] = answer.values

    def price(self, *, within: float | None, work_left: Callable[[], bool]) -> None:
        """The best of every deployment at some prices.

        The bound is that of these prices where it is better.

        Args:
            within: Share of themselves by which prices may depart from the best so far, so
                that the mixture of patterns that costs least is worth it: far from those
                they ask for patterns nobody needs. None: the best so far.
            work_left: False ends it early, and proves nothing.

        Raises:
            SolverError: The solver failed.
        """
        prices = self._prices
        if within is not None:
            mixed = self._choosing.prices(prices, within=within)
            prices = tuple(self._allowed(r, price) for r, price in enumerate(mixed))
        proven = self._blocks.constant - sum(
            price * row.limit for price, row in zip(prices, self._blocks.shared, strict=True)
        )
        for block in self._blocks.blocks:
            if not work_left():
                return
            last = self._last.get(block.deployment)
            answer = self._solve(block, prices, start=last)
            self._last[block.deployment] = answer.values
            proven += answer.bound
            if self._take(block, answer.values) > _LEAST_LOSS:
                self._widen(block, prices, answer.values)
        if proven > self.bound:
            self.bound, self._prices = proven, prices

    def vary(
        self, draw: random.Random, chosen: Counts, *, by: float, work_left: Callable[[], bool]
    ) -> None:
        """More patterns: the best of prices nearby, and of one count being less than chosen.

        One optimum a deployment is too little to fill devices with. Those of prices nearby
        cost little more and differ in what they take; those that no prices ask for, as they
        lie inside the hull, come from keeping one count down.

        Args:
            draw: Says all that is drawn.
            chosen: Merged counts to depart from.
            by: Natural logarithm of the largest factor between drawn prices and the best.
            work_left: False ends it early.

        Raises:
            SolverError: The solver failed.
        """
        prices = tuple(
            self._allowed(r, price * math.exp(draw.uniform(-by, by)))
            for r, price in enumerate(self._prices)
        )
        for block in self._blocks.blocks:
            if not work_left():
                return
            sparse = block.sparse
            some = [
                (column, count)
                for key, column in block.programme.n.items()
                if (count := chosen.get(key, 0)) > sparse.lower[column]
            ]
            bounds = {}
            if some and draw.random() < _KEPT_DOWN:
                column, count = draw.choice(some)
                bounds[column] = sparse.lower[column], count - 1.0
            last = self._last.get(block.deployment)
            values = self._solve(block, prices, start=last, bounds=bounds).values
            if self._take(block, values) > _LEAST_LOSS:
                self._widen(block, prices, values)

    def choice(self) -> tuple[Counts, float]:
        """Merged counts of one pattern a deployment, at the least cost found, and that cost.

        Raises:
            SolverError: No choice keeps the shared rows, or the solver failed.
        """
        return self._choosing.choice()

    def blame(self, lost: Mapping[int, float]) -> None:
        """Makes chosen patterns dearer that could not be divided, and finds wider ones.

        Args:
            lost: Failover short after the division, by deployment.

        Raises:
            SolverError: The solver failed.
        """
        for d, short in sorted(lost.items()):
            self._choosing.blame(d, cost=_BLAME * short * self.merged.weights.failover)
            step = min(self._margin.get(d, -1) + 1, len(_MARGINS) - 1)
            self._margin[d] = step
            self._widen(self._blocks.blocks[d], self._prices, self._last.get(d))

    def _widen(self, block: Block, prices: Sequence[float], values: Sequence[float] | None) -> None:
        """Patterns with margins of failover, until dividing one over domains loses nothing."""
        d = block.deployment
        for step in range(self._margin.get(d, 0), len(_MARGINS)):
            wide = self._wide.get((d, step)) or self._blocks.wider(d, failover=_MARGINS[step])
            self._wide[d, step] = wide
            is_start = values is not None and len(values) == len(wide.sparse.cost)
            values = self._solve(wide, prices, start=values if is_start else None).values
            if self._take(wide, values) <= _LEAST_LOSS:
                self._margin[d] = step
                return

    def _solve(
        self,
        block: Block,
        prices: Sequence[float],
        *,
        start: Sequence[float] | None = None,
        bounds: Mapping[int, tuple[float, float]] | None = None,
    ) -> Solution:
        """One deployment's best at these prices.

        A good start saves most of the time: the search then only has to prove it.
        """
        sparse = block.sparse
        cost = list(sparse.cost)
        for column, terms in block.takes.items():
            cost[column] += sum(prices[row] * each for row, each in terms)
        return solve_mip(
            sparse.proto(cost=cost, bounds=bounds),
            node_limit=_PART_NODES,
            absolute_gap=self._gap,
            start=None if start is None else _within(start, sparse, bounds or {}),
        )

    def _take(self, block: Block, values: Sequence[float]) -> float:
        """Makes a pattern of what a deployment does; the failover that dividing it loses."""
        counts = block.counts(values)
        shorts = block.programme.short["failover"].values()
        lack = self._evenness.lack(block.deployment, counts)
        lost = max(0.0, lack - sum(max(0.0, values[column]) for column in shorts))
        cost = block.sparse.cost_of(values, range(len(values)))
        pattern = Pattern(
            deployment=block.deployment,
            counts=counts,
            cost=cost + self.merged.weights.failover * lost,
            taken=block.taken(values),
        )
        self._choosing.take(pattern)
        return lost

    def _allowed(self, row: int, price: float) -> float:
        """A price as the bound may use it."""
        relief = self._blocks.shared[row].relief
        return max(0.0, price if relief is None else min(price, relief))


def _within(
    values: Sequence[float], sparse: Sparse, bounds: Mapping[int, tuple[float, float]]
) -> dict[int, float]:
    """Integers of a start within narrower bounds: HiGHS fails on one outside of them."""
    start = {c: values[c] for c, is_integer in enumerate(sparse.is_integer) if is_integer}
    for column, (low, high) in bounds.items():
        start[column] = min(max(start[column], low), high)
    return start


def _window(block: Block, values: Sequence[float]) -> dict[int, tuple[float, float]]:
    """Bounds of counts near those of the relaxation.

    One more on either side, and a small window for deployments that the relaxation gives a
    fraction of a replica; the rest is kept to none.
    """
    columns = block.programme.n.values()
    share = sum(values[column] for column in columns)
    window: dict[int, tuple[float, float]] = {}
    for column in columns:
        value, low, high = values[column], block.sparse.lower[column], block.sparse.upper[column]
        if value > _ZERO:
            above = 2 if value < _TAIL_WINDOW else 1
            near = math.floor(value) - 1, math.ceil(value) + above
        else:
            near = 0, _TAIL_WINDOW if share < _TAIL_REPLICAS else 0
        window[column] = max(low, float(near[0])), max(low, min(high, float(near[1])))
    return window
