"""The engine that is simulated, before it has run.

Owns what it takes to build one: its limits, what it believes of its passes, and the truth.
Refuses to run it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from planner.latency.predictor import LatencyModel
from planner.simulation.settings import EngineSettings
from planner.simulation.truth import Truth


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKind:
    """One model on one type of devices.

    Args:
        settings: The engine's limits.
        model: What its policy believes of its passes.
        truth: Makes how long they really last, from a seed.
        offline_in_flight: Items an agent keeps in it at once.
    """

    settings: EngineSettings
    model: LatencyModel
    truth: Callable[[int], Truth]
    offline_in_flight: int = 64
