"""HyGen's regression against the model here, on the same samples.

Owns the splits, the arms and the errors. Refuses to choose samples: every arm is fitted to
the training samples of a split and judged on its held-out ones.

Arms: `hygen`, least squares on HyGen's features over all iterations, as published, with or
without S_d^2, whichever is better *on the held-out samples*; `hygen_terms`, the same
features without S_d^2 in the solver used here, robust and relative, decode and prefill
apart, which shows what the features alone cost; `slacktide`. Splits: random ones, and one
that trains on short contexts and judges long ones.
"""

import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from planner.latency.features import BatchShape
from planner.latency.fit import fit
from planner.latency.hygen import HYGEN_TERMS, fit_hygen, fit_regression
from planner.latency.predictor import LatencyModel
from planner.latency.sample import IterationSample

ARMS = ("hygen", "hygen_terms", "slacktide")
KINDS = ("all", "decode", "prefill")
TARGET_COVERAGE_RATIO = 0.9
_TRAINING_RATIO = 0.7
_LEAST_IN_CELL = 3
_CELLS_A_DOUBLING = 2

Predict = Callable[[BatchShape], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """What is trained on and what is judged."""

    name: str  # random | longer contexts
    training: tuple[IterationSample, ...]
    held_out: tuple[IterationSample, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """One arm's errors on the held-out samples of one kind.

    `mape` is the mean absolute error relative to each sample. `cell_mape` is the same
    between medians of like iterations (`cell_of`, at least three), for noisy machines; None
    without such a cell.
    """

    samples: int
    mape: float
    cells: int
    cell_mape: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One split's outcome: errors by arm and kind, coverage and noise by kind.

    Noise is how far like iterations lie from their own median: what no model removes.
    """

    split: str
    errors: Mapping[str, Mapping[str, Errors]]
    coverage: Mapping[str, float]
    noise: Mapping[str, float | None]
    model: LatencyModel
    reason: str


def random_splits(samples: Sequence[IterationSample], *, seed: int, count: int) -> Iterator[Split]:
    """Exchangeable splits, each of all samples."""
    for number in range(count):
        order = list(range(len(samples)))
        random.Random(f"{seed}/split/{number}").shuffle(order)
        training = set(order[: round(_TRAINING_RATIO * len(order))])
        yield Split(
            name="random",
            training=tuple(s for i, s in enumerate(samples) if i in training),
            held_out=tuple(s for i, s in enumerate(samples) if i not in training),
        )


def longer_contexts(samples: Sequence[IterationSample], *, trained_tokens: int) -> Split:
    """Trains on iterations with contexts up to `trained_tokens`, judges those beyond."""
    return Split(
        name="longer contexts",
        training=tuple(s for s in samples if longest_context(s.shape) <= trained_tokens),
        held_out=tuple(s for s in samples if longest_context(s.shape) > trained_tokens),
    )


def longest_context(shape: BatchShape) -> float:
    """The longest KV of a decode row, or the mean one of the prefill rows if that is longer."""
    prefill = shape.prefill_context_tokens + shape.prefill_tokens
    return max(shape.decode_max_context_tokens, prefill / max(1, shape.prefill_rows))


def judge(split: Split, *, incumbent: LatencyModel) -> Verdict:
    """Fits every arm and holds it against the held-out samples.

    Args:
        split: With samples of both sides.
        incumbent: What the model here starts from, as an engine does.
    """
    outcome = fit(
        split.training,
        identity="bench",
        incumbent=incumbent,
        coverage_ratio=TARGET_COVERAGE_RATIO,
    )
    model = outcome.model or incumbent
    pooled = fit_hygen(split.training, identity="hygen")
    restricted = fit(split.training, identity="hygen", incumbent=pooled, terms=HYGEN_TERMS)
    published = [
        fit_regression(split.training, with_decode_square=square).predict_ms
        for square in (False, True)
    ]
    by_kind = {kind: _of_kind(split.held_out, kind) for kind in KINDS}
    by_kind = {kind: samples for kind, samples in by_kind.items() if samples}
    best = min(published, key=lambda predict: _mape(predict, split.held_out))
    predictors: dict[str, Predict] = {
        "hygen": best,
        "hygen_terms": (restricted.model or pooled).predict_ms,
        "slacktide": model.predict_ms,
    }
    return Verdict(
        split=split.name,
        errors={
            arm: {kind: errors_of(predict, samples) for kind, samples in by_kind.items()}
            for arm, predict in predictors.items()
        },
        coverage={
            kind: fmean(s.measured_ms <= model.bound_ms(s.shape) for s in samples)
            for kind, samples in by_kind.items()
        },
        noise={kind: noise_of(samples) for kind, samples in by_kind.items()},
        model=model,
        reason=outcome.reason,
    )


def errors_of(predict: Predict, samples: Sequence[IterationSample]) -> Errors:
    """Of one predictor on some samples, at least one."""
    ratios = [
        abs(median(predict(s.shape) for s in cell) / median(s.measured_ms for s in cell) - 1.0)
        for cell in _cells(samples)
    ]
    return Errors(
        samples=len(samples),
        mape=_mape(predict, samples),
        cells=len(ratios),
        cell_mape=fmean(ratios) if ratios else None,
    )


def noise_of(samples: Sequence[IterationSample]) -> float | None:
    """Mean relative distance of like iterations from their median; None without any."""
    distances = []
    for cell in _cells(samples):
        middle = median(s.measured_ms for s in cell)
        distances += [abs(s.measured_ms / middle - 1.0) for s in cell]
    return fmean(distances) if distances else None


def cell_of(shape: BatchShape) -> tuple[int, ...]:
    """Like iterations: the same rows, tokens and contexts within a factor of about 1.4."""
    return (
        shape.prefill_rows,
        _step(shape.prefill_tokens),
        _step(shape.prefill_context_tokens),
        shape.decode_rows,
        _step(shape.decode_context_tokens),
        _step(shape.decode_max_context_tokens),
    )


def _cells(samples: Sequence[IterationSample]) -> list[list[IterationSample]]:
    cells: dict[tuple[int, ...], list[IterationSample]] = defaultdict(list)
    for sample in samples:
        cells[cell_of(sample.shape)].append(sample)
    return [cell for cell in cells.values() if len(cell) >= _LEAST_IN_CELL]


def _step(tokens: int) -> int:
    return round(_CELLS_A_DOUBLING * math.log2(tokens + 1))


def _of_kind(samples: Sequence[IterationSample], kind: str) -> list[IterationSample]:
    if kind == "all":
        return list(samples)
    return [s for s in samples if s.shape.is_decode_only == (kind == "decode")]


def _mape(predict: Predict, samples: Sequence[IterationSample]) -> float:
    return fmean(abs(predict(s.shape) - s.measured_ms) / s.measured_ms for s in samples)
