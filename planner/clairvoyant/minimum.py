"""The minimum of a convex function of a few prices.

Owns the search. Any prices give a bound, so a search that stops early, or errs in its
arithmetic, gives a looser bound and never a wrong one. Method: cutting planes (Kelley 1960),
with each query half way between the best prices so far and the minimum of the planes; that
minimum is a linear programme with a row a price, solved by the simplex method on its dual.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from planner.clairvoyant.prices import Floats

_ZERO = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True)
class Minimum:
    """The lowest value found.

    Attributes:
        at: Where.
        value: The value there.
        below: No value is lower than this, but for rounding.
        evaluations: How many were asked for.
    """

    at: Floats
    value: float
    below: float
    evaluations: int


def minimise(
    evaluate: Callable[[Floats], tuple[float, Floats]],
    *,
    most: Floats,
    start: Floats,
    tolerance_ratio: float,
    max_evaluations: int,
) -> Minimum:
    """Searches the box [0, most].

    Args:
        evaluate: Value and a subgradient at a point; convex.
        most: The box, > 0.
        start: The first query, within the box.
        tolerance_ratio: Stops when value - below is at most so much of the value.
        max_evaluations: Stops then.
    """
    offsets, slopes = [], []  # planes in the unit box: offset + slope @ x
    best, best_at, below = np.inf, start / most, -np.inf
    query = best_at
    planes_at = query
    evaluations = 0
    while evaluations < max_evaluations:
        value, gradient = evaluate(query * most)
        evaluations += 1
        slope = gradient * most
        offsets.append(value - float(slope @ query))
        slopes.append(slope)
        if value < best:
            best, best_at = value, query
        found, planes_at = _lowest(np.array(offsets), np.array(slopes))
        below = max(below, found)
        if best - below <= tolerance_ratio * abs(best):
            break
        query = (best_at + planes_at) / 2.0
    return Minimum(at=best_at * most, value=best, below=below, evaluations=evaluations)


def _lowest(offsets: Floats, slopes: Floats) -> tuple[float, Floats]:
    """Minimum over the unit box of the largest of planes, and where it is.

    The dual has a weight for each plane, which sum to 1, and for each price the row

        sum weight*slope + above - below = 0,    above, below >= 0,

    and maximises sum weight*offset - sum above. The first plane alone is feasible.
    """
    count, size = slopes.shape
    scale = max(1.0, float(np.abs(slopes).max()))
    slopes, offsets = slopes / scale, offsets / scale
    eye = np.eye(size)
    top = np.concatenate([np.ones(count), np.zeros(2 * size)])
    columns = np.vstack([top, np.hstack([slopes.T, eye, -eye])])
    gains = np.concatenate([offsets, -np.ones(size), np.zeros(size)])
    right = np.zeros(size + 1)
    right[0] = 1.0
    signs = np.where(slopes[0] >= 0.0, size, 0)
    basis = np.concatenate([[0], count + np.arange(size) + signs])
    multipliers = np.zeros(size + 1)
    for step in range(50 * (size + 1) + 2 * count):
        square = columns[:, basis]
        multipliers = np.linalg.solve(square.T, gains[basis])
        reduced = gains - multipliers @ columns
        reduced[basis] = 0.0
        if reduced.max() <= _ZERO:
            break
        # The steepest first; then the first, which cannot cycle (Bland).
        is_late = step > 20 * (size + 1)
        entering = int(np.argmax(reduced > _ZERO)) if is_late else int(np.argmax(reduced))
        direction = np.linalg.solve(square, columns[:, entering])
        held = np.linalg.solve(square, right)
        blocking = direction > _ZERO
        if not blocking.any():
            break
        ratios = np.full(size + 1, np.inf)
        ratios[blocking] = np.maximum(held[blocking], 0.0) / direction[blocking]
        tied = np.flatnonzero(ratios <= ratios.min() + _ZERO)
        leaving = tied[np.argmin(basis[tied])]
        basis[leaving] = entering
    return float(multipliers[0] * scale), np.clip(-multipliers[1:], 0.0, 1.0)
