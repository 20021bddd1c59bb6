"""What the simulator does with time, and what it measures."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from simulated_engines import MODEL, offline, online, run, settings, unbounded

from planner.batching.decide import plan_iteration
from planner.batching.state import Budgets, IterationPlan
from planner.simulation import replay as replay_module
from planner.simulation.replay import replay
from planner.simulation.settings import Loop
from planner.simulation.truth import model_truth
from planner.simulation.workload import ClosedLoop
from planner.slo import gaps_ms, ttft_ms


def alike(template):
    """Endless requests that differ in nothing but their rid."""
    return (replace(template, rid=f"o{number:08d}") for number in itertools.count())


def test_lone_request_takes_its_chunks_and_decodes():
    """300 tokens in chunks of 128 are passes of 128, 128 and 44; then each token is a decode."""
    done = run(scheduled=[online("a", prompt_tokens=300, output_tokens=4, at_s=1.0)])
    (trace,) = done.online
    assert ttft_ms(trace) == pytest.approx(3 * 4.0 + 300 * 0.1)
    assert gaps_ms(trace) == pytest.approx([4.5] * 3)
    assert done.counters.passes == 6 and done.counters.prefill_passes == 3
    assert done.end_s == pytest.approx(1.0 + (42.0 + 13.5) / 1e3)


@pytest.mark.parametrize(("mixes", "gap_ms"), [(False, 14.0 + 5.0), (True, 14.5)])
def test_prompt_stalls_decodes_where_passes_take_turns(mixes, gap_ms):
    """Taking turns, a decode waits for the prompt's pass; mixed, it runs in it."""
    done = run(
        engine=settings(mixes=mixes),
        scheduled=[online("a", output_tokens=50), online("b", at_s=0.1)],
    )
    assert max(gaps_ms(done.online[0])) == pytest.approx(gap_ms)


def test_overlap_loop_lags_by_one_pass():
    """A prompt that arrives just after a pass began waits for the pass decided before it."""
    scheduled = [online("a", output_tokens=200), online("b", at_s=0.0141)]
    waited = {
        loop: ttft_ms(run(engine=settings(loop=loop), scheduled=scheduled).online[1])
        for loop in (Loop.PLAIN, Loop.OVERLAP)
    }
    assert waited[Loop.OVERLAP] == pytest.approx(waited[Loop.PLAIN] + 4.5)


def test_blocking_overlap_emits_after_the_next_pass():
    """On a device whose launch blocks, a first token leaves when the next pass has ended."""
    scheduled = [online("a", output_tokens=3)]
    plain = run(scheduled=scheduled).online[0]
    blocking = run(engine=settings(loop=Loop.OVERLAP_BLOCKING), scheduled=scheduled).online[0]
    assert ttft_ms(blocking) == pytest.approx(ttft_ms(plain) + 4.5)
    assert blocking.output_tokens == plain.output_tokens == 3


def test_closed_loop_keeps_its_requests_in_flight():
    """Never more than `in_flight`, and the next is sent when one ends."""
    seen = []

    def watching(state, *, model, budgets):
        held = len(state.running) + len(state.parked) + len(state.waiting_offline)
        seen.append(held + (state.started is not None))
        return unbounded(state, model=model, budgets=budgets)

    client = ClosedLoop(source=alike(offline("t")), in_flight=4)
    done = run(policy=watching, clients=[client], to_s=2.0)
    assert max(seen) == 4 and min(seen) == 4
    assert done.offline_ended > 20
    assert done.offline_prompt_tokens >= 100 * done.offline_ended


def test_policy_is_asked_only_while_offline_work_is_in_the_engine():
    """As the plugin does; the very decision object runs, and its plans are carried out."""
    calls = []

    def spying(state, *, model, budgets):
        plan = plan_iteration(state, model=model, budgets=budgets)
        calls.append((state, plan))
        return plan

    alone = run(policy=spying, scheduled=[online("a")])
    assert not calls and alone.counters.decisions == 0
    mixed = run(policy=spying, scheduled=[online("a"), offline("b", at_s=0.001)])
    assert calls and mixed.counters.decisions == len(calls)
    assert any(plan.offline_chunk_tokens for _, plan in calls)
    assert mixed.offline_prompt_tokens == 100 and mixed.offline_output_tokens == 5


def test_equal_runs_are_equal_and_other_seeds_differ():
    """Noise comes from the seed alone."""

    def once(seed):
        client = ClosedLoop(source=alike(offline("t")), in_flight=3)
        return run(
            truth=model_truth(MODEL, noise_ratio=0.2, seed=seed),
            scheduled=[online(f"a{i}", at_s=i * 0.05) for i in range(20)],
            clients=[client],
            to_s=1.5,
        )

    assert once(1) == once(1)
    assert once(1) != once(2)


@hypothesis_settings(max_examples=40, deadline=None)
@given(
    requests=st.lists(
        st.tuples(
            st.booleans(),
            st.integers(1, 400),
            st.integers(1, 20),
            st.floats(0.0, 0.5),
            st.integers(0, 3),
        ),
        max_size=12,
    ),
    page_size=st.sampled_from([1, 16]),
    mixes=st.booleans(),
    loop=st.sampled_from(list(Loop)),
    kv_tokens=st.sampled_from([640, 4096]),
    budget_ms=st.sampled_from([0.0, 8.0, 40.0]),
)
def test_every_request_ends_once_and_memory_is_given_back(
    requests, page_size, mixes, loop, kv_tokens, budget_ms
):
    """Tokens add up and each request ends once, under any load, memory and loop."""
    made = [
        (online if is_online else offline)(
            f"r{i:02d}",
            prompt_tokens=prompt,
            output_tokens=output,
            at_s=at_s,
            blocks=tuple(range(group * 100, group * 100 + prompt // 16 + 1)) if group else (),
            block_tokens=16 if group else 0,
        )
        for i, (is_online, prompt, output, at_s, group) in enumerate(
            sorted(requests, key=lambda entry: entry[3])
        )
    ]
    done = run(
        engine=settings(page_size=page_size, mixes=mixes, loop=loop, kv_tokens=kv_tokens),
        budgets=Budgets(latency_budget_ms=budget_ms),
        scheduled=made,
    )
    online_made = [request for request in made if request.work_class.value == "online"]
    offline_made = [request for request in made if request.work_class.value == "offline"]
    assert sorted(t.output_tokens for t in done.online) == sorted(
        r.output_tokens for r in online_made
    )
    assert done.offline_ended == len(offline_made)
    assert done.offline_prompt_tokens == sum(r.prompt_tokens for r in offline_made)
    assert done.offline_output_tokens == sum(r.output_tokens for r in offline_made)
    assert done.counters.retracted_online == 0 or not offline_made or kv_tokens == 640


def test_window_counts_by_time_and_measures_what_was_sent_in_it():
    """Requests sent before or after the window are served, not measured."""
    done = run(scheduled=[online(f"a{i}", at_s=i * 0.1) for i in range(10)], from_s=0.25, to_s=0.75)
    assert [trace.scheduled_s for trace in done.online] == pytest.approx([0.3, 0.4, 0.5, 0.6, 0.7])
    assert done.window_s == pytest.approx(0.5)
    assert 0.0 < done.busy_ratio <= 1.0


def test_shared_prefix_is_computed_once():
    """The second request with the same blocks computes only what follows them."""
    blocks = {"prompt_tokens": 128, "blocks": tuple(range(8)), "block_tokens": 16}
    first = online("a", **blocks)
    second = online("b", at_s=1.0, **blocks)
    done = run(scheduled=[first, second])
    assert ttft_ms(done.online[0]) == pytest.approx(4.0 + 12.8)
    assert ttft_ms(done.online[1]) == pytest.approx(4.0 + 0.1)  # its last token, always
    cold = run(engine=settings(caches_prefixes=False), scheduled=[first, second])
    assert ttft_ms(cold.online[1]) == pytest.approx(4.0 + 12.8)
    assert (done.counters.cached_tokens, cold.counters.cached_tokens) == (127, 0)


def test_offline_rows_are_evicted_for_online_prompts():
    """Where KV is short, offline gives it up; online is never retracted."""
    done = run(
        engine=settings(kv_tokens=600),
        policy=unbounded,
        budgets=Budgets(kv_reserve_ratio=0.0),
        scheduled=[
            offline("b", prompt_tokens=400, output_tokens=30),
            online("a", prompt_tokens=300, output_tokens=10, at_s=0.06),
        ],
    )
    assert done.counters.evicted >= 1 and done.counters.retracted_online == 0
    assert done.offline_output_tokens == 30 and done.offline_prompt_tokens == 400
    assert done.online[0].output_tokens == 10


@pytest.mark.parametrize(
    ("workload", "message"),
    [
        ({"scheduled": [online("big", prompt_tokens=5000)]}, "big: needs"),
        ({"scheduled": [online("b", at_s=2.0), online("a", at_s=1.0)]}, "sort the workload"),
        ({"from_s": 2.0, "to_s": 1.0}, "window"),
        ({"scheduled": [online("a")], "truth": lambda _: 0.0}, "must be > 0"),
        ({"scheduled": [online("a")], "truth": lambda _: float("nan")}, "must be > 0"),
    ],
)
def test_impossible_input_is_refused(workload, message):
    """With what was seen and what is allowed."""
    with pytest.raises(ValueError, match=message):
        run(**workload)


def test_policy_that_runs_nothing_is_named(monkeypatch):
    """A policy that starves the engine ends the run with a word, not in a loop."""
    monkeypatch.setattr(replay_module, "_MAX_IDLE_POLLS", 1_000)
    with pytest.raises(RuntimeError, match="run nothing"):
        replay(
            settings=settings(poll_ms=1000.0),
            policy=lambda _state, **_settings: IterationPlan(),
            model=MODEL,
            budgets=Budgets(),
            truth=MODEL.predict_ms,
            scheduled=[offline("b")],
        )
