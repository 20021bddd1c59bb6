"""What every scheduler of one engine iteration looks like from outside.

Owns the interface behind which benchmarks and the simulation compare policies. Refuses
state of its own: what a policy remembers travels in `EngineState.memory`.
"""

from typing import Protocol

from planner.batching.state import Budgets, EngineState, IterationPlan
from planner.latency.predictor import LatencyModel


class Policy(Protocol):
    """Decides the offline part of the next iteration; online runs all it wants.

    Pure and deterministic: equal states give equal plans, whatever the order of their
    tuples. `planner.batching.decide.plan_iteration` is one.
    """

    def __call__(
        self, state: EngineState, *, model: LatencyModel, budgets: Budgets
    ) -> IterationPlan:
        """Plans one iteration.

        Args:
            state: The engine as every rank sees it.
            model: Time model of this engine.
            budgets: Live settings.

        Returns:
            The plan; its `memory` is to be handed back in the next state.
        """
        ...
