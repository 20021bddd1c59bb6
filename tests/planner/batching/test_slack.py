"""Slack: how long a pass may last before online misses a target."""

import math

import pytest
from engine_states import MODEL, NOW_S, engine_state, offline_prompt, online_prompt, online_row
from hypothesis import given
from hypothesis import strategies as st

from planner.batching.budget import first_token_slack_ms, gap_slack_ms
from planner.batching.decide import plan_iteration
from planner.batching.state import Budgets

milliseconds = st.floats(1.0, 500.0)


def test_slack_is_the_tightest_when_a_row_has_both_targets():
    """Saved TPOT slack does not loosen a per-gap target, nor the other way round."""
    fields = {"generated_tokens": 10, "first_token_s": NOW_S - 0.3, "last_token_s": NOW_S}
    saved = online_row(tpot_target_ms=50.0, itl_target_ms=70.0, **fields)
    assert gap_slack_ms(saved, now_s=NOW_S) == pytest.approx(70.0)
    late = online_row(tpot_target_ms=31.0, itl_target_ms=70.0, **fields)
    assert gap_slack_ms(late, now_s=NOW_S) == pytest.approx(10.0)


@given(
    gaps_ms=st.lists(st.floats(0.0, 400.0), max_size=20),
    tpot_ms=milliseconds,
    max_gap_ms=milliseconds,
    use=st.floats(0.0, 1.0),
)
def test_tpot_holds_when_every_gap_stays_within_the_slack(gaps_ms, tpot_ms, max_gap_ms, use):
    """A request whose gaps each end within its slack attains its TPOT and its longest gap.

    TPOT is (last token - first token) / (tokens - 1), style of the SLO; slack saved by
    short gaps may be spent by a long one.
    """
    first_s = now_s = 100.0
    for tokens, wanted_ms in enumerate(gaps_ms, start=1):
        row = online_row(
            tpot_target_ms=tpot_ms,
            max_gap_ms=max_gap_ms,
            first_token_s=first_s,
            last_token_s=now_s,
            generated_tokens=tokens,
        )
        slack_ms = gap_slack_ms(row, now_s=now_s)
        assert slack_ms >= min(tpot_ms, max_gap_ms) - 1e-6  # what is saved is never below 0
        gap_ms = min(wanted_ms, use * slack_ms)
        assert gap_ms <= max_gap_ms + 1e-6
        now_s += gap_ms / 1000.0
        assert (now_s - first_s) * 1000.0 / tokens <= tpot_ms + 1e-6


@pytest.mark.parametrize("target_ms", [-1e9, 0.0, 1e-9])
@pytest.mark.parametrize("mixes", [False, True])
def test_offline_yields_when_a_target_cannot_be_met(target_ms, mixes):
    """Absurd targets stop offline work beside that request; nothing fails, online goes on."""
    for online in (
        {"running": (online_row(itl_target_ms=target_ms, last_token_s=NOW_S - 0.001),)},
        {"running": (online_row(tpot_target_ms=target_ms, first_token_s=NOW_S - 9.0),)},
        {"waiting_online": (online_prompt(ttft_target_ms=target_ms, arrival_s=NOW_S - 1.0),)},
    ):
        state = engine_state(
            waiting_offline=(offline_prompt(),), mixes_prefill_and_decode=mixes, **online
        )
        plan = plan_iteration(state, model=MODEL, budgets=Budgets())
        assert plan.offline_chunk_tokens == 0 and plan.budget_ms == 0.0
        assert plan.bound_ms > 0.0


@pytest.mark.parametrize("target_ms", [1e12, 1e308, math.inf])
def test_a_huge_target_leaves_the_latency_budget_in_force(target_ms):
    """Slack without end is no licence."""
    state = engine_state(
        running=(online_row(itl_target_ms=target_ms, tpot_target_ms=target_ms),),
        waiting_offline=(offline_prompt(remaining_tokens=5_000),),
        mixes_prefill_and_decode=True,
    )
    plan = plan_iteration(state, model=MODEL, budgets=Budgets(latency_budget_ms=30.0))
    assert 0.0 < plan.bound_ms <= 30.0


def test_first_token_slack_counts_from_arrival():
    """TTFT target - time waited; negative once missed."""
    work = online_prompt(ttft_target_ms=300.0, arrival_s=NOW_S - 0.1)
    assert first_token_slack_ms(work, now_s=NOW_S) == pytest.approx(200.0)
    assert first_token_slack_ms(work, now_s=NOW_S + 1.0) == pytest.approx(-800.0)


@pytest.mark.parametrize("chunk_limit_tokens", [0, -1, 1])
def test_chunks_run_when_the_engine_has_an_odd_chunk_limit(chunk_limit_tokens):
    """No limit: a prompt may run whole. One token: one token runs, nothing divides by it."""
    state = engine_state(
        waiting_offline=(offline_prompt(remaining_tokens=100),),
        chunk_limit_tokens=chunk_limit_tokens,
    )
    plan = plan_iteration(state, model=MODEL, budgets=Budgets(min_chunk_tokens=0))
    assert plan.offline_chunk_tokens == (1 if chunk_limit_tokens == 1 else 100)
