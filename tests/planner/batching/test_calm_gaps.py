"""Where passes take turns: long gaps are few, and no first token waits for a chunk."""

import math
from dataclasses import replace

import pytest
from engine_states import (
    MODEL,
    engine_state,
    offline_prompt,
    offline_row,
    online_prompt,
    online_row,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from small_engine import SmallEngine, online_rows

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


def test_no_offline_decode_runs_while_a_first_token_is_on_its_way():
    """But for a row that is overdue; where passes mix the token waits for none."""
    rows = tuple(offline_row(f"off{i}", passes_in_state=99) for i in range(3))
    fresh = online_row("on", generated_tokens=0, last_token_s=1000.0)
    old = online_row("on", last_token_s=1000.0)
    nothing = {"waiting_offline": ()}
    assert _plan(running=(old, *rows), **nothing).park == ()
    assert _plan(running=(fresh, *rows), **nothing).park == ("off0", "off1", "off2")
    overdue = offline_row("late", is_parked=True, passes_in_state=CALM.max_parked_passes + 1)
    late = _plan(running=(fresh, *rows), parked=(overdue,), **nothing)
    assert (late.resume, len(late.park)) == (("late",), 3)
    mixed = _plan(running=(fresh, *rows), mixes_prefill_and_decode=True, **nothing)
    assert mixed.park == ()


def test_rows_that_rested_come_back_at_once_and_none_is_evicted_for_their_number():
    """No more rest than may be parked, the longest; hysteresis is for rows that do not fit."""
    few = replace(CALM, max_parked_rows=2, min_parked_passes=4)
    nothing = {"waiting_offline": ()}
    rows = [offline_row(f"off{i}", passes_in_state=99, context_tokens=10 + i) for i in range(3)]
    fresh = online_row("on", generated_tokens=0, last_token_s=1000.0)
    rest = _plan(budgets=few, running=(fresh, *rows), **nothing)
    assert (rest.park, rest.evict, rest.memory.has_rested) == (("off1", "off2"), (), True)
    parked = tuple(replace(row, is_parked=True, passes_in_state=1) for row in rows[1:])
    old = online_row("on", last_token_s=1000.0)
    back = _plan(budgets=few, running=(old,), parked=parked, memory=rest.memory, **nothing)
    assert (back.resume, back.memory.has_rested) == (("off1", "off2"), False)
    assert _plan(budgets=few, running=(old,), parked=parked, **nothing).resume == ()


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
    calm = _plan(running=online, parked=tuple(few), memory=Memory(debt_ms=0.1))
    assert calm.resume == () and calm.offline_chunk_tokens == 0
    assert _plan(running=online, parked=tuple(few)).resume == ()
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
            room_ms = decode_room_ms(memory, budgets=CALM, is_burst=True)
            bound_ms = min(wanted_ms, room_ms)
            is_long = memory.has_stalled or bound_ms > CALM.calm_budget_ms
            assert not is_long or memory.has_stalled or ordinary >= CALM.calm_gaps
            ordinary = 0 if is_long else ordinary + 1
            memory = Memory(
                calm_gaps_left=calm_gaps_after_decode(
                    memory, budgets=CALM, decode_bound_ms=bound_ms, has_offline=True
                )
            )


@pytest.mark.parametrize("calm_budget_ms", [0.0, 40.0, 99.0])
def test_without_a_calm_budget_all_gaps_are_alike(calm_budget_ms):
    """Zero, or nothing below the latency budget: no bursts, no gaps owed."""
    budgets = Budgets(latency_budget_ms=40.0, calm_budget_ms=calm_budget_ms)
    assert decode_room_ms(Memory(), budgets=budgets, is_burst=True) == 40.0
    stalled = Memory(stall_ms=20.0, has_stalled=True)
    owed = calm_gaps_after_decode(stalled, budgets=budgets, decode_bound_ms=5.0, has_offline=True)
    assert owed == 0


SCARCE = Budgets(latency_budget_ms=20.0, calm_budget_ms=5.5, max_stall_ms=100.0)


def _parked(count, **fields):
    return tuple(
        offline_row(f"o{i}", is_parked=True, **{"passes_in_state": 99, **fields})
        for i in range(count)
    )


def test_last_rows_of_a_batch_decode_when_nothing_can_join_them():
    """No more of them to wait for: fewer than `burst_rows` run together."""
    online = tuple(online_row(f"on{i}", last_token_s=1000.0) for i in range(3))
    assert len(_plan(SCARCE, running=online, parked=_parked(6), waiting_offline=()).resume) == 6
    waits = {"waiting_offline": (offline_prompt("b", remaining_tokens=64),)}
    assert _plan(SCARCE, running=online, parked=_parked(6), **waits).resume == ()
    full = replace(SCARCE, max_offline_rows=6)
    assert len(_plan(full, running=online, parked=_parked(6), **waits).resume) == 6
    for lack in ({"free_rows": 0}, {"kv_free_tokens": 10_063}):  # a tenth of KV is reserved
        plan = _plan(SCARCE, running=online, parked=_parked(6), **waits, **lack)
        assert len(plan.resume) == 6


def test_few_rows_decode_once_one_was_parked_beyond_the_bound():
    """Others may still join, but the wait for them ends at max_parked_passes."""
    online = tuple(online_row(f"on{i}", last_token_s=1000.0) for i in range(3))
    assert _plan(SCARCE, running=online, parked=_parked(6, passes_in_state=256)).resume == ()
    assert len(_plan(SCARCE, running=online, parked=_parked(6, passes_in_state=257)).resume) == 6


def test_online_decodes_beyond_the_calm_budget_owe_no_calm_gaps():
    """What online takes by itself is ordinary, or no long gap would ever be due."""
    online = tuple(online_row(f"on{i}", last_token_s=1000.0) for i in range(9))  # 11 ms
    plan = _plan(running=online, waiting_offline=(), memory=Memory(calm_gaps_left=1))
    assert plan.bound_ms > CALM.calm_budget_ms and plan.memory.calm_gaps_left == 0


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    online=st.integers(1, 4),
    parked=st.integers(1, 10),
    calm_ms=st.sampled_from([-1.0, 0.4]),
    room_ms=st.sampled_from([1.0, 1.5, 6.0]),
    overdraft_ms=st.sampled_from([0.0, 20.0]),
    waits=st.booleans(),
)
def test_no_parked_row_starves_with_calm_gaps(
    online, parked, calm_ms, room_ms, overdraft_ms, waits
):
    """Each decodes within the bound of `dutycycle`, where one row fits the gap limit.

    One row takes 1 ms. The calm budget takes none beside online, or not even online; what
    waits could join by KV and rows, but its least chunk fits no gap.
    """
    alone_ms = 2.0 + online
    budgets = Budgets(
        latency_budget_ms=alone_ms + room_ms,
        max_stall_ms=alone_ms + room_ms + overdraft_ms,
        calm_budget_ms=alone_ms + calm_ms,
        max_parked_passes=20,
        min_chunk_tokens=512,
    )
    engine = SmallEngine(
        budgets=budgets,
        mixes=False,
        online=online_rows(online),
        waiting=[offline_prompt("big", remaining_tokens=900)] if waits else [],
        output_tokens=10**6,
    )
    engine.parked = list(_parked(parked, passes_in_state=0))
    turn = 1 + max(budgets.calm_gaps, math.ceil(overdraft_ms / room_ms))
    bound = budgets.max_parked_passes + parked * turn
    for _ in range(3 * bound):
        engine.step()
    assert engine.decodes == 3 * bound
    assert engine.longest_parked <= bound
    assert min(row.generated_tokens for row in [*engine.parked, *engine.running]) > 10
