"""Coefficients and margin from measured iterations, or the reason there are none.

Owns the refit: what is trained on, what calibrates the margin, what judges the result.
Refuses to replace an incumbent by anything not better on samples it was not fitted to.
Deterministic: the same samples in the same order give the same outcome.

Samples of each kind are dealt out in turn: a quarter is held out and judges, the rest are
three folds. The knee is the one that fits them best, and the token curve is used where it
predicts each fold better from the other two. The margin is cross-conformal (Vovk,
Cross-conformal predictors, AMAI 2015; Barber et al., Predictive inference with the
jackknife+, Ann. Statist. 2021): with score s = (measured - mean)/(mean + offset), mean from
a fit without the sample's fold, the ceil((n+1)*coverage)-th smallest score q of the n
samples gives bound = mean*(1 + q) + q*offset. For exchangeable iterations and a fit that
hardly depends on any one fold, as here, the next one exceeds it with probability about
1 - coverage; the proven worst case for such schemes is twice that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.latency.coefficients import TERMS, Coefficients
from planner.latency.columns import TermMatrix, coefficients_of, columns_of_terms, values_of
from planner.latency.predictor import LatencyModel
from planner.latency.sample import IterationSample
from planner.latency.solver import Matrix, fit_nonnegative, times

__all__ = ["FitOutcome", "FitReport", "IterationSample", "fit"]

MIN_SAMPLES = 80  # of a kind: a quarter judges, and 20 are the least that says anything
_FOLDS = 3
_RIDGE = 1e-4
_KNEES_TOKENS = (16.0, 32.0, 64.0, 128.0, 256.0, 512.0)  # Niyama: the knee lies in 64…512
_MIN_GAIN = 0.02  # of the incumbent's error: less is noise
_COVERAGE_STEP = 0.02  # nearer the target coverage by this much counts as better too
_OFFSET_RATIO = 0.1  # of the median mean, so that short iterations have a margin as well


@dataclass(frozen=True, slots=True, kw_only=True)
class FitReport:
    """How one kind of iteration came out.

    Errors are mean absolute errors relative to what was measured, each at most 1, on
    held-out samples; coverage is the share of them within the bound.
    """

    kind: str  # decode | prefill
    samples: int
    is_accepted: bool
    reason: str
    error_ratio: float | None = None
    incumbent_error_ratio: float | None = None
    coverage_ratio: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOutcome:
    """The accepted model, or None when both kinds were refused; why, by kind.

    A model with one kind refused keeps the incumbent's coefficients for it.
    """

    model: LatencyModel | None
    decode: FitReport
    prefill: FitReport

    @property
    def reason(self) -> str:
        """Both reasons in one line."""
        return f"decode: {self.decode.reason}; prefill: {self.prefill.reason}"


def fit(
    samples: Sequence[IterationSample],
    *,
    identity: str,
    incumbent: LatencyModel,
    coverage_ratio: float = 0.9,
    terms: Sequence[str] = TERMS,
) -> FitOutcome:
    """Fits a model to measured iterations and holds it against the incumbent.

    Args:
        samples: Measured iterations; those with a duration that is not finite and
            positive, or with an empty shape, are left out.
        identity: What the samples were measured on (`predictor.identity_of`).
        incumbent: The model in force, the prior of what samples do not show.
        coverage_ratio: Share of iterations the bound is to hold, within 0.5 … 0.99.
        terms: Those of TERMS that may be other than 0, for comparisons; without
            `tokens_over_knee` there is no token curve either.

    Returns:
        The outcome; its model has `identity`.

    Raises:
        ValueError: `coverage_ratio` is out of range, or a term is unknown.
    """
    if not 0.5 <= coverage_ratio <= 0.99:
        raise ValueError(f"fit {identity}: coverage_ratio {coverage_ratio!r}, allowed 0.5 to 0.99")
    usable = [sample for sample in samples if _is_usable(sample)]
    decode, decode_report = _fit_kind(
        [sample for sample in usable if sample.shape.is_decode_only],
        kind="decode",
        incumbent=incumbent.decode,
        coverage_ratio=coverage_ratio,
        terms=terms,
    )
    prefill, prefill_report = _fit_kind(
        [sample for sample in usable if not sample.shape.is_decode_only],
        kind="prefill",
        incumbent=incumbent.prefill,
        coverage_ratio=coverage_ratio,
        terms=terms,
    )
    model = None
    if decode is not None or prefill is not None:
        model = LatencyModel(
            identity=identity,
            decode=decode or incumbent.decode,
            prefill=prefill or incumbent.prefill,
        )
    return FitOutcome(model=model, decode=decode_report, prefill=prefill_report)


def _is_usable(sample: IterationSample) -> bool:
    shape = sample.shape
    return (
        math.isfinite(sample.measured_ms)
        and sample.measured_ms > 0.0
        and shape.prefill_rows + shape.decode_rows > 0
    )


def _fit_kind(
    samples: Sequence[IterationSample],
    *,
    kind: str,
    incumbent: Coefficients,
    coverage_ratio: float,
    terms: Sequence[str],
) -> tuple[Coefficients | None, FitReport]:
    """Coefficients of one kind of iteration if they are better than the incumbent's."""
    count = len(samples)
    needed = max(MIN_SAMPLES, 2 * _calibration_needed(coverage_ratio))
    if count < needed:
        reason = f"too few samples: {count} of the {needed} needed"
        return None, FitReport(kind=kind, samples=count, is_accepted=False, reason=reason)
    measured = np.array([sample.measured_ms for sample in samples], dtype=np.float64)
    matrix = TermMatrix([sample.shape for sample in samples])
    turn: NDArray[np.int64] = np.arange(count, dtype=np.int64) % (_FOLDS + 1)
    judge, seen = turn == 0, turn > 0
    chosen = _choose(
        matrix, measured, turn=turn, prior=_prior(incumbent, matrix, measured, seen), terms=terms
    )
    offset = _OFFSET_RATIO * float(np.median(chosen.means[seen]))
    margin = _conformal(
        (measured[seen] - chosen.unseen[seen]) / (chosen.unseen[seen] + offset),
        coverage_ratio=coverage_ratio,
    )
    fitted = coefficients_of(
        chosen.values,
        knee_tokens=chosen.knee_tokens,
        margin_ratio=margin,
        margin_ms=margin * offset,
        coverage_ratio=coverage_ratio,
    )

    held = measured[judge]
    error = _error(chosen.means[judge], held)
    coverage = _coverage(chosen.means[judge], held, coefficients=fitted)
    old_means = times(matrix.at_knee(incumbent.knee_tokens), values_of(incumbent))[judge]
    old_error = _error(old_means, held)
    old_coverage = _coverage(old_means, held, coefficients=incumbent)
    is_closer = error <= (1.0 - _MIN_GAIN) * old_error
    is_better_covered = error <= old_error and (
        abs(coverage - coverage_ratio) <= abs(old_coverage - coverage_ratio) - _COVERAGE_STEP
    )
    is_accepted = is_closer or is_better_covered
    verdict = "better than" if is_accepted else "not better than"
    reason = (
        f"held-out error {error:.4f}, coverage {coverage:.3f}: {verdict} the incumbent's "
        f"{old_error:.4f}, {old_coverage:.3f}"
    )
    report = FitReport(
        kind=kind,
        samples=count,
        is_accepted=is_accepted,
        reason=reason,
        error_ratio=error,
        incumbent_error_ratio=old_error,
        coverage_ratio=coverage,
    )
    return (fitted if is_accepted else None), report


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """Solved values, the means they give, and means from fits without the sample's fold."""

    values: Matrix
    knee_tokens: float
    means: Matrix
    unseen: Matrix
    unseen_error: float


def _choose(
    matrix: TermMatrix,
    measured: Matrix,
    *,
    turn: NDArray[np.int64],
    prior: Matrix,
    terms: Sequence[str],
) -> _Choice:
    """The fit with the token curve if it is better on samples it has not seen, else without."""
    plain = _solve(
        matrix, measured, turn=turn, prior=prior, allowed=columns_of_terms(terms, has_curve=False)
    )
    if "tokens_over_knee" not in terms:
        return plain
    curved = _solve(
        matrix, measured, turn=turn, prior=prior, allowed=columns_of_terms(terms, has_curve=True)
    )
    is_better = curved.unseen_error <= (1.0 - _MIN_GAIN) * plain.unseen_error
    return curved if is_better else plain


def _solve(
    matrix: TermMatrix, measured: Matrix, *, turn: NDArray[np.int64], prior: Matrix, allowed: Matrix
) -> _Choice:
    """Fits the allowed columns to all folds, and to all but each; turn 0 is in none."""
    seen = turn > 0
    start = prior * allowed
    candidates = []
    for knee in _KNEES_TOKENS:
        features = matrix.at_knee(knee) * allowed
        values = fit_nonnegative(features[seen], measured[seen], prior=start, ridge=_RIDGE)
        candidates.append((_error(times(features[seen], values), measured[seen]), knee, values))
    _, knee, values = min(candidates, key=lambda entry: entry[:2])
    features = matrix.at_knee(knee) * allowed
    unseen = np.zeros(len(measured))
    for fold in range(1, _FOLDS + 1):
        others, mine = seen & (turn != fold), turn == fold
        without = fit_nonnegative(features[others], measured[others], prior=start, ridge=_RIDGE)
        unseen[mine] = times(features[mine], without)
    return _Choice(
        values=values,
        knee_tokens=knee,
        means=times(features, values),
        unseen=unseen,
        unseen_error=_error(unseen[seen], measured[seen]),
    )


def _prior(
    incumbent: Coefficients, matrix: TermMatrix, measured: Matrix, seen: NDArray[np.bool_]
) -> Matrix:
    """The incumbent's values, scaled to the typical duration of this engine."""
    values = values_of(incumbent)
    means = times(matrix.at_knee(incumbent.knee_tokens), values)[seen]
    known = means > 0.0
    if not known.any():
        return values
    return values * float(np.median(measured[seen][known] / means[known]))


def _calibration_needed(coverage_ratio: float) -> int:
    """Least n with ceil((n+1)*coverage) <= n."""
    return math.ceil(coverage_ratio / (1.0 - coverage_ratio) - 1e-9)


def _conformal(scores: Matrix, *, coverage_ratio: float) -> float:
    """The split-conformal quantile of the scores, at least 0."""
    count = len(scores)
    rank = min(count, math.ceil((count + 1) * coverage_ratio - 1e-9))
    return max(0.0, float(np.sort(scores)[rank - 1]))


def _error(means: Matrix, measured: Matrix) -> float:
    """Mean absolute relative error; one wild sample counts as one miss."""
    return float(np.mean(np.minimum(1.0, np.abs(means - measured) / measured)))


def _coverage(means: Matrix, measured: Matrix, *, coefficients: Coefficients) -> float:
    bounds = means * (1.0 + coefficients.margin_ratio) + coefficients.margin_ms
    return float(np.mean(measured <= bounds))
