"""What gives up KV under stock SGLang, and what under the plugin."""

import pytest
from simulated_engines import offline, online, run, settings, unbounded

from planner.batching.baselines.sglang_priority import SglangPriority
from planner.batching.state import Budgets, IterationPlan
from planner.simulation.counters import EngineCounters
from planner.simulation.decoding import Decoding
from planner.simulation.live import LiveRequest
from planner.simulation.memory import KvMemory
from planner.simulation.residents import Residents
from planner.simulation.settings import Loop, Scheduler
from planner.slo import ttft_ms

STOCK = Scheduler.STOCK
SCARCE = {"kv_tokens": 600, "max_running_requests": 8}
WORKLOAD = {
    "scheduled": [
        offline("b", prompt_tokens=400, output_tokens=100),
        online("a", prompt_tokens=300, output_tokens=10, at_s=0.06),
    ]
}


@pytest.mark.parametrize("loop", list(Loop))
@pytest.mark.parametrize("policy", [unbounded, SglangPriority()])
def test_stock_lets_an_online_prompt_wait_for_kv(policy, loop):
    """Its first token comes after the batch's last; the plugin evicts for it.

    Source: SGLang issue 14872: priority preemption is never tried for KV.
    """
    first_s = {}
    for scheduler in Scheduler:
        done = run(
            engine=settings(scheduler=scheduler, loop=loop, **SCARCE),
            policy=policy,
            budgets=Budgets(kv_reserve_ratio=0.0),
            **WORKLOAD,
        )
        assert done.counters.retracted_online == done.counters.retracted_offline == 0
        assert done.counters.evicted == (scheduler is Scheduler.PLUGIN)
        assert done.offline_ended == 1
        first_s[scheduler] = done.online[0].chunks[0].at_s
    decoding_s = 100 * 4.5e-3
    assert first_s[Scheduler.PLUGIN] < decoding_s < first_s[STOCK]


def test_stock_evicts_what_the_plan_names():
    """Priority preemption for an engine row is the plan's."""
    done = run(
        engine=settings(scheduler=STOCK, kv_tokens=4096, max_running_requests=1),
        policy=SglangPriority(),
        scheduled=[
            offline("b", output_tokens=100),
            online("a", output_tokens=3, at_s=0.06),
        ],
    )
    assert done.counters.evicted == 1
    assert done.online[0].chunks[0].at_s < 0.1
    assert done.offline_output_tokens == 100
    # SGLang leaves the KV of the prompt in the cache; the output's is computed again.
    assert 0 < done.counters.recomputed_tokens < 100


def outgrown(first, second, *, scheduler, loop=Loop.PLAIN):
    """Two rows that the engine admits one after the other, and that outgrow its KV together.

    The second is admitted while the first is expected to generate 0.7 of its output.
    Returns the run, and the rids that decode on once KV is out.
    """
    rows = []
    done = run(
        engine=settings(scheduler=scheduler, kv_tokens=545, loop=loop),
        policy=unbounded,
        budgets=Budgets(kv_reserve_ratio=0.0),
        scheduled=[first, second],
        on_pass=lambda record: rows.append({live.rid for live in record.run.decodes}),
    )
    together = rows.index({first.rid, second.rid})
    staying = next(rids for rids in rows[together:] if len(rids) == 1)
    return done, staying


@pytest.mark.parametrize("loop", list(Loop))
def test_stock_retracts_an_offline_row_before_an_online_one(loop):
    """However much it has generated; its client loses nothing.

    Source: SGLang's order under `retraction_policy priority`.
    """
    done, staying = outgrown(
        offline("b", output_tokens=200),
        online("a", output_tokens=200, at_s=0.03),
        scheduler=STOCK,
        loop=loop,
    )
    assert staying == {"a"}
    assert done.counters.retracted_offline == 1
    assert done.counters.retracted_online == done.counters.evicted == 0
    assert done.offline_output_tokens == done.online[0].output_tokens == 200


def test_stock_retracts_the_row_with_the_fewest_tokens():
    """Among one class; the first, which has more, decodes on alone."""
    done, staying = outgrown(
        online("a0", output_tokens=200),
        online("a1", output_tokens=200, at_s=0.03),
        scheduler=STOCK,
    )
    assert staying == {"a0"}
    assert done.counters.retracted_online == 1 and done.counters.retracted_offline == 0
    assert [trace.output_tokens for trace in done.online] == [200, 200]


@pytest.mark.parametrize("loop", list(Loop))
def test_plugin_evicts_offline_rows_for_decodes_before_any_is_retracted(loop):
    """In flight or not: SGLang finds room, and retracts none."""
    done, _ = outgrown(
        online("a", output_tokens=200),
        offline("b", output_tokens=200, at_s=0.03),
        scheduler=Scheduler.PLUGIN,
        loop=loop,
    )
    assert done.counters.evicted == 1
    assert done.counters.retracted_online == done.counters.retracted_offline == 0
    assert done.offline_output_tokens == done.online[0].output_tokens == 200


def half_computed(*, until_free_tokens, prompt_tokens):
    """Passes of a prompt that waits for its last chunk while a row outgrows what was expected.

    The policy lets the chunk go on once so few KV tokens are free.
    """

    def late(state, **_):
        waits = state.started is not None and state.kv_free_tokens > until_free_tokens
        return IterationPlan(offline_chunk_tokens=0 if waits else 1 << 30)

    records = []
    done = run(
        engine=settings(scheduler=STOCK, kv_tokens=545, chunked_prefill_size=256),
        policy=late,
        scheduled=[
            online("a", output_tokens=200),
            offline("b", prompt_tokens=prompt_tokens, output_tokens=1, at_s=0.001),
        ],
        on_pass=records.append,
    )
    assert done.offline_ended == 1 and done.online[0].output_tokens == 200
    passes = [r.run for r in records]
    first = next(i for i, run_ in enumerate(passes) if run_.offline_rows)
    assert passes[first].prompts[0][1] == 255
    return passes[first + 1 :], done


def test_decodes_sit_out_a_mixed_pass_that_leaves_them_no_kv():
    """A mixed step retracts none; they decode when the prompt has ended.

    Source: SGLang 0.5.23, the mixing in `_get_new_batch_prefill_raw`.
    """
    passes, done = half_computed(until_free_tokens=5, prompt_tokens=260)
    (last,) = [run_ for run_ in passes if run_.prompts]
    assert last.prompts[0][1] == 5 and not last.decodes
    assert done.counters.retracted_online == 0


def test_chunk_leaves_what_running_rows_are_expected_to_generate():
    """But where that is more than there is, it goes on: its end frees its KV.

    Source: SGLang 0.5.23, `PrefillBudget.available_chunk_tokens`.
    """
    passes, _ = half_computed(until_free_tokens=60, prompt_tokens=300)
    first, *_ = [run_.prompts[0][1] for run_ in passes if run_.prompts]
    assert 0 < first < 45


def test_rows_with_their_last_result_in_flight_are_waited_for():
    """Their KV comes free at once: nobody is evicted or retracted for a decode.

    Source: SGLang 0.5.23, `update_running_batch`; the plugin's `make_room_to_decode`.
    """
    limits = settings(kv_tokens=201)
    memory = KvMemory(total_tokens=201, page_size=1, caches_prefixes=True)
    counters = EngineCounters()
    residents = Residents(limits, memory=memory, counters=counters)
    decoding = Decoding(residents, memory=memory)
    for request in (online("a"), offline("b", prompt_tokens=101, output_tokens=2)):
        live = LiveRequest(request, page_size=1, prompt_key=b"")
        assert live.grow(memory, request.prompt_tokens)
        live.generated, live.launched, live.in_flight = 1, 2, 1
        residents.running.append(live)
    ending = residents.running[1]
    assert decoding.alone() == ()
    assert counters == EngineCounters() and len(residents.running) == 2
    ending.leave(memory)
    residents.drop([ending])
    assert [live.rid for live in decoding.alone()] == ["a"]


def test_idle_engine_forgets_how_long_rows_went_on():
    """SGLang expects anew what it expected at first.

    Source: SGLang 0.5.23, `NewTokenRatioTracker.reset` when idle.
    """
    pair = [online("a", output_tokens=200, at_s=5.0), online("b", output_tokens=50, at_s=5.03)]
    waited = [
        ttft_ms(run(engine=settings(kv_tokens=380), scheduled=[*before, *pair]).online[-1])
        for before in ([], [online("long", output_tokens=250)])
    ]
    assert waited[0] == pytest.approx(waited[1])
    assert waited[0] > 200.0  # for KV
