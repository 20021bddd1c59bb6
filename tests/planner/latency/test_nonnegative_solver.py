"""The least-squares core against SciPy's reference."""

import numpy as np
import pytest
from scipy.optimize import nnls

from planner.latency.solver import fit_nonnegative, solve_nonnegative


@pytest.mark.parametrize("seed", range(20))
def test_solve_nonnegative_agrees_with_scipy(seed):
    """Lawson and Hanson on the normal equations finds SciPy's minimum."""
    rng = np.random.default_rng(seed)
    matrix, target = rng.normal(size=(60, 8)), rng.normal(size=60)
    ours = solve_nonnegative(matrix.T @ matrix, matrix.T @ target)
    reference, _ = nnls(matrix, target)
    assert (ours >= 0.0).all()
    assert ours == pytest.approx(reference, abs=1e-8)


@pytest.mark.parametrize("seed", range(20))
def test_solve_nonnegative_finds_the_same_from_anywhere(seed):
    """The minimum is one: where the search begins does not show in it."""
    rng = np.random.default_rng(seed)
    matrix, target = rng.normal(size=(60, 8)), rng.normal(size=60)
    gram, moment = matrix.T @ matrix, matrix.T @ target
    cold = solve_nonnegative(gram, moment)
    for start in (cold, np.full(8, 5.0), rng.uniform(0.0, 3.0, 8) * (rng.uniform(size=8) < 0.5)):
        assert solve_nonnegative(gram, moment, start=start) == pytest.approx(cold, abs=1e-8)


def test_fit_nonnegative_keeps_the_prior_of_a_term_never_seen():
    """A column of zeros says nothing, so its coefficient stays."""
    rng = np.random.default_rng(1)
    features = np.column_stack([np.ones(50), rng.uniform(1, 9, 50), np.zeros(50)])
    target = features @ np.array([2.0, 3.0, 0.0])
    fitted = fit_nonnegative(features, target, prior=np.array([1.0, 1.0, 0.7]), ridge=1e-6)
    assert fitted == pytest.approx([2.0, 3.0, 0.7], rel=1e-3)
