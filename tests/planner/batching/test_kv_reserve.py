"""The KV reserve follows recent online bursts."""

from dataclasses import replace

import pytest
from engine_states import MODEL, NOW_S, engine_state, offline_prompt, online_row
from hypothesis import given
from hypothesis import strategies as st

from planner.batching.decide import plan_iteration
from planner.batching.reserve import recent_peak_tokens, reserve_tokens
from planner.batching.state import Budgets, Memory

BUDGETS = Budgets(kv_reserve_ratio=0.1, kv_reserve_ceiling_ratio=0.5, kv_burst_half_life_s=30.0)


def plan_of(*, online_tokens, now_s=NOW_S, memory=None, budgets=BUDGETS, **fields):
    running = (online_row(context_tokens=online_tokens),) if online_tokens else ()
    state = engine_state(
        now_s=now_s,
        running=running,
        memory=memory or Memory(),
        kv_total_tokens=1_000,
        **{"kv_free_tokens": 1_000 - online_tokens} | fields,
    )
    return plan_iteration(state, model=MODEL, budgets=budgets)


def test_reserve_is_what_online_gave_back_since_its_peak():
    """A burst of 400 tokens that shrinks to 100 keeps 300 free, and half a half-life later."""
    burst = plan_of(online_tokens=400)
    assert burst.kv_reserve_tokens == 100  # it holds its peak: the floor
    after = plan_of(online_tokens=100, memory=burst.memory)
    assert after.kv_reserve_tokens == 300
    later = plan_of(online_tokens=100, memory=after.memory, now_s=NOW_S + 30.0)
    assert later.kv_reserve_tokens == 100  # 400 / 2 - 100


def test_reserve_decays_to_the_floor_when_online_stays_away():
    """Seen pass by pass or once, the peak is the same: it decays with stamped time alone."""
    memory = plan_of(online_tokens=800).memory
    once = plan_of(online_tokens=0, memory=memory, now_s=NOW_S + 60.0)
    assert once.kv_reserve_tokens == 200
    for step in range(1, 61):
        memory = plan_of(online_tokens=0, memory=memory, now_s=NOW_S + step).memory
    assert memory.online_kv_peak_tokens == pytest.approx(once.memory.online_kv_peak_tokens)
    end = plan_of(online_tokens=0, memory=memory, now_s=NOW_S + 1e9)
    assert end.kv_reserve_tokens == 100


def test_reserve_starves_no_idle_engine():
    """Nothing online: a prompt runs though the reserve is more than what is free."""
    plan = plan_of(
        online_tokens=0,
        memory=Memory(online_kv_peak_tokens=900.0, peak_s=NOW_S),
        kv_free_tokens=300,
        waiting_offline=(offline_prompt(remaining_tokens=200),),
    )
    assert plan.offline_chunk_tokens > 0
    assert plan.kv_reserve_tokens == 0  # or the engine would refuse it


def test_reserve_keeps_offline_prompts_out_after_a_burst():
    """The plan says the number, and keeps to it."""
    waiting = (offline_prompt(remaining_tokens=350),)
    memory = Memory(online_kv_peak_tokens=700.0, peak_s=NOW_S)
    plan = plan_of(online_tokens=200, memory=memory, waiting_offline=waiting)
    assert plan.kv_reserve_tokens == 500 and plan.offline_chunk_tokens == 0
    calm = plan_of(online_tokens=200, waiting_offline=waiting)
    assert calm.kv_reserve_tokens == 100 and calm.offline_chunk_tokens > 0


@given(
    peak=st.floats(0.0, 1e6),
    online=st.integers(0, 1_000_000),
    total=st.integers(1, 1_000_000),
    floor=st.floats(0.0, 0.9),
    ceiling=st.floats(0.0, 0.9),
    half_life_s=st.sampled_from([0.0, 1e-6, 30.0, 1e12]),
    elapsed_s=st.floats(-1e9, 1e9),
)
def test_reserve_stays_between_floor_and_ceiling(
    peak, online, total, floor, ceiling, half_life_s, elapsed_s
):
    """Whatever the stamps say, also backwards: the peak is at least what online holds now."""
    budgets = replace(
        BUDGETS,
        kv_reserve_ratio=floor,
        kv_reserve_ceiling_ratio=ceiling,
        kv_burst_half_life_s=half_life_s,
    )
    memory = Memory(online_kv_peak_tokens=peak, peak_s=NOW_S)
    now = recent_peak_tokens(memory, online_tokens=online, now_s=NOW_S + elapsed_s, budgets=budgets)
    assert online <= now <= max(online, peak)
    kept = reserve_tokens(
        peak_tokens=now, online_tokens=online, total_tokens=total, budgets=budgets
    )
    assert int(floor * total) <= kept <= max(int(floor * total), int(ceiling * total))
