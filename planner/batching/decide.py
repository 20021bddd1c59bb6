"""What the next iteration runs."""

from planner.batching.state import Budgets, EngineState, IterationPlan
from planner.latency.predictor import LatencyModel


def plan_iteration(state: EngineState, *, model: LatencyModel, budgets: Budgets) -> IterationPlan:
    """Decides the offline part of the next iteration; online runs all it wants.

    Args:
        state: The engine as every rank sees it; the order of its tuples does not matter.
        model: Time model of this engine.
        budgets: Live settings.

    Returns:
        The plan. Its `memory` is to be handed back in the next state.
    """
    return IterationPlan()
