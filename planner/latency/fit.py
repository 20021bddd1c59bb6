"""Coefficients and margin from measured iterations, or the reason there are none.

Owns the refit: what is trained on, what calibrates the margin, what judges the result.
Refuses to replace an incumbent by anything not better on samples it was not fitted to.
Deterministic: the same samples in the same order give the same outcome.

Samples of each kind are dealt out in turn, half to training, a quarter to calibration, a
quarter held out. The margin is split-conformal (Lei et al., Distribution-free predictive
inference for regression, JASA 2018): with score s = (measured - mean)/(mean + offset),
the ceil((n+1)*coverage)-th smallest score q of n calibration samples gives
bound = mean*(1 + q) + q*offset, which the next exchangeable iteration exceeds with
probability at most 1 - coverage.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.latency.coefficients import TERMS, Coefficients
from planner.latency.predictor import LatencyModel
from planner.latency.sample import IterationSample
from planner.latency.solver import Matrix, fit_nonnegative

__all__ = ["FitOutcome", "FitReport", "IterationSample", "fit"]

MIN_SAMPLES = 80  # of a kind: a quarter calibrates, and 19 is the least that 95 % takes
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
) -> FitOutcome:
    """Fits a model to measured iterations and holds it against the incumbent.

    Args:
        samples: Measured iterations; those with a duration that is not finite and
            positive, or with an empty shape, are left out.
        identity: What the samples were measured on (`predictor.identity_of`).
        incumbent: The model in force, the prior of what samples do not show.
        coverage_ratio: Share of iterations the bound is to hold, within 0.5 … 0.99.

    Returns:
        The outcome; its model has `identity`.

    Raises:
        ValueError: `coverage_ratio` is out of range.
    """
    if not 0.5 <= coverage_ratio <= 0.99:
        raise ValueError(f"fit {identity}: coverage_ratio {coverage_ratio!r}, allowed 0.5 to 0.99")
    usable = [sample for sample in samples if _is_usable(sample)]
    decode, decode_report = _fit_kind(
        [sample for sample in usable if sample.shape.is_decode_only],
        kind="decode",
        incumbent=incumbent.decode,
        coverage_ratio=coverage_ratio,
    )
    prefill, prefill_report = _fit_kind(
        [sample for sample in usable if not sample.shape.is_decode_only],
        kind="prefill",
        incumbent=incumbent.prefill,
        coverage_ratio=coverage_ratio,
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
) -> tuple[Coefficients | None, FitReport]:
    """Coefficients of one kind of iteration if they are better than the incumbent's."""
    count = len(samples)
    needed = max(MIN_SAMPLES, 4 * _calibration_needed(coverage_ratio))
    if count < needed:
        reason = f"too few samples: {count} of the {needed} needed"
        return None, FitReport(kind=kind, samples=count, is_accepted=False, reason=reason)
    measured = np.array([sample.measured_ms for sample in samples], dtype=np.float64)
    turn = np.arange(count) % 4
    train, calibrate, judge = turn % 2 == 1, turn == 2, turn == 0

    # Each knee is a column set of its own; the training loss chooses.
    candidates = []
    for knee in _KNEES_TOKENS:
        features = _features(samples, knee_tokens=knee)
        start = _prior(incumbent, features=features[train], measured=measured[train])
        terms = fit_nonnegative(features[train], measured[train], prior=start, ridge=_RIDGE)
        loss = _error(features[train] @ terms, measured[train])
        candidates.append((loss, knee, terms, features))
    _, knee, terms, features = min(candidates, key=lambda entry: entry[:2])

    means = features @ terms
    offset = _OFFSET_RATIO * float(np.median(means[train]))
    margin = _conformal(
        (measured[calibrate] - means[calibrate]) / (means[calibrate] + offset),
        coverage_ratio=coverage_ratio,
    )
    values = dict(zip(TERMS, (float(term) for term in terms), strict=True))
    fitted = Coefficients(
        **values,
        knee_tokens=knee,
        margin_ratio=margin,
        margin_ms=margin * offset,
        coverage_ratio=coverage_ratio,
    )

    held = measured[judge]
    error = _error(means[judge], held)
    coverage = _coverage(means[judge], held, coefficients=fitted)
    old_means = (_features(samples, knee_tokens=incumbent.knee_tokens) @ _terms(incumbent))[judge]
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


def _features(samples: Sequence[IterationSample], *, knee_tokens: float) -> Matrix:
    """Samples x TERMS."""
    return np.array(
        [
            (
                1.0,
                shape.prefill_rows,
                shape.prefill_tokens,
                float(shape.prefill_tokens) ** 2,
                shape.prefill_attention,
                shape.prefill_padded_sq,
                shape.decode_rows,
                shape.decode_context_tokens,
                shape.decode_rows * shape.decode_max_context_tokens,
                max(0.0, shape.prefill_tokens + shape.decode_rows - knee_tokens),
            )
            for shape in (sample.shape for sample in samples)
        ],
        dtype=np.float64,
    )


def _terms(coefficients: Coefficients) -> Matrix:
    return np.array([getattr(coefficients, term) for term in TERMS], dtype=np.float64)


def _prior(incumbent: Coefficients, *, features: Matrix, measured: Matrix) -> Matrix:
    """The incumbent's terms, scaled to the typical duration of this engine."""
    terms = _terms(incumbent)
    means = features @ terms
    known = means > 0.0
    if not known.any():
        return terms
    return terms * float(np.median(measured[known] / means[known]))


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
