"""The minimum of a sum of convex functions, each below by its own planes.

Owns the search: cutting planes (Kelley 1960), with planes kept apart for each term of the
sum, since a term's planes say more of it than those of the sum. The linear programme of
each step is the caller's to solve; whatever it answers, each point that is asked gives a
bound, so a bad answer makes a looser one and never a wrong one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from planner.clairvoyant.prices import Floats

Solver = Callable[[Floats, Floats, Floats, Floats, Floats], Floats | None]
"""Minimises costs @ x with rows @ x <= limits and lower <= x <= upper; None: it failed."""

_STEPS = (0.5, 1.0)  # of the way from the best point to the planes' minimum


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The sum at a point.

    Attributes:
        values: Of each term.
        gradients: A subgradient of each, (terms, size).
    """

    values: Floats
    gradients: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowest:
    """The lowest value found, where, and what no value is below."""

    at: Floats
    value: float
    below: float
    rounds: int


def lowest(
    evaluate: Callable[[Floats], Terms],
    *,
    most: Floats,
    start: Floats,
    solve: Solver,
    tolerance_ratio: float,
    max_rounds: int,
    known: Sequence[tuple[int, Floats]] = (),
) -> Lowest:
    """Searches the box [0, most].

    Args:
        evaluate: The terms at a point; each convex.
        most: The box, > 0.
        start: The first point asked.
        solve: Linear programmes.
        tolerance_ratio: Stops when value - below is at most so much of the value.
        max_rounds: Stops then.
        known: Planes through 0 that are below a term, with the term's index.
    """
    best, best_at, below = np.inf, start, -np.inf
    planes = start
    kept: list[tuple[Floats, Floats]] = []
    rounds = 0
    for rounds in range(1, max_rounds + 1):
        asked = [start] if rounds == 1 else [best_at + s * (planes - best_at) for s in _STEPS]
        for point in asked:
            terms = evaluate(point)
            value = float(terms.values.sum())
            offsets = terms.gradients @ point - terms.values
            kept.append((terms.gradients, offsets))
            if value < best:
                best, best_at = value, point
        count = len(kept[0][1])
        units = -np.eye(count)
        rows = np.vstack(
            [np.hstack([gradients, units]) for gradients, _ in kept]
            + [np.concatenate([gradient, units[term]])[None, :] for term, gradient in known]
        )
        limits = np.concatenate([*(offsets for _, offsets in kept), np.zeros(len(known))])
        found = solve(
            np.concatenate([np.zeros(len(most)), np.ones(count)]),
            rows,
            limits,
            np.concatenate([np.zeros(len(most)), np.full(count, -np.inf)]),
            np.concatenate([most, np.full(count, np.inf)]),
        )
        if found is None:
            break
        below = max(below, float(found[len(most) :].sum()))
        planes = np.clip(found[: len(most)], 0.0, most)
        if best - below <= tolerance_ratio * abs(best):
            break
    return Lowest(at=best_at, value=best, below=below, rounds=rounds)
