"""A real SGLang with the plugin, against the same engine without it."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from engine_prompts import Paired
from harness import Prompt, settled, state_of, wait_for

from nodeagent.plugin_contract import (
    PLUGIN_VERSION,
    encode_budgets,
    encode_model,
    model_fingerprint,
)
from planner.batching.state import Budgets
from planner.latency.predictor import default_model

pytestmark = pytest.mark.engine


def test_stock_engine_reports_no_state_when_plugin_is_off(paired: Paired) -> None:
    """SLACKTIDE_PLUGIN=off leaves the engine stock, and the agent can see it."""
    assert not paired.stock_has_state


def test_plugin_reports_version_and_default_model_when_started(paired: Paired) -> None:
    """/server_info carries the plugin's version, budgets and the model in force."""
    state = state_of(paired.engine)
    assert state.version == PLUGIN_VERSION
    assert state.fingerprint != 0
    assert state.kv_total_tokens > 0


def test_settings_change_live_and_whole_when_valid(paired: Paired) -> None:
    """Budgets and coefficients are applied at once; a bad value changes nothing."""
    engine = paired.engine
    model = replace(default_model("cpu"), identity="fitted for this test")
    budgets = Budgets(latency_budget_ms=33.0, max_offline_rows=9)
    assert engine.settings(encode_budgets(budgets))
    assert engine.settings(encode_model(values=model.to_values(), identity=model.identity))
    assert not engine.settings({"slacktide_budget_latency_budget_ms": -1.0})
    assert not engine.settings({"slacktide_budget_unheard_of": 1.0})
    state = state_of(engine)
    assert state.budgets == budgets
    assert state.fingerprint == model_fingerprint(model.identity)
    assert engine.settings(encode_budgets(Budgets()))


def test_outputs_equal_stock_when_offline_is_parked_and_chunked(paired: Paired) -> None:
    """Greedy outputs do not change while offline rows are parked and chunks capped."""
    engine = paired.engine
    before = settled(engine).counters
    tight = Budgets(
        latency_budget_ms=14.0,
        idle_budget_ms=40.0,
        min_chunk_tokens=16,
        min_parked_passes=2,
        min_resident_passes=2,
        uncalibrated_ratio=1.0,  # the default model is taken at its word: rows come and go
    )
    assert engine.settings(encode_budgets(tight))
    offline = [p for p in paired.prompts if p.offline]
    online = [p for p in paired.prompts if not p.offline]
    with ThreadPoolExecutor(max_workers=2) as pool:
        first = pool.submit(engine.generate_all, offline)
        wait_for(engine, lambda s: s.offline.running >= 3)
        second = pool.submit(engine.generate_all, online, stagger_s=0.05)
        answers = first.result() | second.result()
    after = settled(engine).counters
    assert {p.rid: answers[p.rid] for p in paired.prompts} == {
        p.rid: paired.stock[p.rid] for p in paired.prompts
    }
    assert after.parked > before.parked
    assert after.resumed > before.resumed
    assert after.chunks_capped > before.chunks_capped
    assert after.offline_output_tokens > before.offline_output_tokens


def test_offline_is_evicted_and_outputs_equal_stock_when_kv_is_short(paired: Paired) -> None:
    """Online prompts take the KV of offline rows, which compute theirs again later."""
    engine = paired.engine
    before = settled(engine).counters
    # No reserve, or bursts of other tests would keep room for these online prompts.
    greedy = Budgets(idle_budget_ms=1000.0, kv_reserve_ratio=0.0, kv_reserve_ceiling_ratio=0.0)
    assert engine.settings(encode_budgets(greedy))
    offline = [p for p in paired.pressing if p.offline]
    online = [p for p in paired.pressing if not p.offline]
    with ThreadPoolExecutor(max_workers=2) as pool:
        first = pool.submit(engine.generate_all, offline)
        wait_for(engine, lambda s: s.offline.running >= 5)
        answers = engine.generate_all(online) | first.result()
    after = settled(engine).counters
    assert {p.rid: answers[p.rid] for p in paired.pressing} == {
        p.rid: paired.stock[p.rid] for p in paired.pressing
    }
    assert after.evicted > before.evicted


def test_parked_request_is_aborted_when_asked(paired: Paired) -> None:
    """An abort reaches a request that is in no batch, and its KV comes back."""
    engine = paired.engine
    settled(engine)
    assert engine.settings(encode_budgets(Budgets()))
    long = Prompt(rid="abt-000", ids=tuple(range(60)), new_tokens=3000, offline=True)
    online = Prompt(rid="abt-001", ids=tuple(range(80)), new_tokens=1500, offline=False)
    with ThreadPoolExecutor(max_workers=2) as pool:
        parked = pool.submit(engine.generate, long)
        wait_for(engine, lambda s: s.offline.running == 1)
        held = pool.submit(engine.generate, online)
        wait_for(engine, lambda s: s.online.running == 1)
        assert engine.settings(encode_budgets(Budgets(latency_budget_ms=0.0)))
        wait_for(engine, lambda s: s.offline.parked == 1)
        engine.call("/abort_request", {"rid": long.rid})
        assert len(parked.result(timeout=10)) < long.new_tokens
        assert not held.done()
        engine.call("/abort_request", {"rid": online.rid})
        held.result(timeout=10)
    settled(engine)


def test_engine_lives_when_sampling_is_extreme(paired: Paired) -> None:
    """What the agent's checks let through at the edge of a range does not end the scheduler."""
    engine = paired.engine
    extremes = (
        {"temperature": 1e-30},
        {"temperature": 1e30},
        {"temperature": 1.0, "top_p": 1e-30},
        {"temperature": 1.0, "top_k": 2**31 - 1},
        {"temperature": 1.0, "sampling_seed": -(2**63)},
        {"stop": [f"{i:03d}" * 85 for i in range(16)]},
    )
    for i, extra in enumerate(extremes):
        for offline in (False, True):
            rid = f"xtr-{i}{offline:d}"
            prompt = Prompt(rid=rid, ids=(1,), new_tokens=3, offline=offline, extra=extra)
            assert len(engine.generate(prompt)) == 3
    assert settled(engine).fault == ""


def test_iterations_are_sampled_when_batches_ran(paired: Paired) -> None:
    """Samples carry composition, prediction, bound and duration; sequences only grow."""
    samples = settled(paired.engine).samples
    assert samples
    assert all(s.measured_ms > 0 and s.bound_ms >= s.predicted_ms > 0 for s in samples)
    sequences = [s.sequence for s in samples]
    assert sequences == sorted(set(sequences))


def test_cache_can_be_flushed_and_no_leak_is_found_when_idle(paired: Paired) -> None:
    """With everything done the strict idle check finds all KV where it belongs."""
    engine = paired.engine
    settled(engine)
    time.sleep(1.0)  # the idle check runs in the engine's own loop
    engine.call("/flush_cache", {})
    state = settled(engine)
    assert state.kv_free_tokens == state.kv_total_tokens
    assert "leak" not in engine.log.read_text(errors="replace").lower()
