"""The live settings of an engine.

Owns how SLO, plan, stage and guard become the budgets a plugin enforces. Refuses
measurement: where no profile gave a budget, one is derived from the SLO.
"""

from planner.batching.state import Budgets
from planner.model import Slo, Stage

TARGET_RATIO = 0.5
"""Part of the target between tokens an iteration with offline work may last. The rest is for
what follows it in the same gap: an online prompt that arrives meanwhile and is computed
before the next decode, an iteration beyond its bound (one in ten), detokenising and hops."""
IDLE_TTFT_RATIO = 0.25
"""Part of the TTFT target an arrival may wait for an idle engine's offline iteration."""
LONGEST_IDLE_BUDGET_MS = 500.0


def derived_budget_ms(slo: Slo) -> float:
    """The latency budget where neither a profile nor the deployment gives one.

    `TARGET_RATIO` of the per-gap ITL target, or of the mean TPOT target.
    """
    target_ms = slo.itl_ms if slo.itl_ms is not None else slo.tpot_ms
    assert target_ms is not None  # Slo: exactly one of both is set
    return TARGET_RATIO * target_ms


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
    budget_ms = latency_budget_ms or derived_budget_ms(slo)
    idle_ms = min(LONGEST_IDLE_BUDGET_MS, max(budget_ms, IDLE_TTFT_RATIO * slo.ttft_ms))
    return Budgets(enabled=True, latency_budget_ms=budget_ms, idle_budget_ms=idle_ms)
