"""The live settings of an engine.

Owns how SLO, plan, stage and guard become the budgets a plugin enforces. Refuses
measurement: where no profile gave a budget, one is derived from the SLO.
"""

from planner.batching.state import Budgets
from planner.model import Slo, Stage

GAP_RATIO = 0.8
"""Part of the tolerated gap an iteration may last: the rest is tokenisation and transport."""
IDLE_TTFT_RATIO = 0.25
"""Part of the TTFT target an arrival may wait for an idle engine's offline iteration."""
LONGEST_IDLE_BUDGET_MS = 500.0


def engine_budgets(
    *, slo: Slo, latency_budget_ms: float, stage: Stage, may_run_offline: bool
) -> Budgets:
    """The budgets to hold an engine to.

    Args:
        slo: of its deployment.
        latency_budget_ms: what the plan gives it; 0 derives it from the SLO.
        stage: how far co-location is enabled.
        may_run_offline: False cuts offline work at once, rows in the engine included.
    """
    if not may_run_offline or not stage.runs_offline:
        return Budgets(enabled=False, latency_budget_ms=0.0, idle_budget_ms=0.0)
    budget_ms = latency_budget_ms or GAP_RATIO * slo.gap_ms
    idle_ms = min(LONGEST_IDLE_BUDGET_MS, max(budget_ms, IDLE_TTFT_RATIO * slo.ttft_ms))
    return Budgets(enabled=True, latency_budget_ms=budget_ms, idle_budget_ms=idle_ms)
