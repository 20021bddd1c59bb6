"""HyGen's batch latency predictor, to compare with and to plan by.

Owns the published form (arXiv 2501.14808, latency predictor):

    T_batch = f(S_p, S_d, S_p^2, [S_d^2], N_p, N_d),

f linear with a constant, fitted by ordinary least squares, one for all iterations. A decode
row computes one token, so S_d = N_d here and they share a column. Refuses what the paper
lacks: context, padding, the knee, a margin.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.latency.coefficients import Coefficients
from planner.latency.features import BatchShape
from planner.latency.predictor import LatencyModel
from planner.latency.sample import IterationSample
from planner.latency.solver import Matrix, solve_nonnegative

HYGEN_TERMS = ("constant", "prefill_rows", "prefill_tokens", "prefill_tokens_sq", "decode_rows")
"""HyGen's features among the terms of the time model; S_d^2 has none there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HygenRegression:
    """The regression as published. Its coefficients may be negative."""

    constant: float
    prefill_rows: float
    prefill_tokens: float
    prefill_tokens_sq: float
    decode_rows: float
    decode_rows_sq: float = 0.0

    def predict_ms(self, shape: BatchShape) -> float:
        """Mean duration of an iteration of `shape`, in milliseconds; not always positive."""
        tokens, rows = shape.prefill_tokens, shape.decode_rows
        return (
            self.constant
            + self.prefill_rows * shape.prefill_rows
            + (self.prefill_tokens + self.prefill_tokens_sq * tokens) * tokens
            + (self.decode_rows + self.decode_rows_sq * rows) * rows
        )


def fit_regression(
    samples: Sequence[IterationSample], *, with_decode_square: bool = False
) -> HygenRegression:
    """Ordinary least squares over all iterations, as published.

    Args:
        samples: Measured iterations, >= 1, durations finite.
        with_decode_square: Whether S_d^2 is a feature; the paper has it in brackets.

    Raises:
        ValueError: No sample.
    """
    features, measured = _design(samples, with_decode_square=with_decode_square)
    norms = np.maximum(np.sqrt(np.mean(features * features, axis=0)), np.finfo(float).tiny)
    solution = np.linalg.lstsq(features / norms, measured, rcond=None)[0] / norms
    return HygenRegression(
        **dict(zip((*HYGEN_TERMS, "decode_rows_sq"), (float(x) for x in solution), strict=False))
    )


def fit_hygen(samples: Sequence[IterationSample], *, identity: str) -> LatencyModel:
    """HyGen's regression as a latency model, for policies that plan by one.

    Least squares under coefficients >= 0, which a LatencyModel asks for: the published fit
    wherever that has none below 0. Without S_d^2. Decode-only and other iterations have the
    same coefficients; there is no margin, so the bound is the mean.

    Args:
        samples: Measured iterations, >= 1, durations finite.
        identity: What they were measured on.

    Raises:
        ValueError: No sample.
    """
    features, measured = _design(samples, with_decode_square=False)
    norms = np.sqrt(np.mean(features * features, axis=0))
    seen = norms > 0.0
    rows = features[:, seen] / norms[seen]
    gram = rows.T @ rows / len(rows) + 1e-12 * np.eye(int(seen.sum()))
    solution = np.zeros(len(norms))
    solution[seen] = solve_nonnegative(gram, rows.T @ measured / len(rows)) / norms[seen]
    constant, prefill_rows, prefill_tokens, prefill_tokens_sq, decode_rows = map(float, solution)
    coefficients = Coefficients(
        constant=constant,
        prefill_rows=prefill_rows,
        prefill_tokens=prefill_tokens,
        prefill_tokens_sq=prefill_tokens_sq,
        decode_rows=decode_rows,
    )
    return LatencyModel(identity=identity, decode=coefficients, prefill=coefficients)


def _design(
    samples: Sequence[IterationSample], *, with_decode_square: bool
) -> tuple[Matrix, Matrix]:
    """Samples x HYGEN_TERMS (and S_d^2), and what was measured."""
    if not samples:
        raise ValueError("HyGen's regression: no sample; measure iterations first")
    rows = [
        (
            1.0,
            shape.prefill_rows,
            shape.prefill_tokens,
            float(shape.prefill_tokens) ** 2,
            shape.decode_rows,
            float(shape.decode_rows) ** 2,
        )
        for shape in (sample.shape for sample in samples)
    ]
    features = np.array(rows, dtype=np.float64)
    measured = np.array([sample.measured_ms for sample in samples], dtype=np.float64)
    return (features if with_decode_square else features[:, :-1]), measured
