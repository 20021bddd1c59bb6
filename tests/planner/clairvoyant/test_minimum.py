"""The search for the lowest bound."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from planner.clairvoyant.minimum import minimise


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 7),
    count=st.integers(1, 30),
    seed=st.integers(0, 10_000),
)
def test_minimise_finds_the_lowest_of_a_maximum_of_planes(size, count, seed):
    """As a linear programme has it."""
    source = np.random.default_rng(seed)
    slopes, offsets = source.normal(size=(count, size)), source.normal(size=count) + 5.0
    most = source.uniform(0.1, 10.0, size=size)

    def evaluate(at):
        values = offsets + slopes @ at
        best = int(np.argmax(values))
        return float(values[best]), slopes[best]

    found = minimise(
        evaluate, most=most, start=most / 3.0, tolerance_ratio=1e-6, max_evaluations=2000
    )
    exact = linprog(
        [*np.zeros(size), 1.0],
        A_ub=np.hstack([slopes, -np.ones((count, 1))]),
        b_ub=-offsets,
        bounds=[*((0.0, float(high)) for high in most), (None, None)],
    )
    assert found.value == pytest.approx(exact.fun, rel=1e-4, abs=1e-4)
    assert found.below <= exact.fun + 1e-6
    assert (found.at >= 0.0).all() and (found.at <= most + 1e-12).all()
