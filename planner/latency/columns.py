"""The terms of the time model as a matrix.

Owns what each coefficient is multiplied by, sample by sample, and how a vector of
solved values becomes coefficients. Refuses to solve. Columns are TERMS in their order,
then one ramp for each stretch of the token curve, whose value is its rise there: a rise
>= 0 is what a curve that never falls comes to.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from planner.latency.coefficients import TERMS, TOKEN_KNOTS, Coefficients
from planner.latency.features import BatchShape
from planner.latency.solver import Matrix

_STRETCHES = tuple(pairwise(TOKEN_KNOTS))
COLUMNS = len(TERMS) + len(_STRETCHES)


class TermMatrix:
    """Samples x columns, for any knee.

    Args:
        shapes: One a sample.
    """

    def __init__(self, shapes: Sequence[BatchShape]) -> None:
        self._columns: Matrix = np.zeros((len(shapes), COLUMNS))
        self._columns[:, : len(TERMS) - 1] = np.array(
            [
                (
                    1.0,
                    shape.prefill_rows,
                    shape.prefill_tokens,
                    float(shape.prefill_tokens) ** 2,
                    shape.prefill_context_tokens,
                    shape.prefill_attention,
                    shape.prefill_padded_sq,
                    shape.decode_rows,
                    shape.decode_context_tokens,
                    shape.decode_rows * shape.decode_max_context_tokens,
                )
                for shape in shapes
            ],
            dtype=np.float64,
        )
        self._tokens: Matrix = np.array(
            [shape.prefill_tokens + shape.decode_rows for shape in shapes], dtype=np.float64
        )
        for column, (start, end) in enumerate(_STRETCHES, start=len(TERMS)):
            self._columns[:, column] = np.clip((self._tokens - start) / (end - start), 0.0, 1.0)

    def at_knee(self, knee_tokens: float) -> Matrix:
        """The matrix with the hinge at `knee_tokens`."""
        matrix = self._columns.copy()
        matrix[:, len(TERMS) - 1] = np.maximum(0.0, self._tokens - knee_tokens)
        return matrix


def values_of(coefficients: Coefficients) -> Matrix:
    """One value a column."""
    rises = [high - low for low, high in pairwise(coefficients.token_curve_ms)]
    terms = [getattr(coefficients, term) for term in TERMS]
    return np.array([*terms, *rises], dtype=np.float64)


def coefficients_of(
    values: Matrix,
    *,
    knee_tokens: float,
    margin_ratio: float = 0.0,
    margin_ms: float = 0.0,
    coverage_ratio: float = 0.0,
) -> Coefficients:
    """Coefficients from one value a column, each >= 0."""
    terms = dict(zip(TERMS, (float(value) for value in values), strict=False))
    heights = np.concatenate([[0.0], np.cumsum(values[len(TERMS) :])])
    return Coefficients(
        **terms,
        knee_tokens=knee_tokens,
        token_curve_ms=tuple(float(height) for height in heights),
        margin_ratio=margin_ratio,
        margin_ms=margin_ms,
        coverage_ratio=coverage_ratio,
    )


def columns_of_terms(terms: Sequence[str], *, has_curve: bool) -> Matrix:
    """1 for a column that may have a value, 0 for one that may not.

    Raises:
        ValueError: A name is not one of TERMS.
    """
    unknown = sorted(set(terms) - set(TERMS))
    if unknown:
        raise ValueError(f"latency terms {unknown}: unknown, allowed are {list(TERMS)}")
    return np.array([float(term in terms) for term in TERMS] + [float(has_curve)] * len(_STRETCHES))
