"""Each rule of the iteration decision, by hand."""

import itertools
import math
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

from planner.batching.budget import first_token_slack_ms, gap_slack_ms, offline_limit_ms
from planner.batching.decide import plan_iteration
from planner.batching.state import Budgets, IterationPlan, Memory


def plan(state, **budgets) -> IterationPlan:
    return plan_iteration(state, model=MODEL, budgets=Budgets(**budgets))


# --- budget -------------------------------------------------------------------------


def test_gap_slack_saves_nothing_when_the_target_is_per_gap():
    """Slack = last token + target - now, whatever came before."""
    row = online_row(itl_target_ms=50.0, last_token_s=NOW_S - 0.02, first_token_s=1.0)
    assert gap_slack_ms(row, now_s=NOW_S) == pytest.approx(30.0)


def test_gap_slack_accrues_when_the_target_is_per_request():
    """TPOT: ten tokens in 0.3 s at 50 ms each leave 200 ms, under the longest gap."""
    row = online_row(tpot_target_ms=50.0, generated_tokens=10, first_token_s=NOW_S - 0.3)
    assert gap_slack_ms(row, now_s=NOW_S) == pytest.approx(200.0)
    capped = online_row(
        tpot_target_ms=50.0, generated_tokens=10, first_token_s=NOW_S - 0.3, max_gap_ms=120.0
    )
    assert gap_slack_ms(capped, now_s=NOW_S) == pytest.approx(120.0)


def test_gap_slack_falls_back_to_each_gap_when_the_first_token_is_unknown():
    """Nothing accrues that cannot be counted."""
    row = online_row(tpot_target_ms=50.0, generated_tokens=99)
    assert gap_slack_ms(row, now_s=NOW_S + 0.01) == pytest.approx(40.0)


def test_slack_is_infinite_when_there_is_no_target():
    """Unlabelled requests are held by the latency budget alone."""
    assert gap_slack_ms(online_row(), now_s=NOW_S) == math.inf
    assert first_token_slack_ms(online_prompt(), now_s=NOW_S) == math.inf


@pytest.mark.parametrize(
    ("budgets", "has_online", "slack_ms", "limit_ms"),
    [
        (Budgets(latency_budget_ms=50.0), True, math.inf, 50.0),
        (Budgets(latency_budget_ms=50.0), True, 20.0, 20.0),
        (Budgets(latency_budget_ms=50.0), True, -3.0, 0.0),
        (Budgets(latency_budget_ms=0.0), True, math.inf, 0.0),
        (Budgets(idle_budget_ms=200.0), False, math.inf, 200.0),
        (Budgets(enabled=False), False, math.inf, 0.0),
        (Budgets(max_offline_rows=0), False, math.inf, 0.0),
    ],
)
def test_offline_limit_is_the_least_of_its_limits(budgets, has_online, slack_ms, limit_ms):
    """Profiled budget, tightest slack, idle budget, and the switches."""
    assert offline_limit_ms(budgets, has_online=has_online, slack_ms=slack_ms) == limit_ms


# --- decodes ------------------------------------------------------------------------


def test_decodes_park_what_exceeds_the_budget():
    """2 ms + 1 ms a row: a budget of 6 ms takes the online row and three offline ones."""
    running = (online_row(), *(offline_row(f"off{i}") for i in range(5)))
    result = plan(engine_state(running=running), latency_budget_ms=6.0)
    assert result.park == ("off3", "off4")
    assert result.bound_ms == result.budget_ms == 6.0


def test_decodes_run_the_least_served_first_when_not_all_fit():
    """The row that has generated most steps aside, by steps of 32 tokens."""
    running = (
        online_row(),
        offline_row("off0", generated_tokens=320),
        offline_row("off1", generated_tokens=10),
    )
    parked = (offline_row("off2", generated_tokens=5, is_parked=True),)
    result = plan(engine_state(running=running, parked=parked), latency_budget_ms=5.0)
    assert (result.park, result.resume) == (("off0",), ("off2",))


def test_decodes_keep_a_running_row_when_a_parked_one_is_about_equally_served():
    """No turns at every pass for a token's difference."""
    running = (online_row(), offline_row("off0", generated_tokens=20))
    parked = (offline_row("off1", generated_tokens=3, is_parked=True),)
    result = plan(engine_state(running=running, parked=parked), latency_budget_ms=4.0)
    assert (result.park, result.resume) == ((), ())


def test_decodes_hold_hysteresis_both_ways():
    """Just parked stays parked with room; just resumed keeps its place."""
    parked = (offline_row("off0", is_parked=True, passes_in_state=3),)
    state = engine_state(running=(online_row(),), parked=parked)
    assert plan(state).resume == ()
    assert plan(state, min_parked_passes=3).resume == ("off0",)
    fresh = offline_row("off1", generated_tokens=900, passes_in_state=1)
    less = offline_row("off2", generated_tokens=0, is_parked=True)
    tight = engine_state(running=(online_row(), fresh), parked=(less,))
    assert plan(tight, latency_budget_ms=4.0).park == ()
    assert plan(tight, latency_budget_ms=4.0, min_resident_passes=1).park == ("off1",)


def test_decodes_resume_the_row_parked_longest_when_it_is_aged():
    """Beyond max_parked_passes a row goes first however much it was served."""
    running = (online_row(), offline_row("off0", generated_tokens=0))
    aged = offline_row("off1", generated_tokens=9_000, is_parked=True, passes_in_state=300)
    result = plan(engine_state(running=running, parked=(aged,)), latency_budget_ms=4.0)
    assert (result.park, result.resume) == (("off0",), ("off1",))


def test_decodes_never_touch_rows_that_must_run_or_cannot_move():
    """Finished and penalised rows run over any budget; results in flight do not resume."""
    running = (
        online_row(),
        offline_row("off0", must_run=True),
        offline_row("off1", can_park=False),
        offline_row("off2"),
    )
    parked = (
        offline_row("off3", is_parked=True, must_run=True, passes_in_state=0),
        offline_row("off4", is_parked=True, can_resume=False),
    )
    result = plan(engine_state(running=running, parked=parked), latency_budget_ms=1.0)
    assert (result.park, result.resume) == (("off2",), ("off3",))
    assert result.bound_ms == 6.0


def test_decodes_stop_at_the_cap_on_offline_rows():
    """max_offline_rows holds also where time is left."""
    running = tuple(offline_row(f"off{i}") for i in range(5))
    result = plan(engine_state(running=(online_row(), *running)), max_offline_rows=2)
    assert result.park == ("off2", "off3", "off4")


def test_decodes_fill_the_room_with_smaller_rows_when_a_large_one_misfits():
    """A row whose context does not fit does not block the ones behind it."""
    model = replace(MODEL, decode=replace(MODEL.decode, decode_context=0.01))
    running = (
        online_row(context_tokens=0),
        offline_row("off0", generated_tokens=0, context_tokens=5_000),
        offline_row("off1", generated_tokens=99, context_tokens=10),
    )
    result = plan_iteration(
        engine_state(running=running), model=model, budgets=Budgets(latency_budget_ms=10.0)
    )
    assert result.park == ("off0",)


def test_rows_that_never_fit_bar_no_smaller_one():
    """Twenty rows beyond the budget, parked for longest and so first in order: the small one
    behind them all runs.
    """
    model = replace(MODEL, decode=replace(MODEL.decode, decode_context=0.01))
    parked = (
        *(
            offline_row(f"big{i:02d}", is_parked=True, context_tokens=5_000, passes_in_state=900)
            for i in range(20)
        ),
        offline_row("small", is_parked=True, context_tokens=10, passes_in_state=300),
    )
    result = plan_iteration(
        engine_state(running=(online_row(context_tokens=0),), parked=parked),
        model=model,
        budgets=Budgets(latency_budget_ms=10.0),
    )
    assert result.resume == ("small",)


def test_parked_rows_beyond_the_bound_are_evicted_cheapest_first():
    """max_parked_rows bounds what idles in KV."""
    running = (online_row(), *(offline_row(f"off{i}", recompute_tokens=9 - i) for i in range(4)))
    result = plan(engine_state(running=running), latency_budget_ms=0.0, max_parked_rows=1)
    assert result.evict == ("off3", "off2", "off1")
    assert result.park == ("off0",)


# --- switches -----------------------------------------------------------------------


@pytest.mark.parametrize("mixes", [False, True])
def test_budget_of_zero_stops_offline_work_while_online_exists(mixes):
    """No decode, no chunk; with nothing online, offline runs."""
    state = engine_state(
        running=(online_row(), offline_row()),
        waiting_offline=(offline_prompt(),),
        mixes_prefill_and_decode=mixes,
    )
    result = plan(state, latency_budget_ms=0.0, max_stall_ms=500.0)
    assert result.park == ("off0",) and result.offline_chunk_tokens == 0
    alone = engine_state(running=(offline_row(),), mixes_prefill_and_decode=mixes)
    assert plan(alone, latency_budget_ms=0.0).park == ()


def test_disabled_runs_no_offline_work_even_when_idle():
    """Running rows are parked, parked ones stay, must_run ones run; online goes on."""
    state = engine_state(
        running=(offline_row("off0"), offline_row("off1", must_run=True)),
        parked=(offline_row("off2", is_parked=True),),
        started=offline_prompt("off3", is_started=True),
        waiting_offline=(offline_prompt(),),
    )
    result = plan(state, enabled=False)
    assert (result.park, result.resume, result.offline_chunk_tokens) == (("off0",), (), 0)


@pytest.mark.parametrize("value", [math.nan, -1.0])
def test_a_broken_budget_admits_nothing_while_online_exists(value):
    """NaN and negative budgets yield to online."""
    state = engine_state(running=(online_row(), offline_row()), waiting_offline=(offline_prompt(),))
    result = plan(state, latency_budget_ms=value)
    assert result.park == ("off0",) and result.offline_chunk_tokens == 0


# --- chunks -------------------------------------------------------------------------


def test_chunk_is_the_largest_that_fits_when_passes_mix():
    """Decode row 1 ms, prefill 5 ms + 0.1 ms a token: 26 ms take 200 tokens."""
    state = engine_state(
        running=(online_row(),),
        waiting_offline=(offline_prompt(remaining_tokens=900),),
        mixes_prefill_and_decode=True,
    )
    result = plan(state, latency_budget_ms=26.0)
    assert result.offline_chunk_tokens == 200
    assert result.bound_ms == pytest.approx(26.0)


def test_chunk_ends_on_a_page_when_it_cuts_a_prompt():
    """A page of 64 tokens makes 192 of 200."""
    state = engine_state(
        running=(online_row(),),
        waiting_offline=(offline_prompt(remaining_tokens=900),),
        mixes_prefill_and_decode=True,
        page_size=64,
    )
    assert plan(state, latency_budget_ms=26.0).offline_chunk_tokens == 192


def test_chunk_is_not_cut_below_the_floor():
    """Smaller than min_chunk_tokens wastes the pass, but the end of a prompt may be small."""
    state = engine_state(
        running=(online_row(),),
        waiting_offline=(offline_prompt(remaining_tokens=900),),
        mixes_prefill_and_decode=True,
    )
    assert plan(state, latency_budget_ms=8.0).offline_chunk_tokens == 0
    ending = engine_state(
        running=(online_row(),),
        started=offline_prompt("off1", remaining_tokens=7, cached_tokens=400, is_started=True),
        mixes_prefill_and_decode=True,
    )
    assert plan(ending, latency_budget_ms=8.0).offline_chunk_tokens == 7


def test_chunks_of_several_prompts_share_a_pass_and_only_the_last_is_cut():
    """Two whole prompts and a part of the third."""
    waiting = tuple(offline_prompt(f"w{i}", prompt_key=bytes([i])) for i in range(3))
    result = plan(engine_state(waiting_offline=waiting), idle_budget_ms=30.0)
    assert result.offline_chunk_tokens == 250
    assert result.offline_order == ("w0", "w1", "w2")


def test_chunk_waits_while_a_decode_is_parked():
    """Computing more prompts would only park more rows."""
    state = engine_state(
        running=(online_row(),),
        parked=(offline_row(is_parked=True, passes_in_state=0),),
        waiting_offline=(offline_prompt(),),
        mixes_prefill_and_decode=True,
    )
    assert plan(state).offline_chunk_tokens == 0


def test_chunk_leaves_the_online_prompts_their_tokens_and_slack():
    """Online prompts take the pass first; offline gets what is left of tokens and TTFT."""
    state = engine_state(
        waiting_online=(online_prompt(remaining_tokens=500, ttft_target_ms=60.0),),
        waiting_offline=(offline_prompt(remaining_tokens=900),),
        mixes_prefill_and_decode=True,
    )
    assert plan(state, latency_budget_ms=1e6, min_chunk_tokens=1).offline_chunk_tokens == 12
    tight = engine_state(
        waiting_online=(online_prompt(remaining_tokens=100, ttft_target_ms=20.0),),
        waiting_offline=(offline_prompt(remaining_tokens=900),),
    )
    result = plan(tight, latency_budget_ms=1e6)
    assert result.offline_chunk_tokens == 50 and result.bound_ms == pytest.approx(20.0)


def test_started_offline_request_yields_its_slot_when_online_is_cut():
    """The engine has one mid-prefill slot, and online takes it."""
    started = offline_prompt("off0", remaining_tokens=300, cached_tokens=50, is_started=True)
    long = engine_state(started=started, waiting_online=(online_prompt(remaining_tokens=2_000),))
    assert plan(long).requeue_started and plan(long).offline_chunk_tokens == 0
    short = engine_state(started=started, waiting_online=(online_prompt(),))
    assert not plan(short).requeue_started


# --- duty cycle ---------------------------------------------------------------------


def test_chunk_and_next_decode_are_one_gap_when_passes_take_turns():
    """Chunk + decode (with the row that joins) stay within the latency budget."""
    state = engine_state(
        running=(online_row(),), waiting_offline=(offline_prompt(remaining_tokens=900),)
    )
    result = plan(state, latency_budget_ms=40.0)
    assert result.offline_chunk_tokens == 310  # 5 + 31 ms, then a decode of 2 rows: 4 ms
    assert result.memory.stall_ms == pytest.approx(36.0)
    assert result.memory.debt_ms == 0.0


def test_chunk_is_not_followed_by_another_before_online_decodes():
    """The stall is booked, so the next plan decodes, and the one after may chunk again."""
    waiting = (offline_prompt(remaining_tokens=900),)
    first = plan(engine_state(running=(online_row(),), waiting_offline=waiting))
    state = engine_state(running=(online_row(),), waiting_offline=waiting, memory=first.memory)
    second = plan(state)
    assert first.offline_chunk_tokens and not second.offline_chunk_tokens
    assert not first.memory.is_settled and second.memory.is_settled
    again = engine_state(running=(online_row(),), waiting_offline=waiting, memory=second.memory)
    assert plan(again).offline_chunk_tokens


def test_overdraft_is_earned_back_before_the_next_chunk():
    """A stall beyond the latency budget is paid by decodes that end under it."""
    memory, chunk_passes = Memory(), []
    for number in range(40):
        result = plan(
            engine_state(
                running=(online_row(itl_target_ms=200.0),),
                waiting_offline=(offline_prompt(remaining_tokens=400),),
                memory=memory,
            ),
            latency_budget_ms=7.0,
            max_stall_ms=50.0,
        )
        memory = result.memory
        if result.offline_chunk_tokens:
            assert result.bound_ms + 4.0 <= 50.0
            chunk_passes.append(number)
    # A chunk of 45 ms; each decode of 3 ms earns 4 ms of the budget of 7.
    assert len(chunk_passes) >= 3
    assert {b - a for a, b in itertools.pairwise(chunk_passes)} == {13}


def test_chunk_fits_the_tightest_slack_when_passes_take_turns():
    """Slack left after earlier stalls bounds chunk and decode together."""
    state = engine_state(
        running=(online_row(itl_target_ms=30.0, last_token_s=NOW_S - 0.006),),
        waiting_offline=(offline_prompt(remaining_tokens=900),),
    )
    result = plan(state, latency_budget_ms=1e6)
    assert result.offline_chunk_tokens == 150  # 24 - 4 = 20 ms: 5 + 15


def test_online_prompts_park_nobody_when_passes_take_turns():
    """A pass of prompts decodes nothing, so rows stay as they are."""
    state = engine_state(
        running=(online_row(), offline_row()),
        parked=(offline_row("off1", is_parked=True),),
        waiting_online=(online_prompt(remaining_tokens=500),),
    )
    result = plan(state, latency_budget_ms=1.0)
    assert (result.park, result.resume, result.evict) == ((), (), ())


# --- KV -----------------------------------------------------------------------------


def test_eviction_frees_what_online_lacks_cheapest_first():
    """A prompt of 100 tokens with 50 free evicts one row, parked before running on a tie."""
    state = engine_state(
        running=(offline_row("off0", recompute_tokens=40), offline_row("off1")),
        parked=(offline_row("off2", is_parked=True, recompute_tokens=40),),
        waiting_online=(online_prompt(),),
        kv_free_tokens=50,
    )
    assert plan(state).evict == ("off2",)


def test_eviction_spares_rows_the_engine_cannot_take_apart():
    """Results in flight and penalised rows stay."""
    state = engine_state(
        running=(offline_row("off0", can_park=False), offline_row("off1", must_run=True)),
        parked=(offline_row("off2", is_parked=True, can_resume=False),),
        waiting_online=(online_prompt(),),
        kv_free_tokens=0,
    )
    assert plan(state).evict == ()


def test_eviction_frees_rows_when_the_engine_is_full():
    """Online needs a request slot: offline gives one up."""
    state = engine_state(
        running=(offline_row("off0"), offline_row("off1", recompute_tokens=1)),
        waiting_online=(online_prompt(),),
        free_rows=0,
    )
    assert plan(state).evict == ("off1",)


def test_eviction_leaves_one_row_when_nothing_is_online():
    """Decodes outgrow KV: others go, the last one finishes."""
    state = engine_state(running=(offline_row("off0"), offline_row("off1")), kv_free_tokens=0)
    assert len(plan(state).evict) == 1


def test_resumed_rows_are_those_whose_next_token_has_kv():
    """A token each at page 1; at page 16 only the rows whose last page is full take one."""
    parked = tuple(offline_row(f"off{i}", is_parked=True) for i in range(3))
    state = engine_state(running=(online_row(),), parked=parked, kv_free_tokens=2)
    assert plan(state).resume == ("off0",)  # the online row takes the other token
    assert plan(replace(state, kv_free_tokens=1)).resume == ()
    paged = replace(state, page_size=16, kv_free_tokens=16)
    full = offline_row("off3", is_parked=True, context_tokens=160)
    fuller = offline_row("off4", is_parked=True, context_tokens=320)
    result = plan(replace(paged, parked=(*parked, full, fuller)))
    assert result.resume == ("off0", "off1", "off2", "off3")


def test_row_that_must_run_takes_its_token_before_others_resume():
    """Whatever KV there is; who resumes by choice gets what is left."""
    parked = (
        offline_row("off0", is_parked=True),
        offline_row("off1", is_parked=True, must_run=True),
    )
    state = engine_state(running=(online_row(),), parked=parked, kv_free_tokens=2)
    assert plan(state).resume == ("off1",)
    assert plan(replace(state, kv_free_tokens=3)).resume == ("off0", "off1")


def test_row_that_steps_aside_leaves_its_token_to_the_one_that_resumes():
    """An aged row is not kept parked by KV that a younger one would take."""
    aged = offline_row("off1", is_parked=True, passes_in_state=300)
    state = engine_state(
        running=(online_row(), offline_row("off0")), parked=(aged,), kv_free_tokens=2
    )
    result = plan(state)
    assert (result.park, result.resume, result.evict) == (("off0",), ("off1",), ())


def test_chunk_takes_no_kv_that_resumed_rows_need():
    """50 rows resume and take a token each of 100; the prompt gets the other 50."""
    parked = tuple(offline_row(f"off{i:02d}", is_parked=True) for i in range(50))
    state = engine_state(
        parked=parked,
        started=offline_prompt("mid", is_started=True, remaining_tokens=300),
        kv_free_tokens=100,
        mixes_prefill_and_decode=True,
    )
    result = plan(state, kv_reserve_ratio=0.0, idle_budget_ms=1e6)
    assert len(result.resume) == 50 and result.offline_chunk_tokens == 50


def test_a_row_that_can_run_is_kept_when_the_others_cannot_resume():
    """Nothing online: of a running row and one whose result is in flight, the former stays."""
    state = engine_state(
        running=(offline_row("r0"),),
        parked=(offline_row("p1", is_parked=True, can_resume=False),),
        kv_free_tokens=0,
    )
    assert plan(state).evict == () and plan(state).park == ()


def test_a_parked_row_gives_up_its_kv_when_no_other_could_resume():
    """Two parked rows fill KV: the cheaper goes, so that the other has room for a token."""
    parked = (
        offline_row("p0", is_parked=True, recompute_tokens=9),
        offline_row("p1", is_parked=True),
    )
    result = plan(engine_state(parked=parked, kv_free_tokens=0))
    assert (result.evict, result.resume) == (("p0",), ("p1",))


@pytest.mark.parametrize(("free_tokens", "chunk_tokens"), [(20, 16), (47, 32), (15, 0)])
def test_forced_chunk_that_cuts_a_prompt_ends_on_a_page(free_tokens, chunk_tokens):
    """KV of one page and a quarter holds a chunk of one page."""
    state = engine_state(
        waiting_offline=(offline_prompt(remaining_tokens=900),),
        kv_free_tokens=free_tokens,
        page_size=16,
    )
    assert plan(state).offline_chunk_tokens == chunk_tokens


def test_prompt_is_taken_only_where_kv_holds_its_pages():
    """A prompt of 100 tokens takes seven pages of 16, that is 112 tokens."""
    state = engine_state(
        running=(online_row(context_tokens=1),),
        waiting_offline=(offline_prompt(),),
        kv_free_tokens=111,
        page_size=16,
        mixes_prefill_and_decode=True,
    )
    assert plan(state, kv_reserve_ratio=0.0).offline_chunk_tokens == 0
    roomy = replace(state, kv_free_tokens=112)
    assert plan(roomy, kv_reserve_ratio=0.0).offline_chunk_tokens == 100


def test_chunk_leaves_the_reserve_to_online_bursts():
    """A tenth of KV is not for offline prompts; a prompt that does not fit is passed over."""
    waiting = (
        offline_prompt("w0", remaining_tokens=400, prompt_key=b"a"),
        offline_prompt("w1", remaining_tokens=50, prompt_key=b"b"),
    )
    state = engine_state(
        running=(online_row(),),
        waiting_offline=waiting,
        kv_total_tokens=1_000,
        kv_free_tokens=161,
        mixes_prefill_and_decode=True,
    )
    result = plan(state)
    assert result.offline_chunk_tokens == 50
    assert result.offline_order == ("w1",)
    assert result.kv_reserve_tokens == 100


# --- order --------------------------------------------------------------------------


def test_order_is_aged_then_urgent_then_by_prompt():
    """Eldest first, then least laxity, then the prompts' own order."""
    waiting = (
        offline_prompt("b", prompt_key=b"b"),
        offline_prompt("a", prompt_key=b"a"),
        offline_prompt("near", prompt_key=b"z", deadline_s=NOW_S + 30.0),
        offline_prompt("past", prompt_key=b"z", deadline_s=NOW_S - 30.0),
        offline_prompt("far", prompt_key=b"c", deadline_s=NOW_S + 1e6),
        offline_prompt("old", prompt_key=b"z", queued_pass=-2_000),
        offline_prompt("older", prompt_key=b"z", queued_pass=-3_000),
    )
    result = plan(engine_state(waiting_offline=waiting), age_share=0.0)
    assert result.offline_order == ("older", "old", "past", "near", "a", "b", "far")


# --- progress -----------------------------------------------------------------------


@pytest.mark.parametrize("mixes", [False, True])
def test_one_row_runs_when_nothing_online_exists_and_nothing_fits(mixes):
    """Progress guarantee for decodes: also against hysteresis."""
    parked = (offline_row("off0", is_parked=True, passes_in_state=0),)
    state = engine_state(parked=parked, mixes_prefill_and_decode=mixes)
    assert plan(state, idle_budget_ms=0.5).resume == ("off0",)


@pytest.mark.parametrize("mixes", [False, True])
def test_one_chunk_runs_when_nothing_online_exists_and_nothing_fits(mixes):
    """Progress guarantee for prompts: the floor, on a page, reserve or not."""
    state = engine_state(
        waiting_offline=(offline_prompt(remaining_tokens=900),),
        kv_total_tokens=1_000,
        kv_free_tokens=100,
        page_size=48,
        mixes_prefill_and_decode=mixes,
    )
    assert plan(state, idle_budget_ms=0.5).offline_chunk_tokens == 48


def test_plan_is_empty_when_the_engine_is():
    """Nothing in, nothing out."""
    result = plan(engine_state())
    assert (result.park, result.resume, result.evict, result.offline_order) == ((), (), (), ())
    assert result.bound_ms == 0.0
