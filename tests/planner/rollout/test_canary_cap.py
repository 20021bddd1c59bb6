"""A canary's offline share is a ceiling."""

from hypothesis import given
from hypothesis import strategies as st

from planner.rollout.canary import BURST_S, MOST_ITEMS, WorkCap


@given(
    share=st.floats(min_value=1.0, max_value=1000.0),
    costs=st.lists(st.floats(min_value=0.1, max_value=5000.0), min_size=1, max_size=60),
    step_s=st.floats(min_value=0.01, max_value=5.0),
)
def test_cap_holds_the_share_over_time_when_items_keep_coming(
    share: float, costs: list[float], step_s: float
) -> None:
    """Work started up to any time is within share x time, a burst and one item."""
    cap, now_s, spent_ms = WorkCap().filled(share=share, now_s=0.0), 0.0, 0.0
    for cost in costs:
        now_s += step_s
        cap = cap.filled(share=share, now_s=now_s)
        if cap.room(in_engine=0):
            cap = cap.charged(cost)
            spent_ms += cost
            assert spent_ms - cost <= share * (now_s + BURST_S) * (1 + 1e-9)


def test_cap_starts_nothing_when_the_share_is_zero() -> None:
    """A canary the plan gives no offline work runs none."""
    cap = WorkCap().filled(share=0.0, now_s=1.0).filled(share=0.0, now_s=100.0)
    assert cap.room(in_engine=0) == 0


def test_cap_saves_a_bounded_burst_when_idle() -> None:
    """An hour without items does not earn an hour of work."""
    cap = WorkCap().filled(share=100.0, now_s=0.0).filled(share=100.0, now_s=3600.0)
    assert cap.level_ms == 100.0 * BURST_S


def test_cap_bounds_items_in_the_engine_when_the_bucket_is_full() -> None:
    """Few items run at once, since none is charged before it ends."""
    cap = WorkCap().filled(share=100.0, now_s=0.0).filled(share=100.0, now_s=10.0)
    assert cap.room(in_engine=0) == MOST_ITEMS
    assert cap.room(in_engine=MOST_ITEMS + 2) == 0
    assert cap.charged(500.0).room(in_engine=0) == 0
