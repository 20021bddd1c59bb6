"""HyGen as published (arXiv 2501.14808), as far as it is known."""

from dataclasses import replace

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
from hypothesis import given
from hypothesis import strategies as st

from planner.batching.baselines.hygen import Hygen, mean_of, psm_order
from planner.batching.state import Budgets, Memory
from planner.latency.features import BatchShape

# MODEL: a decode takes 2 ms + 1 ms a row, a prefill 5 ms + 0.1 ms a token + 1 ms a decode.
MARGIN = replace(
    MODEL,
    decode=replace(MODEL.decode, margin_ratio=1.0, margin_ms=9.0),
    prefill=replace(MODEL.prefill, margin_ratio=1.0, margin_ms=9.0),
)


def plan_with(*, budget_ms, policy=None, model=MODEL, budgets=None, **fields):
    """The plan of one state under one latency budget."""
    return (policy or Hygen())(
        engine_state(**fields),
        model=model,
        budgets=budgets or Budgets(latency_budget_ms=budget_ms),
    )


def rows(count, **fields):
    return tuple(
        offline_row(f"off{index}", arrival_s=float(index), **fields) for index in range(count)
    )


def test_phase_1_charges_online_but_never_holds_it():
    """Online runs whatever the budget; it leaves nothing to offline work."""
    plan = plan_with(
        budget_ms=1.0,
        running=(*(online_row(f"on{i}") for i in range(20)), *rows(3)),
        waiting_offline=(offline_prompt(),),
        mixes_prefill_and_decode=True,
    )
    assert plan.park == ("off0", "off1", "off2")
    assert plan.offline_chunk_tokens == 0
    assert plan.predicted_ms == pytest.approx(22.0)


def test_phase_2_admits_each_decode_whose_marginal_time_is_left():
    """2 ms and 4 online rows leave 3 of 9 ms: three of five rows, the eldest."""
    plan = plan_with(
        budget_ms=9.0,
        running=(*(online_row(f"on{i}") for i in range(4)), *rows(5)),
        mixes_prefill_and_decode=True,
    )
    assert plan.park == ("off3", "off4")
    assert plan.predicted_ms == pytest.approx(9.0)


def test_phase_2_sizes_a_prompt_by_get_max_tokens():
    """5 ms + 1 row leave 14 of 20 ms at 0.1 ms a token: 140 tokens, over two prompts."""
    plan = plan_with(
        budget_ms=20.0,
        running=(online_row(),),
        waiting_offline=(
            offline_prompt("a", prompt_key=b"a"),
            offline_prompt("b", prompt_key=b"b"),
        ),
        mixes_prefill_and_decode=True,
    )
    assert plan.offline_chunk_tokens == 140
    assert plan.predicted_ms == pytest.approx(20.0)
    paged = plan_with(
        budget_ms=20.0,
        running=(online_row(),),
        waiting_offline=(offline_prompt(remaining_tokens=900),),
        mixes_prefill_and_decode=True,
        page_size=16,
    )
    assert paged.offline_chunk_tokens == 128


def test_it_spends_the_mean_and_not_the_bound():
    """A model with a wide margin of the same mean gives the same plan."""
    fields = {
        "budget_ms": 20.0,
        "running": (online_row(), *rows(4)),
        "waiting_offline": (offline_prompt(remaining_tokens=900),),
        "mixes_prefill_and_decode": True,
    }
    assert plan_with(model=MARGIN, **fields) == plan_with(**fields)
    assert mean_of(MARGIN).bound_ms(BatchShape(decode_rows=3)) == pytest.approx(5.0)


def test_it_predicts_with_its_own_model_when_given_one():
    """HyGen's features: a model fitted on them may err where context varies."""
    dear = replace(MODEL, prefill=replace(MODEL.prefill, prefill_tokens=0.2))
    fields = {
        "budget_ms": 20.0,
        "running": (online_row(),),
        "waiting_offline": (offline_prompt(remaining_tokens=900),),
        "mixes_prefill_and_decode": True,
    }
    assert plan_with(policy=Hygen(predictor=dear), **fields).offline_chunk_tokens == 70
    assert plan_with(policy=Hygen(predictor=dear), model=dear, **fields) == plan_with(
        policy=Hygen(), model=dear, **fields
    )


def test_it_looks_at_no_slack_and_keeps_no_reserve_and_no_hysteresis():
    """What the paper lacks: a missed target, a reserve, a row parked just now."""
    fields = {
        "budget_ms": 30.0,
        "waiting_offline": (offline_prompt(remaining_tokens=90),),
        "parked": (offline_row("park", is_parked=True, passes_in_state=0),),
        "mixes_prefill_and_decode": True,
        "kv_free_tokens": 200,
    }
    late = plan_with(running=(online_row(itl_target_ms=1.0, last_token_s=NOW_S - 9.0),), **fields)
    calm = plan_with(running=(online_row(),), **fields)
    assert late == calm
    assert late.resume == ("park",) and late.offline_chunk_tokens == 90


def test_a_row_that_sits_out_leaves_its_token_to_prompts():
    """The pass takes 10 tokens: online and one of four rows decode, 8 are prompt tokens."""
    plan = plan_with(
        budget_ms=50.0,
        budgets=Budgets(latency_budget_ms=50.0, max_offline_rows=1),
        running=(online_row(), *rows(4)),
        started=offline_prompt("mid", is_started=True, remaining_tokens=300),
        mixes_prefill_and_decode=True,
        chunk_limit_tokens=10,
    )
    assert plan.park == ("off1", "off2", "off3")
    assert plan.offline_chunk_tokens == 8


def test_an_iteration_is_two_passes_when_they_take_turns():
    """The budget holds the chunk and the decodes that follow it, and is spent once."""
    fields = {
        "budget_ms": 20.0,
        "running": (online_row(), *rows(2)),
        "waiting_offline": (offline_prompt(remaining_tokens=900),),
    }
    chunk = plan_with(**fields)
    # 2 + 3 ms of decodes leave 15 ms: 5 ms and 100 tokens.
    assert chunk.offline_chunk_tokens == 100
    assert chunk.memory.stall_ms == pytest.approx(15.0)
    decode = plan_with(memory=chunk.memory, **fields)
    assert decode.offline_chunk_tokens == 0 and not decode.park
    assert decode.predicted_ms == pytest.approx(5.0)
    again = plan_with(memory=decode.memory, **fields)
    assert again.offline_chunk_tokens == 100
    # More rows than the chunk left room for: 20 - 15 ms hold 2 ms, online and two of four.
    fields["running"] = (online_row(), *rows(4))
    assert plan_with(memory=chunk.memory, **fields).park == ("off2", "off3")


def test_a_pass_of_online_prompts_parks_nobody_when_passes_take_turns():
    """Nothing decodes in it, so nothing is set aside for it."""
    plan = plan_with(
        budget_ms=3.0,
        running=(online_row(), *rows(4)),
        waiting_online=(online_prompt(),),
    )
    assert not plan.park


def test_something_runs_when_the_budget_holds_nothing_and_online_is_absent():
    """The budget is the same without online; one row or chunk runs all the same."""
    decode = plan_with(budget_ms=0.5, running=rows(3), waiting_offline=(offline_prompt(),))
    assert decode.park == ("off1", "off2") and decode.offline_chunk_tokens == 0
    chunk = plan_with(budget_ms=0.5, waiting_offline=(offline_prompt(remaining_tokens=900),))
    assert chunk.offline_chunk_tokens == Budgets().min_chunk_tokens


def test_psm_keeps_shared_prefixes_together():
    """Depth-first order of the trie: equal prefixes are neighbours."""
    waiting = [
        offline_prompt(f"{key}{index}", prompt_key=key.encode() + bytes([index]), arrival_s=place)
        for place, (key, index) in enumerate([("b", 1), ("a", 2), ("b", 0), ("a", 1)])
    ]
    assert [work.rid for work in psm_order(waiting, ratio=1.0)] == ["a1", "a2", "b0", "b1"]


def test_utility_ratio_gives_the_oldest_their_share_over_many_passes():
    """At 0.75 every fourth request that begins is the oldest, also one a pass."""
    waiting = [
        offline_prompt(f"w{index:03d}", prompt_key=bytes([200 - index]), arrival_s=float(index))
        for index in range(80)
    ]
    in_one_pass = [work.rid for work in psm_order(waiting, ratio=0.75)][:40]
    begun, memory = [], Memory()
    left = list(waiting)
    while len(begun) < 40:
        plan = plan_with(
            policy=Hygen(utility_ratio=0.75),
            budget_ms=16.0,  # 5 ms + 1 row + one prompt of 100 tokens
            running=(online_row(),),
            waiting_offline=tuple(left),
            mixes_prefill_and_decode=True,
            memory=memory,
        )
        assert plan.offline_chunk_tokens == 100
        begun.append(plan.offline_order[0])
        memory = plan.memory
        left = [work for work in left if work.rid != begun[-1]]
    assert begun == in_one_pass
    assert [rid for rid in begun if rid <= "w009"] == [f"w{i:03d}" for i in range(10)]


def test_every_tenth_is_the_oldest_at_a_ratio_of_nine_tenths():
    """Ten shares of 0.1 are one request, though as floats they are a little less."""
    waiting = [
        offline_prompt(f"w{index:03d}", prompt_key=bytes([200 - index]), arrival_s=float(index))
        for index in range(60)
    ]
    order = [work.rid for work in psm_order(waiting, ratio=0.9)]
    assert [order[9], order[19], order[29]] == ["w000", "w001", "w002"]
    assert order[:9] == [f"w{59 - index:03d}" for index in range(9)]


@given(
    ratio=st.floats(0.0, 1.0),
    keys=st.lists(st.binary(max_size=2), max_size=20),
    owed=st.floats(0.0, 0.99),
)
def test_psm_order_names_each_request_once(ratio, keys, owed):
    """A permutation of what waits, at any ratio; at 0 that of arrival."""
    waiting = [
        offline_prompt(f"w{index:02d}", prompt_key=key, arrival_s=float(index))
        for index, key in enumerate(keys)
    ]
    names = [work.rid for work in psm_order(waiting, ratio=ratio, owed=owed)]
    assert sorted(names) == [work.rid for work in waiting]
    by_age = [work.rid for work in psm_order(waiting, ratio=0.0)]
    assert by_age == [work.rid for work in waiting]


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan")])
def test_utility_ratio_outside_0_and_1_is_refused(ratio):
    """A share is a share."""
    with pytest.raises(ValueError, match="utility_ratio"):
        Hygen(utility_ratio=ratio)
