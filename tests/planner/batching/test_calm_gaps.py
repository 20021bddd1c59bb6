"""Where passes take turns: long gaps are few, and no first token waits for a chunk."""

import pytest
from engine_states import (
    MODEL,
    engine_state,
    offline_prompt,
    offline_row,
    online_prompt,
    online_row,
)
from hypothesis import given
from hypothesis import strategies as st

from planner.batching.decide import plan_iteration
from planner.batching.dutycycle import calm_gaps_after_decode, decode_room_ms, may_lengthen
from planner.batching.state import Budgets, Memory

CALM = Budgets(
    latency_budget_ms=40.0,
    calm_budget_ms=10.0,
    max_stall_ms=120.0,
    idle_budget_ms=200.0,
    burst_rows=4,
)


def _state(**fields):
    return engine_state(
        **{
            "running": (online_row("on", last_token_s=1000.0),),
            "waiting_offline": (offline_prompt("b", remaining_tokens=64),),
            "mixes_prefill_and_decode": False,
            **fields,
        }
    )


def _plan(budgets=CALM, **fields):
    return plan_iteration(_state(**fields), model=MODEL, budgets=budgets)


def test_no_chunk_starts_while_a_first_token_is_on_its_way():
    """Where a launch blocks, that token leaves only after the pass that follows."""
    assert _plan().offline_chunk_tokens > 0
    fresh = online_row("on", generated_tokens=0, last_token_s=1000.0)
    assert _plan(running=(fresh,)).offline_chunk_tokens == 0


def test_no_chunk_beside_an_online_prompt_where_passes_take_turns():
    """It would lengthen the pass that the first token waits for; mixed, the budget says."""
    waiting = (online_prompt("p", remaining_tokens=16),)
    assert _plan(waiting_online=waiting).offline_chunk_tokens == 0
    mixed = _plan(
        budgets=Budgets(latency_budget_ms=100.0),
        waiting_online=waiting,
        mixes_prefill_and_decode=True,
    )
    assert mixed.offline_chunk_tokens > 0


def test_chunk_beside_decodes_is_held_to_the_idle_budget():
    """An arrival waits for the pass, whether online decodes exist or not."""
    long = (offline_prompt("b", remaining_tokens=2000),)
    stall = Budgets(latency_budget_ms=40.0, max_stall_ms=150.0, idle_budget_ms=20.0)
    plan = _plan(budgets=stall, waiting_offline=long)
    assert plan.offline_chunk_tokens > 0
    assert plan.bound_ms <= 20.0


def test_decode_keeps_the_calm_budget_until_a_burst_is_worth_it():
    """Few parked rows stay parked; many run together, beyond the latency budget if need be."""
    few = [offline_row(f"o{i}", is_parked=True, passes_in_state=99) for i in range(3)]
    many = [offline_row(f"o{i:02d}", is_parked=True, passes_in_state=99) for i in range(30)]
    nothing = {"waiting_offline": ()}
    online = tuple(online_row(f"on{i}", last_token_s=1000.0) for i in range(9))
    calm = _plan(running=online, parked=tuple(few), **nothing)
    assert calm.bound_ms <= max(CALM.calm_budget_ms, _plan(running=online, **nothing).bound_ms)
    burst = _plan(running=online, parked=tuple(many), **nothing)
    assert len(burst.resume) == 30
    assert burst.bound_ms > CALM.calm_budget_ms
    assert burst.memory.calm_gaps_left == CALM.calm_gaps


@given(st.lists(st.tuples(st.sampled_from(["chunk", "prompt", "decode"]), st.floats(1.0, 100.0))))
def test_offline_lengthens_no_gap_before_the_calm_ones_are_over(steps):
    """After any gap that was long, `calm_gaps` decodes are ordinary unless online stalls them."""
    memory, ordinary = Memory(), CALM.calm_gaps
    for kind, wanted_ms in steps:
        if kind == "prompt":
            memory = Memory(
                stall_ms=memory.stall_ms,
                debt_ms=memory.debt_ms,
                has_stalled=True,
                calm_gaps_left=memory.calm_gaps_left,
            )
        elif kind == "chunk" and may_lengthen(memory):
            assert ordinary >= CALM.calm_gaps or memory.has_stalled
            memory = Memory(
                stall_ms=memory.stall_ms + wanted_ms,
                has_stalled=True,
                calm_gaps_left=memory.calm_gaps_left,
            )
        elif kind == "decode":
            room_ms = decode_room_ms(memory, budgets=CALM, parked_rows=8)
            bound_ms = min(wanted_ms, room_ms)
            is_long = memory.has_stalled or bound_ms > CALM.calm_budget_ms
            assert not is_long or memory.has_stalled or ordinary >= CALM.calm_gaps
            ordinary = 0 if is_long else ordinary + 1
            memory = Memory(
                calm_gaps_left=calm_gaps_after_decode(
                    memory, budgets=CALM, decode_bound_ms=bound_ms
                )
            )


@pytest.mark.parametrize("calm_budget_ms", [0.0, 40.0, 99.0])
def test_without_a_calm_budget_all_gaps_are_alike(calm_budget_ms):
    """Zero, or nothing below the latency budget: no bursts, no gaps owed."""
    budgets = Budgets(latency_budget_ms=40.0, calm_budget_ms=calm_budget_ms)
    assert decode_room_ms(Memory(), budgets=budgets, parked_rows=64) == 40.0
    stalled = Memory(stall_ms=20.0, has_stalled=True)
    assert calm_gaps_after_decode(stalled, budgets=budgets, decode_bound_ms=5.0) == 0
