"""One measured iteration.

Owns the value that goes from an engine to the fit. Refuses nothing: a sample that
cannot be used is dropped, with a count, where it is used.
"""

from dataclasses import dataclass

from planner.latency.features import BatchShape


@dataclass(frozen=True, slots=True, kw_only=True)
class IterationSample:
    """What an iteration held and how long it took."""

    shape: BatchShape
    measured_ms: float
