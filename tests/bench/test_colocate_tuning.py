"""Rates and budgets, found in simulation."""

from dataclasses import replace

import pytest

from bench.colocate.arms import slo_relative_to
from bench.colocate.probing import _part
from bench.colocate.reading import METRICS
from bench.colocate.slices import TRACES, OfflinePrompts, Trace, cut
from bench.colocate.tuning import (
    Fitted,
    Rehearsal,
    derive_budgets,
    growth_of,
    half_busy_rate,
    metrics_of,
    simulated_engine,
    tune,
)
from planner.batching.state import Budgets
from planner.latency.fit import FitReport
from planner.latency.predictor import default_model
from planner.workload.generate import generate

_REPORT = FitReport(kind="decode", samples=0, is_accepted=False, reason="the default")
_FITTED = Fitted(
    model=default_model("cpu"), decode=_REPORT, prefill=_REPORT, samples=0, noise_ratio=0.05
)
_TRACE = Trace(spec=TRACES["azure"], requests=generate(seed=1, duration_s=60.0), is_generated=True)


def _rehearsal(rate: float, *, count: int = 110) -> Rehearsal:
    return Rehearsal(
        fitted=_FITTED,
        settings=simulated_engine(
            is_cpu=True, mixes=False, kv_tokens=32768, chunk_tokens=256, max_rows=48
        ),
        online=cut(
            _TRACE, number=0, count=count, requests_per_s=rate, length_scale=1 / 8,
            max_context_tokens=4096, seed=0,
        ),
        offline=OfflinePrompts(seed=0),
        window=8,
    )  # fmt: skip


def test_online_alone_is_half_busy_when_the_rate_is_found() -> None:
    """From a start far off."""
    rate = half_busy_rate(_rehearsal, busy_ratio=0.5, start=0.5)
    assert _rehearsal(rate).alone_busy_ratio == pytest.approx(0.5, abs=0.05)


def test_budgets_keep_the_slo_in_simulation_when_the_search_finds_some() -> None:
    """More offline work than none, within every limit; a wider SLO is worth no less."""
    rehearsal = _rehearsal(1.5)
    found = {}
    for tolerance in (0.1, 1.0):
        slo = slo_relative_to(rehearsal.alone, tolerance_ratio=tolerance)
        tuned = tune(rehearsal, slo, measured_alone=rehearsal.alone, start=None, max_probes=6)
        assert tuned.expected["worst_ratio"] <= 1.0
        seen = metrics_of(rehearsal.run(tuned.budgets, slo=slo))
        assert all(seen[n] <= slo.limits_ms[n] * (1 + 1e-9) for n in METRICS)
        found[tolerance] = tuned.expected["offline_tokens_per_s"]
    assert 0 < found[0.1] <= found[1.0] * 1.1


def test_limits_are_multiples_of_online_alone_when_simulation_runs_faster() -> None:
    """Measured ten times slower than simulated: the same multiples; never below alone."""
    rehearsal = _rehearsal(1.5)
    measured = {name: 10.0 * ms for name, ms in rehearsal.alone.items()}
    slo = slo_relative_to(measured, tolerance_ratio=0.5)
    scaled = rehearsal.scaled(slo, alone=measured)
    for name in METRICS:
        growth = slo.limits_ms[name] / measured[name]
        assert scaled.limits_ms[name] == pytest.approx(growth * rehearsal.alone[name])
    rehearsal.growth = dict.fromkeys(METRICS, 2.0)  # real interference is twice as large
    tighter = rehearsal.scaled(slo, alone=measured)
    assert tighter.limits_ms["itl_p50"] == pytest.approx(1.25 * rehearsal.alone["itl_p50"])
    below = replace(slo, limits_ms={name: 0.5 * ms for name, ms in measured.items()})
    assert all(
        ms > rehearsal.alone[name]
        for name, ms in rehearsal.scaled(below, alone=measured).limits_ms.items()
    )


def test_growth_is_one_when_the_pilot_came_out_as_simulated() -> None:
    """And its bound where it came out far worse."""
    rehearsal = _rehearsal(1.5)
    slo = slo_relative_to(rehearsal.alone, tolerance_ratio=0.5)
    budgets = derive_budgets(slo)
    beside = metrics_of(rehearsal.run(budgets, slo=rehearsal.scaled(slo, alone=rehearsal.alone)))
    same = growth_of(rehearsal, slo=slo, budgets=budgets, alone=rehearsal.alone, beside=beside)
    grown = [name for name in METRICS if beside[name] > 1.02 * rehearsal.alone[name]]
    assert grown
    assert [same[name] for name in grown] == pytest.approx([1.0] * len(grown))
    worse = {name: 100.0 * ms for name, ms in beside.items()}
    far = growth_of(rehearsal, slo=slo, budgets=budgets, alone=rehearsal.alone, beside=worse)
    assert set(far.values()) == {4.0}


def test_start_of_a_search_follows_the_limits_when_derived() -> None:
    """The median is the ordinary gap, twice it the mean, the tail the longest stall."""
    limits = dict.fromkeys(METRICS, 10.0) | {"itl_p99": 90.0, "ttft_p50": 60.0}
    budgets = derive_budgets(slo_relative_to(limits, tolerance_ratio=0.0))
    assert isinstance(budgets, Budgets)
    assert (budgets.latency_budget_ms, budgets.idle_budget_ms) == (20.0, 30.0)
    assert budgets.calm_budget_ms == 10.0
    assert budgets.max_stall_ms == pytest.approx(89.0)


def test_parts_of_a_slice_share_no_request_when_probed() -> None:
    """Each stretch of the measurement has requests of its own, from its own 0."""
    online = cut(
        _TRACE, number=0, count=30, requests_per_s=3.0, length_scale=1 / 8,
        max_context_tokens=4096, seed=0,
    )  # fmt: skip
    parts = [_part(online, number=n, of=3, duration_s=5.0) for n in range(3)]
    assert [p.requests[0].at_s for p in parts] == [0.0] * 3
    assert sum((p.prompts for p in parts), ()) == online.prompts
    assert all(r.at_s <= 5.0 for p in parts for r in p.requests)
