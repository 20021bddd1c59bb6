"""What the drift window says when the engine gets slower than its model.

Owns a replay of measured iterations, their durations multiplied, against a model fitted
before. Refuses a verdict on the thresholds: the rows show what they do.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from planner.latency.drift import DriftVerdict, DriftWindow
from planner.latency.predictor import LatencyModel
from planner.latency.sample import IterationSample

SLOWDOWNS = (1.0, 1.1, 1.2, 1.5, 2.0)


def drift_rows(model: LatencyModel, samples: Sequence[IterationSample]) -> list[dict[str, Any]]:
    """For each slowdown and kind: the window at its end, and when it first saw drift.

    `seen_after_iterations` counts from the slowdown on, with a window full of iterations as
    they were; None where drift was not seen, 0 where it was seen before.
    """
    rows = []
    for kind in ("decode", "prefill"):
        chosen = [s for s in samples if s.shape.is_decode_only == (kind == "decode")]
        for slowdown in SLOWDOWNS:
            window = DriftWindow()
            _replay(window, model, chosen, slowdown=1.0)
            was_drifting = _is_drift(window)
            seen = 0 if was_drifting else _replay(window, model, chosen, slowdown=slowdown)
            report = window.report()
            rows.append(
                {
                    "kind": kind,
                    "slowdown": slowdown,
                    **asdict(report),
                    "verdict": report.verdict.value,
                    "seen_after_iterations": seen,
                }
            )
    return rows


def _replay(
    window: DriftWindow,
    model: LatencyModel,
    samples: Sequence[IterationSample],
    *,
    slowdown: float,
) -> int | None:
    seen = None
    for number, sample in enumerate(samples, start=1):
        kind = model.decode if sample.shape.is_decode_only else model.prefill
        window.add(
            predicted_ms=model.predict_ms(sample.shape),
            bound_ms=model.bound_ms(sample.shape),
            measured_ms=sample.measured_ms * slowdown,
            coverage_ratio=kind.coverage_ratio,
        )
        if seen is None and number % 16 == 0 and _is_drift(window):
            seen = number
    return seen


def _is_drift(window: DriftWindow) -> bool:
    verdict = window.report().verdict
    return verdict in (DriftVerdict.ERROR_TOO_LARGE, DriftVerdict.COVERAGE_TOO_LOW)
