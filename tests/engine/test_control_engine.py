"""SGLang's own controls while offline rows are parked, and settings nobody should send."""

import urllib.error
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest
from engine_prompts import Paired
from harness import Engine, Prompt, settled, state_of, wait_for

from nodeagent.plugin_contract import encode_budgets, encode_model
from planner.batching.state import Budgets
from planner.latency.predictor import default_model

pytestmark = pytest.mark.engine

_GENEROUS = Budgets(
    latency_budget_ms=1e6,
    idle_budget_ms=1000.0,
    uncalibrated_ratio=1.0,
    kv_reserve_ratio=0.0,
    kv_reserve_ceiling_ratio=0.0,
)
_FROZEN = Budgets(latency_budget_ms=0.0)
_HOLDER = Prompt(rid="hol-001", ids=tuple(range(90)), new_tokens=2500, offline=False)


@contextmanager
def parked_rows(paired: Paired) -> Iterator[dict[str, Future[list[int]]]]:
    """Offline requests of known answers, all parked behind an endless online one."""
    engine = paired.engine
    settled(engine)
    assert engine.settings(encode_budgets(_GENEROUS))
    offline = [p for p in paired.pressing if p.offline][:3]
    with ThreadPoolExecutor(max_workers=len(offline) + 1) as pool:
        held = pool.submit(engine.generate, _HOLDER)
        wait_for(engine, lambda s: s.online.running == 1)
        answers = {p.rid: pool.submit(engine.generate, p) for p in offline}
        wait_for(engine, lambda s: s.offline.running == len(offline))
        assert engine.settings(encode_budgets(_FROZEN))
        wait_for(engine, lambda s: s.offline.parked == len(offline))
        yield answers
        engine.call("/abort_request", {"rid": _HOLDER.rid})
        held.result()
        assert engine.settings(encode_budgets(_GENEROUS))
        for future in answers.values():
            future.result()
    assert settled(engine).fault == ""


def assert_stock(paired: Paired, answers: dict[str, Future[list[int]]]) -> None:
    for rid, future in answers.items():
        assert future.result() == paired.stock[rid], rid


@pytest.mark.parametrize("mode", ["in_place", "retract"])
def test_outputs_equal_stock_when_engine_pauses_with_parked_rows(paired: Paired, mode: str) -> None:
    """A pause in place keeps parked KV; one that retracts releases it, and all compute on."""
    engine = paired.engine
    with parked_rows(paired) as answers:
        engine.call("/pause_generation", {"mode": mode})
        if mode == "retract":
            wait_for(engine, lambda s: s.offline.parked == 0)
        engine.call("/continue_generation", {})
    assert_stock(paired, answers)


def test_cache_is_not_flushed_when_rows_are_parked(paired: Paired) -> None:
    """A flush would pull the KV from under them; SGLang refuses as with running ones."""
    engine = paired.engine
    with parked_rows(paired) as answers, pytest.raises(urllib.error.HTTPError):
        engine.call("/flush_cache", {})
    assert_stock(paired, answers)


def test_weights_are_replaced_when_a_paused_engine_had_parked_rows(paired: Paired) -> None:
    """A retracting pause leaves nothing that stops the flush; the same weights go on alike."""
    engine = paired.engine
    path = engine.call("/server_info")["model_path"]
    with parked_rows(paired) as answers:
        engine.call("/pause_generation", {"mode": "retract"})
        update = {"model_path": path, "flush_cache": True}
        assert engine.call("/update_weights_from_disk", update)["success"]
        engine.call("/continue_generation", {})
    assert_stock(paired, answers)


def test_everything_ends_when_all_is_aborted_with_parked_rows(paired: Paired) -> None:
    """Parked rows are aborted with the rest, and their KV comes back."""
    with parked_rows(paired) as answers:
        paired.engine.call("/abort_request", {"rid": "", "abort_all": True})
        for rid, future in answers.items():
            assert len(future.result()) < len(paired.stock[rid]), rid
    state = settled(paired.engine)
    assert state.counters.faults == 0


def bad_settings() -> list[dict[str, float | int]]:
    """What must be refused, as JSON can carry it; NaN and infinity go as Python spells them."""
    nan, inf = float("nan"), float("inf")
    model = default_model("cpu")
    good = encode_model(values=model.to_values(), identity=model.identity)
    decode = "slacktide_coefficient_decode_constant"
    budget = "slacktide_budget_"
    return [
        *({**good, decode: value} for value in (nan, inf, -1.0, -1e308)),
        {key: value for key, value in good.items() if key != decode},
        {**good, "slacktide_coefficient_decode_unheard": 1.0},
        *({f"{budget}latency_budget_ms": value} for value in (nan, inf, -inf, -1.0)),
        {f"{budget}latency_budget_ms": 1e308},
        {**good, decode: 1e308},
        {f"{budget}idle_budget_ms": -0.5},
        {f"{budget}max_offline_rows": -1},
        {f"{budget}max_parked_rows": nan},
        {f"{budget}kv_reserve_ratio": 1.0},
        {f"{budget}unheard_of": 1.0},
        {"slacktide_": 1.0},
        {"slacktide_model_fingerprint": 7},
        {f"{budget}latency_budget_ms": 10.0, f"{budget}idle_budget_ms": nan},
    ]


def odd_settings() -> list[Budgets]:
    """What is allowed, and leaves offline work little or nothing."""
    return [
        Budgets(latency_budget_ms=0.0, idle_budget_ms=0.0),
        Budgets(max_offline_rows=0),
        Budgets(max_parked_rows=0),
        Budgets(min_chunk_tokens=10**9),  # far beyond the engine's chunk
        Budgets(kv_reserve_ratio=0.999),
        Budgets(latency_budget_ms=1e9, idle_budget_ms=1e9, max_stall_ms=1e9),
        Budgets(uncalibrated_ratio=0.0),
        Budgets(enabled=False),
    ]


def absurd_deadlines(engine: Engine) -> list[Prompt]:
    """Offline requests whose deadline nobody can mean."""
    values = (1e308, -1e308, 0.0, -1.0, 5e-324)
    return [
        Prompt(
            rid=f"abs-{i:03d}",
            ids=tuple(range(i, i + 50)),
            new_tokens=8,
            offline=True,
            extra={
                "custom_params": {"slacktide_class": "offline", "slacktide_deadline_in_s": value}
            },
        )
        for i, value in enumerate(values)
    ]


def test_online_goes_on_and_settings_stay_when_all_bad_values_are_thrown(paired: Paired) -> None:
    """Every refusal is worded in the log, changes nothing, and costs no stream; settings and
    deadlines that are merely absurd are obeyed.
    """
    engine = paired.engine
    settled(engine)
    kept = Budgets(latency_budget_ms=33.0)
    assert engine.settings(encode_budgets(kept))
    before = state_of(engine)
    urgent = [p for p in paired.pressing if not p.offline]
    deadlines = absurd_deadlines(engine)
    with ThreadPoolExecutor(max_workers=2) as pool:
        streams = pool.submit(engine.generate_all, urgent, stagger_s=0.1)
        for values in bad_settings():
            marks = engine.log.read_text(errors="replace").count("slacktide_settings_refused")
            assert not engine.settings(values), values
            logged = engine.log.read_text(errors="replace").count("slacktide_settings_refused")
            assert logged == marks + 1 or has_no_json_form(values), values
        unchanged = state_of(engine)
        assert (unchanged.budgets, unchanged.fingerprint) == (kept, before.fingerprint)
        late = pool.submit(engine.generate_all, deadlines)
        for i, budgets in enumerate(odd_settings()):
            assert engine.settings(encode_budgets(budgets)), budgets
            assert state_of(engine).budgets == budgets
            again = replace(urgent[0], rid=f"odd-{i:03d}")
            assert engine.generate(again) == paired.stock[urgent[0].rid]
        assert engine.settings(encode_budgets(Budgets()))
        assert streams.result() == {p.rid: paired.stock[p.rid] for p in urgent}
        assert all(len(ids) == 8 for ids in late.result().values())
    assert settled(engine).fault == ""


def has_no_json_form(values: dict[str, float | int]) -> bool:
    """Whether SGLang's front door already refuses them: JSON knows no NaN or infinity."""
    return any(v != v or v in (float("inf"), float("-inf")) for v in values.values())
