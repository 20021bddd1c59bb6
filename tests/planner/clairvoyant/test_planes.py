"""The search for the lowest of a sum."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from linear_programmes import solve
from scipy.optimize import linprog

from planner.clairvoyant.planes import Terms, lowest


def drawn(source, *, terms, count, size):
    """Terms that are each the largest of a few planes."""
    slopes, offsets = source.normal(size=(terms, count, size)), source.normal(size=(terms, count))

    def evaluate(at):
        values = offsets + slopes @ at
        best = np.argmax(values, axis=1)
        each = np.arange(terms)
        return Terms(values=values[each, best], gradients=slopes[each, best])

    return evaluate, slopes, offsets


@hypothesis_settings(max_examples=40, deadline=None)
@given(
    terms=st.integers(1, 5),
    count=st.integers(1, 5),
    size=st.integers(1, 6),
    seed=st.integers(0, 10_000),
)
def test_lowest_is_that_of_the_sum(terms, count, size, seed):
    """As one linear programme has it; what is below is below."""
    source = np.random.default_rng(seed)
    evaluate, slopes, offsets = drawn(source, terms=terms, count=count, size=size)
    most = source.uniform(0.1, 4.0, size=size)
    found = lowest(
        evaluate, most=most, start=most / 2.0, solve=solve, tolerance_ratio=1e-9, max_rounds=200
    )
    units = np.repeat(-np.eye(terms), count, axis=0)
    exact = linprog(
        [*np.zeros(size), *np.ones(terms)],
        A_ub=np.hstack([slopes.reshape(-1, size), units]),
        b_ub=-offsets.ravel(),
        bounds=[*((0.0, high) for high in most), *[(None, None)] * terms],
    )
    assert found.value == pytest.approx(exact.fun, abs=1e-6)
    assert found.below <= exact.fun + 1e-6
    assert found.value == pytest.approx(float(evaluate(found.at).values.sum()))


def test_solver_that_fails_leaves_the_first_point():
    """Any point that was asked gives a bound."""
    source = np.random.default_rng(1)
    evaluate, _, _ = drawn(source, terms=2, count=3, size=2)
    start = np.array([0.3, 0.4])
    found = lowest(
        evaluate,
        most=np.ones(2),
        start=start,
        solve=lambda *_: None,
        tolerance_ratio=1e-3,
        max_rounds=9,
    )
    assert found.value == float(evaluate(start).values.sum()) and found.rounds == 1


def test_solver_that_lies_makes_the_value_no_lower_than_the_lowest():
    """Wherever it sends the search."""
    source = np.random.default_rng(2)
    evaluate, _, _ = drawn(source, terms=3, count=4, size=3)
    asked = {"most": np.ones(3), "start": np.full(3, 0.5), "tolerance_ratio": 1e-9}
    best = lowest(evaluate, solve=solve, max_rounds=100, **asked)

    def lies(costs, *_):
        return source.uniform(-5.0, 5.0, size=len(costs))

    assert lowest(evaluate, solve=lies, max_rounds=20, **asked).value >= best.value - 1e-9
