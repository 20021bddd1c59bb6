"""Requests with state of their own in SGLang's sampler, parked, evicted and mixed."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from engine_prompts import Paired
from harness import Prompt, settled, wait_for

from nodeagent.plugin_contract import encode_budgets
from planner.batching.state import Budgets

pytestmark = pytest.mark.engine

_LOGPROBS = (
    "input_token_logprobs",
    "output_token_logprobs",
    "input_top_logprobs",
    "output_top_logprobs",
    "output_token_ids_logprobs",
)
_TOLERANCE = 2e-3  # nats; fp32 sums in another batch differ by about 1e-5


def as_samples(answer: Any) -> list[Any]:
    """An answer is one sample, or with n > 1 a list of them."""
    return answer if isinstance(answer, list) else [answer]


def flat(values: Any) -> list[Any]:
    """Logprobs and token ids of any nesting, in order; the untold first logprob is None."""
    if isinstance(values, list | tuple):
        return [leaf for value in values for leaf in flat(value)]
    return [values]


def assert_same(answer: Any, expected: Any, prompt: Prompt) -> None:
    """Every sample has the same tokens, text and end, and logprobs within rounding."""
    rid = prompt.rid
    samples = as_samples(answer)
    assert len(samples) == prompt.extra.get("n", 1), rid
    for one in samples:
        assert one["output_ids"] == expected["output_ids"], rid
        assert one["text"] == expected["text"], rid
        reasons = [sample["meta_info"]["finish_reason"] for sample in (one, expected)]
        assert reasons[0] == reasons[1], rid
        for key in _LOGPROBS:
            leaves = [flat(sample["meta_info"].get(key)) for sample in (one, expected)]
            assert leaves[0] == pytest.approx(leaves[1], abs=_TOLERANCE), (rid, key)


def test_answers_equal_stock_when_choosy_requests_are_parked_and_evicted(paired: Paired) -> None:
    """Penalties, minimum lengths, logprobs, stops, grammars, biases and several samples come
    out as SGLang alone gives them, offline through parking and eviction, and online beside.
    """
    engine = paired.engine
    before = settled(engine).counters
    # Without a target of its own, online work lets offline run beside it until it is stopped.
    generous = Budgets(
        latency_budget_ms=1e6,
        idle_budget_ms=1000.0,
        uncalibrated_ratio=1.0,
        kv_reserve_ratio=0.0,
        kv_reserve_ceiling_ratio=0.0,
    )
    frozen = Budgets(latency_budget_ms=0.0)
    assert engine.settings(encode_budgets(generous))
    offline = [p for p in paired.choosy if p.offline]
    online = [p for p in paired.choosy if not p.offline]
    urgent = [p for p in paired.pressing if not p.offline]
    holder = Prompt(rid="hol-000", ids=tuple(range(90)), new_tokens=2500, offline=False)
    with ThreadPoolExecutor(max_workers=len(paired.choosy) + len(urgent) + 1) as pool:
        held = pool.submit(engine.generate, holder)
        wait_for(engine, lambda s: s.online.running == 1)
        answers = {p.rid: pool.submit(engine.answer, p) for p in offline}
        wait_for(engine, lambda s: s.offline.running >= 8)
        assert engine.settings(encode_budgets(frozen))
        # All of them can be parked: none goes on beside online work.
        wait_for(engine, lambda s: s.offline.parked >= 6 and s.offline.running == 0)
        assert engine.settings(encode_budgets(generous))
        wait_for(engine, lambda s: s.counters.resumed > before.resumed)
        assert engine.settings(encode_budgets(frozen))
        wait_for(engine, lambda s: s.offline.parked >= 2 and s.offline.running == 0)
        answers |= {p.rid: pool.submit(engine.answer, p) for p in (*online, *urgent)}
        wait_for(engine, lambda s: s.counters.evicted > before.evicted)
        engine.call("/abort_request", {"rid": holder.rid})
        held.result()
        tight = Budgets(latency_budget_ms=14.0, idle_budget_ms=40.0, uncalibrated_ratio=1.0)
        assert engine.settings(encode_budgets(tight))
        done = {rid: future.result() for rid, future in answers.items()}
    after = settled(engine)
    assert after.fault == ""
    log = engine.log.read_text(errors="replace")
    assert "slacktide_evicted rid=cho-" in log
    for prompt in paired.choosy:
        assert_same(done[prompt.rid], paired.stock_alone[prompt.rid], prompt)
    for prompt in urgent:
        assert done[prompt.rid]["output_ids"] == paired.stock[prompt.rid], prompt.rid
