"""When parked rows wait for more to join them, and when they burst for want of any."""

import pytest
from engine_states import MODEL, engine_state, offline_prompt, offline_row, online_row

from planner.batching.decide import plan_iteration
from planner.batching.state import Budgets

# A decode is 2 ms + 1 ms a row: beside the online row an ordinary gap takes 3 offline rows,
# a burst all 5 that are parked.
BUDGETS = Budgets(latency_budget_ms=20.0, calm_budget_ms=6.0, burst_rows=12, kv_reserve_ratio=0.1)
PARKED = tuple(offline_row(f"off{i}", is_parked=True) for i in range(5))


def decoding(**fields):
    """How many parked rows an engine with an online row brings back."""
    state = engine_state(running=(online_row(),), parked=PARKED, **fields)
    return len(plan_iteration(state, model=MODEL, budgets=BUDGETS).resume)


def started(**fields):
    return offline_prompt("started", is_started=True, cached_tokens=64, **fields)


def test_parked_rows_burst_when_no_request_can_join_them():
    """With none waiting or started, more rows will not come: five decode at once."""
    assert decoding() == 5


@pytest.mark.parametrize("free_rows", [0, 100])
def test_parked_rows_wait_when_a_started_prompt_will_join_them(free_rows):
    """It holds its engine row already, so none has to be free."""
    assert decoding(started=started(), free_rows=free_rows) == 3


def test_parked_rows_wait_for_a_started_prompt_longer_than_the_free_kv():
    """It goes on in chunks while any KV beyond the reserve is free: 1 token suffices."""
    # A tenth of 100,000 tokens is reserved, and the online row's next token takes one.
    assert decoding(started=started(remaining_tokens=50_000), kv_free_tokens=10_002) == 3


def test_parked_rows_burst_when_a_started_prompt_finds_no_kv():
    """It cannot grow into the reserve, however little is left of it."""
    assert decoding(started=started(remaining_tokens=1), kv_free_tokens=10_001) == 5


@pytest.mark.parametrize(
    ("remaining_tokens", "free_rows", "resumed"), [(100, 1, 3), (100, 0, 5), (90_000, 1, 5)]
)
def test_waiting_prompt_needs_a_row_and_all_its_kv(remaining_tokens, free_rows, resumed):
    """Unlike a started one, it has neither yet."""
    waiting = (offline_prompt("waiting", remaining_tokens=remaining_tokens),)
    assert decoding(waiting_offline=waiting, free_rows=free_rows) == resumed
