"""What each rival is known for, so that none of them is a strawman."""

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

from planner.batching.baselines.blind_hybrid import BlindHybrid
from planner.batching.baselines.offline_only import OfflineOnly, OfflineOrder
from planner.batching.baselines.online_only import OnlineOnly
from planner.batching.baselines.rate_cap import OfflineRateCap
from planner.batching.baselines.sglang_priority import ConcurrencyCap, SglangPriority
from planner.batching.state import Budgets, Memory

BUDGETS = Budgets(latency_budget_ms=20.0)


def plan_with(policy, budgets=BUDGETS, **fields):
    """The plan of one state."""
    return policy(engine_state(**fields), model=MODEL, budgets=budgets)


def prompts(count, **fields):
    """Waiting offline requests, the first one the eldest."""
    return tuple(
        offline_prompt(f"b{index}", arrival_s=NOW_S - 100.0 + index, **fields)
        for index in range(count)
    )


# ---------------------------------------------------------------- online only, offline only


def test_online_only_runs_no_offline_work_and_gives_its_kv_back():
    """Sarathi alone: rows of a batch leave, the mid-prefill one too, none begins."""
    plan = plan_with(
        OnlineOnly(),
        running=(online_row(), offline_row(), offline_row("last", must_run=True)),
        parked=(offline_row("parked", is_parked=True),),
        started=offline_prompt("mid", is_started=True),
        waiting_offline=prompts(3),
    )
    assert plan.evict == ("off0", "parked")
    assert plan.requeue_started
    assert plan.offline_chunk_tokens == 0 and not plan.park
    # The row that must run is all that is left beside online: 2 ms + 1 ms each.
    assert plan.predicted_ms == pytest.approx(4.0)


def test_offline_only_fills_the_tuned_chunk_and_no_more_rows_than_tuned():
    """HyGen, Sarathi-offline: chunk and rows are the knobs; latency is none."""
    fields = {"waiting_offline": prompts(8), "running": (offline_row(),)}
    assert plan_with(OfflineOnly(chunk_tokens=250), **fields).offline_chunk_tokens == 250
    assert plan_with(OfflineOnly(), **fields).offline_chunk_tokens == 512
    assert plan_with(OfflineOnly(max_rows=3), **fields).offline_chunk_tokens == 200
    tight = Budgets(latency_budget_ms=0.0, idle_budget_ms=0.0)
    assert plan_with(OfflineOnly(), budgets=tight, **fields).offline_chunk_tokens == 512


def test_offline_only_computes_prompts_before_decodes_when_passes_take_turns():
    """The ceiling grows its decode batch first, pass after pass."""
    plan = plan_with(
        OfflineOnly(),
        running=(offline_row(),),
        waiting_offline=prompts(8),
        memory=Memory(stall_ms=50.0),
    )
    assert plan.offline_chunk_tokens == 512


def test_offline_only_orders_by_prefix_when_asked():
    """The ceiling of a batch with shared prefixes runs them together."""
    waiting = (
        offline_prompt("x", prompt_key=b"b", arrival_s=1.0),
        offline_prompt("y", prompt_key=b"a", arrival_s=2.0),
    )
    by_arrival = plan_with(OfflineOnly(), waiting_offline=waiting)
    by_prefix = plan_with(OfflineOnly(order=OfflineOrder.PREFIX), waiting_offline=waiting)
    assert by_arrival.offline_order == ("x", "y")
    assert by_prefix.offline_order == ("y", "x")


# ---------------------------------------------------------------- Sarathi++


def test_blind_hybrid_fills_what_online_leaves_of_the_token_budget():
    """Sarathi-Serve, algorithm 3: decodes, then online prompts, then offline ones."""
    plan = plan_with(
        BlindHybrid(token_budget=300),
        running=(online_row(), offline_row()),
        waiting_online=(online_prompt(remaining_tokens=120),),
        waiting_offline=prompts(5),
        mixes_prefill_and_decode=True,
        chunk_limit_tokens=512,
    )
    assert plan.offline_chunk_tokens == 300 - 2 - 120
    plan = plan_with(
        BlindHybrid(),
        running=(online_row(), offline_row()),
        waiting_online=(online_prompt(remaining_tokens=120),),
        waiting_offline=prompts(5),
        mixes_prefill_and_decode=True,
    )
    assert plan.offline_chunk_tokens == 512 - 2 - 120


def test_blind_hybrid_does_not_see_the_slo():
    """HyGen: Sarathi++ has no control; neither budget nor a missed target changes it."""
    fields = {
        "running": (online_row(itl_target_ms=1.0, last_token_s=NOW_S - 5.0),),
        "waiting_offline": prompts(9),
        "mixes_prefill_and_decode": True,
    }
    tight = plan_with(BlindHybrid(), budgets=Budgets(latency_budget_ms=0.0), **fields)
    loose = plan_with(BlindHybrid(), budgets=Budgets(latency_budget_ms=900.0), **fields)
    assert tight == loose
    assert tight.offline_chunk_tokens == 511


def test_blind_hybrid_never_skips_a_decode_when_passes_take_turns():
    """Stall-free batching (Sarathi-Serve section 4.2): after a chunk, decodes have a turn."""
    fields = {"running": (online_row(),), "waiting_offline": prompts(9)}
    first = plan_with(BlindHybrid(), **fields)
    second = plan_with(BlindHybrid(), memory=first.memory, **fields)
    third = plan_with(BlindHybrid(), memory=second.memory, **fields)
    assert first.offline_chunk_tokens == third.offline_chunk_tokens == 512
    assert second.offline_chunk_tokens == 0


def test_blind_hybrid_preempts_the_latest_arrival_for_online_kv():
    """Online first with preemption: the last of the queue's order gives up its KV."""
    plan = plan_with(
        BlindHybrid(),
        running=(offline_row("old", arrival_s=1.0), offline_row("new", arrival_s=2.0)),
        waiting_online=(online_prompt(remaining_tokens=150),),
        kv_free_tokens=100,
    )
    assert plan.evict == ("new",)


def test_blind_hybrid_stops_at_the_first_prompt_that_kv_does_not_hold():
    """Sarathi-Serve's scheduler: no request overtakes one that cannot be allocated."""
    waiting = (
        offline_prompt("large", remaining_tokens=400, arrival_s=1.0),
        offline_prompt("small", remaining_tokens=10, arrival_s=2.0),
    )
    assert plan_with(BlindHybrid(), waiting_offline=waiting, kv_free_tokens=300).memory == Memory()
    plan = plan_with(BlindHybrid(), waiting_offline=waiting, kv_free_tokens=300)
    assert plan.offline_chunk_tokens == 0


def test_blind_hybrid_cuts_a_prompt_at_a_page():
    """KV of a cut prompt is whole pages."""
    plan = plan_with(BlindHybrid(token_budget=250), waiting_offline=prompts(3), page_size=16)
    assert plan.offline_chunk_tokens == 100 + 100 + 48


def test_blind_hybrid_begins_nobody_in_the_rows_that_online_takes():
    """Online prompts have the free rows first."""
    online = tuple(online_prompt(f"w{index}", remaining_tokens=10) for index in range(3))
    for free_rows, begun in ((3, 0), (4, 1), (5, 2)):
        plan = plan_with(
            BlindHybrid(),
            waiting_online=online,
            waiting_offline=prompts(6),
            free_rows=free_rows,
        )
        assert plan.offline_chunk_tokens == 100 * begun and not plan.evict


def test_blind_hybrid_leaves_online_prompts_their_kv():
    """KV that online prompts take in the pass, and a decode's next token, is not offline's."""
    fields = {
        "running": (online_row(),),
        "waiting_online": (online_prompt(remaining_tokens=150),),
        "waiting_offline": prompts(2),
    }
    assert plan_with(BlindHybrid(), kv_free_tokens=250, **fields).offline_chunk_tokens == 0
    assert plan_with(BlindHybrid(), kv_free_tokens=251, **fields).offline_chunk_tokens == 100


def test_blind_hybrid_keeps_a_row_that_runs_when_kv_is_gone_and_another_is_stuck():
    """Engines never preempt the last one: a row whose result is in flight does not count."""
    parked = (
        offline_row("a", is_parked=True),
        offline_row("b", is_parked=True, can_resume=False),
    )
    plan = plan_with(BlindHybrid(), parked=parked, kv_free_tokens=0)
    assert plan.evict == () and plan.resume == ("a",)


def test_blind_hybrid_yields_the_mid_prefill_slot_to_a_cut_online_prompt():
    """The engine tracks one cut prompt; online's comes first."""
    plan = plan_with(
        BlindHybrid(),
        started=offline_prompt("mid", is_started=True, remaining_tokens=300),
        waiting_online=(online_prompt(remaining_tokens=2_000),),
        waiting_offline=prompts(2),
    )
    assert plan.requeue_started and plan.offline_chunk_tokens == 0


# ---------------------------------------------------------------- HyGen*


@pytest.mark.parametrize("rate", [0.4, 3.0, 40.0])
def test_rate_cap_begins_no_more_requests_than_its_rate(rate):
    """HyGen*: a cap on offline requests per second, over any interval, and it is used."""
    policy = OfflineRateCap(requests_per_s=rate)
    memory, begun, waiting = Memory(), [], list(prompts(600, remaining_tokens=20))
    now_s, step_s = NOW_S, 0.137
    while waiting and now_s < NOW_S + 12.0:
        state = engine_state(
            now_s=now_s,
            running=(online_row(),),
            waiting_offline=tuple(waiting),
            mixes_prefill_and_decode=True,
            chunk_limit_tokens=4096,
            memory=memory,
        )
        plan = policy(state, model=MODEL, budgets=BUDGETS)
        count = plan.offline_chunk_tokens // 20
        assert count * 20 == plan.offline_chunk_tokens
        begun += [now_s] * count
        waiting, memory, now_s = waiting[count:], plan.memory, now_s + step_s
    window_s = max(1.0, 1.0 / rate)
    for i, start_s in enumerate(begun):
        for j in range(i, len(begun)):
            length_s = begun[j] - start_s
            assert j - i + 1 <= rate * (length_s + window_s) + 1e-3
    assert len(begun) >= rate * 12.0 * 0.95 - 1


def test_rate_cap_is_otherwise_the_blind_hybrid():
    """A rate that never binds changes nothing but what is remembered."""
    fields = {
        "running": (online_row(), offline_row()),
        "waiting_offline": prompts(9),
        "mixes_prefill_and_decode": True,
    }
    capped = plan_with(OfflineRateCap(requests_per_s=1e6), **fields)
    blind = plan_with(BlindHybrid(), **fields)
    assert replace(capped, memory=blind.memory) == blind


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_rate_cap_refuses_a_rate_that_is_none(rate):
    """A rate of nothing is another policy."""
    with pytest.raises(ValueError, match="requests_per_s"):
        OfflineRateCap(requests_per_s=rate)


# ---------------------------------------------------------------- SGLang


def test_sglang_priority_computes_offline_prompts_in_every_pass():
    """SGLang 0.5.23: prefill always wins, whatever decodes wait (measured: ITL p99 x 12)."""
    fields = {"running": (online_row(),), "waiting_offline": prompts(20)}
    memory = Memory()
    for _ in range(3):
        plan = plan_with(SglangPriority(), memory=memory, **fields)
        assert plan.offline_chunk_tokens == 512
        memory = plan.memory


def test_sglang_priority_continues_the_started_prompt_before_online():
    """PrefillAdder.add_chunked_req ignores priority: online gets what is left."""
    plan = plan_with(
        SglangPriority(),
        started=offline_prompt("mid", is_started=True, remaining_tokens=400),
        waiting_online=(online_prompt(remaining_tokens=300),),
        waiting_offline=prompts(4),
    )
    assert plan.offline_chunk_tokens == 400
    assert not plan.requeue_started


def test_sglang_priority_evicts_for_rows_and_growth_but_not_for_prompts():
    """preempt_to_schedule takes slots; retract_decode makes room; NO_TOKEN waits."""
    rows = (
        offline_row("long", generated_tokens=90, arrival_s=5.0),
        offline_row("short", generated_tokens=3, arrival_s=1.0),
    )
    online = (online_prompt(remaining_tokens=250),)
    for_prompt = plan_with(
        SglangPriority(), running=rows, waiting_online=online, kv_free_tokens=100
    )
    assert for_prompt.evict == ()
    assert plan_with(
        BlindHybrid(), running=rows, waiting_online=online, kv_free_tokens=100
    ).evict == ("long", "short")
    for_row = plan_with(SglangPriority(), running=rows, waiting_online=online, free_rows=0)
    assert for_row.evict == ("long",)  # the latest arrival
    for_growth = plan_with(SglangPriority(), running=(online_row(), *rows), kv_free_tokens=1)
    assert for_growth.evict == ("short",)  # the fewest output tokens


def test_concurrency_cap_holds_so_many_requests_and_no_more():
    """What users do today: N in flight, decoding, parked or mid-prefill."""
    fields = {
        "running": (offline_row("r0"), offline_row("r1")),
        "started": offline_prompt("mid", is_started=True, remaining_tokens=50),
        "waiting_offline": prompts(9),
    }
    for cap, begun in ((0, 0), (3, 0), (4, 1), (6, 3)):
        plan = plan_with(ConcurrencyCap(max_in_flight=cap), **fields)
        assert plan.offline_chunk_tokens == 50 + 100 * begun
    uncapped = plan_with(SglangPriority(), **fields)
    assert plan_with(ConcurrencyCap(max_in_flight=100), **fields) == uncapped


def test_kill_switch_stops_offline_prompts_of_every_rival():
    """A disabled engine computes no offline prompt, whoever schedules it."""
    for policy in (
        OnlineOnly(),
        OfflineOnly(),
        BlindHybrid(),
        OfflineRateCap(requests_per_s=9.0),
        SglangPriority(),
        ConcurrencyCap(max_in_flight=4),
    ):
        plan = plan_with(
            policy,
            budgets=Budgets(enabled=False),
            started=offline_prompt("mid", is_started=True),
            waiting_offline=prompts(3),
        )
        assert plan.offline_chunk_tokens == 0
