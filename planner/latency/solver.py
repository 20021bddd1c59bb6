"""Non-negative, ridge-regularised, robust least squares.

Owns the numerics of a fit. Refuses meaning: it knows a matrix, a vector and a prior.
Deterministic and numpy only: Lawson and Hanson's active set on the normal equations of a
handful of columns, inside iteratively reweighted least squares.

Tall products are taken in blocks too small for the linear algebra library to start threads.
A refit shares its cores with an engine: threads that wait for each other on busy cores made
a fit six times as long as its CPU time, measured. Blocks also make the sums the same on any
number of cores.
"""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

_HUBER_DELTA = 1.345  # robust standard deviations: 95 % efficiency on Gaussian noise
_MAD_TO_SIGMA = 1.4826  # median absolute deviation to standard deviation, Gaussian
_MIN_SIGMA = 1e-6
_MAX_REWEIGHTS = 20
_CONVERGED = 1e-7
_OPTIMAL = 1e-12
_BLOCK_ROWS = 128


def fit_nonnegative(features: Matrix, target: Matrix, *, prior: Matrix, ridge: float) -> Matrix:
    """Solves min mean rho((target - features @ x)/target) + ridge |x* - prior*|^2, x >= 0.

    Residuals are relative, so that short and long iterations count alike. rho is Huber's,
    its scale the median absolute residual. x* is x with every column at unit norm. What
    the samples do not tell apart stays near the prior, and a term they never show keeps it.

    Args:
        features: Samples x terms, >= 0.
        target: Samples, > 0.
        prior: One value a term, >= 0.
        ridge: Weight of the prior against one sample's share of all, > 0.

    Returns:
        One coefficient a term, >= 0.
    """
    rows = features / target[:, None]
    norms = np.sqrt(np.mean(rows * rows, axis=0))
    seen = norms > 0.0
    rows = rows[:, seen] / norms[seen]
    centre = prior[seen] * norms[seen]
    count = len(target)
    weights = np.ones(count)
    solution = centre
    for _ in range(_MAX_REWEIGHTS):
        previous = solution
        weighted = rows * weights[:, None]
        gram = _cross(weighted, rows) / count + ridge * np.eye(len(centre))
        moment = weighted.sum(axis=0) / count + ridge * centre
        solution = solve_nonnegative(gram, moment, start=solution)
        residuals = np.abs(1.0 - times(rows, solution))
        cutoff = _HUBER_DELTA * max(_MAD_TO_SIGMA * float(np.median(residuals)), _MIN_SIGMA)
        weights = np.minimum(1.0, cutoff / np.maximum(residuals, _MIN_SIGMA))
        if float(np.max(np.abs(solution - previous), initial=0.0)) < _CONVERGED:
            break
    result = prior.copy()
    result[seen] = solution / norms[seen]
    return result


def times(matrix: Matrix, vector: Matrix) -> Matrix:
    """The product of a matrix and a vector, on one thread."""
    product: Matrix = np.einsum("ij,j->i", matrix, vector)
    return product


def _cross(left: Matrix, right: Matrix) -> Matrix:
    """The product left.T @ right of two tall matrices, block by block."""
    columns = left.shape[1]
    whole = len(left) // _BLOCK_ROWS * _BLOCK_ROWS
    blocks = (-1, _BLOCK_ROWS, columns)
    product = np.matmul(
        left[:whole].reshape(blocks).transpose(0, 2, 1), right[:whole].reshape(blocks)
    ).sum(axis=0)
    rest: Matrix = product + left[whole:].T @ right[whole:]
    return rest


def solve_nonnegative(gram: Matrix, moment: Matrix, *, start: Matrix | None = None) -> Matrix:
    """Minimises x'Gx/2 - m'x over x >= 0, G positive definite.

    Args:
        gram: G, n x n.
        moment: m, n values.
        start: Where to begin, n values >= 0: near the answer it saves most of the work and
            changes nothing else.

    Returns:
        x, n values >= 0.

    Source: Lawson and Hanson, Solving Least Squares Problems (1974), chapter 23, on the
    normal equations.
    """
    count = len(moment)
    x = np.zeros(count) if start is None else start.copy()
    free = x > 0.0
    if free.any():
        x = _solve_free(gram, moment, x=x, free=free)
    for _ in range(10 * count):
        gradient = np.where(free, -np.inf, moment - gram @ x)
        best = int(np.argmax(gradient)) if count else 0
        if not count or gradient[best] <= _OPTIMAL:
            break
        free[best] = True
        x = _solve_free(gram, moment, x=x, free=free)
    return x


def _solve_free(gram: Matrix, moment: Matrix, *, x: Matrix, free: NDArray[np.bool_]) -> Matrix:
    """From a feasible x to the minimum over the free values, freeing fewer as they reach 0."""
    while free.any():
        z = np.zeros(len(moment))
        z[free] = np.linalg.solve(gram[np.ix_(free, free)], moment[free])
        negative = free & (z <= 0.0)
        if not negative.any():
            return z
        falls = np.maximum(x[negative] - z[negative], np.finfo(np.float64).tiny)
        step = float(np.min(x[negative] / falls))
        x = x + step * (z - x)
        free &= x > _OPTIMAL
        x[~free] = 0.0
    return x
