"""What the agent says of a replica.

Owns the values between a running replica and its report. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from nodeagent.latencies import LatencySummary
from nodeagent.plugin_contract import MeasuredIteration
from planner.model import ReplicaState
from planner.slo import quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaLoad:
    """Load now, or over the last seconds; work in engine-milliseconds per second."""

    online_running: int = 0
    online_waiting: int = 0
    offline_running: int = 0
    offline_parked: int = 0
    offline_waiting: int = 0
    online_work: float = 0.0
    offline_work: float = 0.0
    kv_used_ratio: float = 0.0
    offline_tokens_total: int = 0
    online_tokens_total: int = 0
    online_work_by_class: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IterationSummary:
    """Iterations of a window, and how well they were predicted."""

    count: int = 0
    measured_p50_ms: float = 0.0
    measured_p99_ms: float = 0.0
    error_ratio: float = 0.0  # mean of |predicted - measured| / measured
    coverage_ratio: float = 0.0  # share within the predicted bound
    model_identity: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaStatus:
    """A report's content."""

    id: str
    state: ReplicaState
    message: str = ""
    engine_version: str = ""
    plugin_version: str = ""
    offline_refusal: str = ""
    starts: int = 0
    load: ReplicaLoad | None = None
    latency: LatencySummary | None = None
    iterations: IterationSummary | None = None


def summarize_iterations(
    iterations: Sequence[MeasuredIteration], *, model_identity: str
) -> IterationSummary:
    """Quantiles, prediction error and coverage of measured iterations."""
    usable = [i for i in iterations if i.measured_ms > 0]
    if not usable:
        return IterationSummary(model_identity=model_identity)
    measured = sorted(i.measured_ms for i in usable)
    errors = [abs(i.predicted_ms - i.measured_ms) / i.measured_ms for i in usable]
    return IterationSummary(
        count=len(usable),
        measured_p50_ms=quantile(measured, 0.5),
        measured_p99_ms=quantile(measured, 0.99),
        error_ratio=sum(errors) / len(errors),
        coverage_ratio=sum(i.measured_ms <= i.bound_ms for i in usable) / len(usable),
        model_identity=model_identity,
    )
