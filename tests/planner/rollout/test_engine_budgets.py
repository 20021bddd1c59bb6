"""The live settings of an engine."""

from planner.model import Slo, Stage
from planner.rollout.budgets import engine_budgets

SLO = Slo(ttft_ms=1000.0, itl_ms=100.0)


def test_budgets_follow_the_plan_when_it_gives_one() -> None:
    """The planned latency budget is passed on as it is."""
    budgets = engine_budgets(
        slo=SLO, latency_budget_ms=42.0, stage=Stage.ACTIVE, may_run_offline=True
    )
    assert budgets.enabled
    assert budgets.latency_budget_ms == 42.0


def test_budgets_derive_from_the_slo_when_the_plan_gives_none() -> None:
    """Without a profile an iteration stays within the tolerated gap, an idle one within TTFT."""
    budgets = engine_budgets(
        slo=SLO, latency_budget_ms=0.0, stage=Stage.CANARY, may_run_offline=True
    )
    assert budgets.latency_budget_ms == 50.0
    assert budgets.max_stall_ms <= budgets.latency_budget_ms  # no gap beyond it on purpose
    assert budgets.latency_budget_ms <= budgets.idle_budget_ms < 1000.0


def test_budgets_stop_offline_work_when_cut_or_not_enabled_by_stage() -> None:
    """A cut, observe and shadow all leave offline work nothing, also on an idle engine."""
    for stage, may in ((Stage.ACTIVE, False), (Stage.OBSERVE, True), (Stage.SHADOW, True)):
        budgets = engine_budgets(slo=SLO, latency_budget_ms=42.0, stage=stage, may_run_offline=may)
        assert not budgets.enabled
        assert budgets.latency_budget_ms == budgets.idle_budget_ms == 0.0
