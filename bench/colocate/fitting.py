"""From an engine's own iterations to its latency model.

Owns the fit, and what the report says of it. Refuses clocks and engines.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nodeagent.plugin_contract import MeasuredIteration, encode_model
from planner.latency.fit import FitReport, IterationSample, fit
from planner.latency.predictor import LatencyModel, default_model, identity_of

COVERAGE_RATIO = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A model of the engine and how well it fits.

    Args:
        noise_ratio: spread of measured over predicted, as the deviation of a logarithm.
    """

    model: LatencyModel
    decode: FitReport
    prefill: FitReport
    samples: int
    noise_ratio: float

    def as_values(self) -> dict[str, Any]:
        """What the report says of it."""
        return {
            "identity": self.model.identity,
            "samples": self.samples,
            "noise_ratio": round(self.noise_ratio, 4),
            "decode": asdict(self.decode),
            "prefill": asdict(self.prefill),
            "coefficients": self.model.to_values(),
        }


def fit_model(samples: Sequence[MeasuredIteration], *, device_name: str) -> Fitted:
    """The engine's latency model, the default kept where samples do not better it."""
    identity = identity_of(
        model="bench", device_type=device_name, tensor_parallel_size=1, engine_build="sglang"
    )
    incumbent = default_model(device_name)
    taken = [IterationSample(shape=s.shape, measured_ms=s.measured_ms) for s in samples]
    outcome = fit(taken, identity=identity, incumbent=incumbent, coverage_ratio=COVERAGE_RATIO)
    model = outcome.model or incumbent
    logs = [
        math.log(s.measured_ms / mean)
        for s in taken
        if s.measured_ms > 0 and (mean := model.predict_ms(s.shape)) > 0
    ]
    # 1.4826 median absolute deviations are a normal deviation, and forgive a few pauses.
    centre = statistics.median(logs) if logs else 0.0
    spread = statistics.median(abs(x - centre) for x in logs) if logs else 0.0
    return Fitted(
        model=model,
        decode=outcome.decode,
        prefill=outcome.prefill,
        samples=len(taken),
        noise_ratio=1.4826 * spread,
    )


def model_settings(fitted: Fitted) -> dict[str, float | int]:
    """The fitted model as live settings of an engine."""
    return encode_model(values=fitted.model.to_values(), identity=fitted.model.identity)
