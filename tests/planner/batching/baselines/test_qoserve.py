"""QoServe / Niyama (arXiv 2503.22562 and its authors' published scheduler)."""

import pytest
from engine_states import (
    MODEL,
    NOW_S,
    engine_state,
    offline_prompt,
    offline_row,
    online_prompt,
    online_row,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.batching.baselines.qoserve import BATCH_SIZES, QoServe
from planner.batching.state import Budgets


def plan_with(policy=None, **fields):
    """The plan of one state on an engine that mixes, with 2,552 tokens and more a pass."""
    state = {"mixes_prefill_and_decode": True, "chunk_limit_tokens": 4096} | fields
    return (policy or QoServe())(engine_state(**state), model=MODEL, budgets=Budgets())


def with_slack(slack_ms, **fields):
    """An online row whose next token is due in so many milliseconds."""
    return online_row(
        first_token_s=NOW_S - 1.0,
        generated_tokens=10,
        tpot_target_ms=(slack_ms + 1000.0) / 10.0,
        **fields,
    )


def test_slack_is_what_a_request_has_saved_since_its_first_token():
    """Token n is due at first token + (n - 1) targets (Niyama, deadlines)."""
    row = online_row(first_token_s=NOW_S - 1.0, generated_tokens=30, tpot_target_ms=50.0)
    assert QoServe().slack_ms(engine_state(running=(row,))) == pytest.approx(500.0)
    fresh = online_row("on1", last_token_s=NOW_S - 0.02, tpot_target_ms=50.0)
    assert QoServe().slack_ms(engine_state(running=(row, fresh))) == pytest.approx(30.0)
    assert QoServe().slack_ms(engine_state(running=(offline_row(),))) == float("inf")
    untold = online_row(last_token_s=NOW_S - 0.02)
    assert QoServe().slack_ms(engine_state(running=(untold,))) == pytest.approx(80.0)


@pytest.mark.parametrize(
    ("slack_ms", "size"),
    # Of s tokens: 1.2 * (5 ms + 1 row + 0.1 ms for each of s - 1), 37.8 ms for 256.
    [(1000.0, 2552), (200.0, 1536), (37.9, 256), (37.7, 128), (10.0, 128)],
)
def test_chunk_is_the_largest_size_within_slack_over_the_safety_factor(slack_ms, size):
    """1.2x safety on the mean, sizes from the published list, the smallest whatever it takes."""
    plan = plan_with(
        running=(with_slack(slack_ms),),
        waiting_offline=(offline_prompt(remaining_tokens=9_000),),
    )
    assert plan.offline_chunk_tokens == size - 1


def test_chunk_is_the_smallest_size_when_slack_is_gone():
    """Published scheduler: no slack still computes the smallest batch, not nothing."""
    plan = plan_with(
        running=(with_slack(-50.0),),
        waiting_offline=(offline_prompt(remaining_tokens=9_000),),
    )
    assert plan.offline_chunk_tokens == 127


def test_chunk_is_the_largest_size_when_nothing_online_decodes():
    """Without a deadline at stake the batch is as large as the list allows."""
    plan = plan_with(waiting_offline=(offline_prompt(remaining_tokens=9_000),))
    assert plan.offline_chunk_tokens == BATCH_SIZES[-1]


def test_chunk_is_held_small_when_kv_is_nearly_used():
    """A 32nd of the free KV under 1000 tokens: sizes end at 512."""
    plan = plan_with(
        waiting_offline=(offline_prompt(remaining_tokens=9_000),), kv_free_tokens=31_000
    )
    assert plan.offline_chunk_tokens == 512


def test_online_prompts_and_decodes_count_within_the_batch():
    """The size is of the whole batch; offline has what online leaves."""
    plan = plan_with(
        running=(with_slack(1000.0), offline_row()),
        waiting_online=(online_prompt(remaining_tokens=500),),
        waiting_offline=(offline_prompt(remaining_tokens=9_000),),
        policy=QoServe(batch_sizes=(128, 700)),
    )
    assert plan.offline_chunk_tokens == 700 - 2 - 500


def test_order_is_deadline_weighed_with_remaining_tokens():
    """Hybrid priority: 8 ms a token, so a short prompt passes a slightly earlier long one."""
    waiting = (
        offline_prompt("long", remaining_tokens=2_000, deadline_s=NOW_S + 1000.0),
        offline_prompt("short", remaining_tokens=100, deadline_s=NOW_S + 1010.0),
        offline_prompt("later", remaining_tokens=100, deadline_s=NOW_S + 1020.0),
    )
    hybrid = QoServe().order(engine_state(waiting_offline=waiting), model=MODEL)
    assert [work.rid for work in hybrid] == ["short", "long", "later"]
    edf = QoServe(token_weight_s=0.0).order(engine_state(waiting_offline=waiting), model=MODEL)
    assert [work.rid for work in edf] == ["long", "short", "later"]


def test_a_prompt_that_would_be_late_is_relegated():
    """Eager relegation: what cannot meet its deadline goes behind all that can."""
    waiting = (
        offline_prompt("late", deadline_s=NOW_S + 5.0),  # 6 s are reserved for its output
        offline_prompt("good", deadline_s=NOW_S + 5000.0),
    )
    order = QoServe().order(engine_state(waiting_offline=waiting), model=MODEL)
    assert [work.rid for work in order] == ["good", "late"]


def test_no_decode_is_ever_set_aside():
    """Every decode is in every batch, slack or not; what was parked comes back."""
    plan = plan_with(
        running=(with_slack(-500.0), *(offline_row(f"off{i}") for i in range(40))),
        parked=(offline_row("park", is_parked=True),),
    )
    assert not plan.park and plan.resume == ("park",)
    assert plan.predicted_ms == pytest.approx(2.0 + 42.0)


def test_a_batch_is_two_passes_when_they_take_turns():
    """Chunk and the decodes after it share the slack; then the decodes have their turn."""
    fields = {
        "running": (with_slack(60.0),),
        "waiting_offline": (offline_prompt(remaining_tokens=9_000),),
        "mixes_prefill_and_decode": False,
    }
    plan = plan_with(**fields)
    # 1.2 * (5 + 0.1 * 255 + 3 ms of the decode) = 40.2; of the next size 70.9.
    assert plan.offline_chunk_tokens == 255
    assert plan_with(memory=plan.memory, **fields).offline_chunk_tokens == 0


@settings(max_examples=100, deadline=None)
@given(slack_ms=st.floats(-100.0, 500.0), rows=st.integers(0, 30), mixes=st.booleans())
def test_batch_is_within_slack_over_safety_unless_it_is_the_smallest(slack_ms, rows, mixes):
    """The claim in general: 1.2 times the predicted time of a batch fits its slack."""
    running = (with_slack(slack_ms), *(offline_row(f"off{i}") for i in range(rows)))
    plan = plan_with(
        running=running,
        waiting_offline=(offline_prompt(remaining_tokens=9_000),),
        mixes_prefill_and_decode=mixes,
    )
    batch = plan.offline_chunk_tokens + len(running)
    after_ms = 0.0 if mixes else 2.0 + len(running)
    if batch > BATCH_SIZES[0]:
        assert 1.2 * (plan.predicted_ms + after_ms) <= slack_ms + 1e-6


@pytest.mark.parametrize(
    "fields",
    [
        {"batch_sizes": ()},
        {"batch_sizes": (0, 128)},
        {"batch_sizes": (256, 128)},
        {"safety_ratio": 0.9},
        {"token_weight_s": -1.0},
        {"online_tbt_ms": 0.0},
    ],
)
def test_absurd_settings_are_refused(fields):
    """Knobs outside their range name themselves."""
    with pytest.raises(ValueError, match=next(iter(fields))):
        QoServe(**fields)
