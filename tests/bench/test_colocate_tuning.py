"""Rates and budgets, found in simulation."""

import json
from dataclasses import replace

import pytest

from bench.colocate.arms import ArmSlo, slo_relative_to
from bench.colocate.fitting import Fitted
from bench.colocate.prepare import Prepared, refuse_short
from bench.colocate.probing import _part
from bench.colocate.reading import METRICS
from bench.colocate.rehearsal import Rehearsal, half_busy_rate, simulated_engine
from bench.colocate.scale import (
    NO_GROWTH,
    Latencies,
    growths,
    level_ratios,
    pooled,
    simulated_slo,
    typical,
)
from bench.colocate.slices import TRACES, OfflinePrompts, Trace, cut
from bench.colocate.tuning import derive_starts, growth_of, tune
from planner.batching.state import Budgets
from planner.latency.coefficients import Coefficients
from planner.latency.fit import FitReport
from planner.latency.predictor import LatencyModel, default_model
from planner.slo import Quantiles
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


def _latencies(*, ttft: float, itl: float, tail: float = 3.0) -> Latencies:
    def seen(mean: float) -> Quantiles:
        return Quantiles(
            count=100, mean=mean, p50=mean, p90=2.0 * mean, p99=tail * mean, max=tail * mean
        )

    return Latencies(ttft=seen(ttft), itl=seen(itl))


def test_budgets_keep_the_slo_in_simulation_when_the_search_finds_some() -> None:
    """More offline work than none, within every limit; a wider SLO is worth no less."""
    rehearsal = _rehearsal(1.5)
    alone = rehearsal.alone
    found = {}
    for tolerance in (0.1, 1.0):
        slo = slo_relative_to(alone.metrics(), tolerance_ratio=tolerance)
        tuned = tune(
            rehearsal, slo, alone=alone, judged=alone, growth=NO_GROWTH, start=None, max_probes=8
        )
        assert tuned.expected["worst_ratio"] <= 1.0
        seen = Latencies.of_replay(rehearsal.run(tuned.budgets, slo=slo)).metrics()
        assert all(seen[n] <= slo.limits_ms[n] * (1 + 1e-9) for n in METRICS)
        found[tolerance] = tuned.expected["offline_tokens_per_s"]
    assert 0 < found[0.1] <= found[1.0] * 1.1


def test_level_is_not_moved_when_one_stall_makes_a_tail() -> None:
    """A p99 five times as long, and the mean with it, leave median and p90."""
    simulated = _latencies(ttft=60.0, itl=10.0)
    measured = _latencies(ttft=120.0, itl=10.0)
    stalled = replace(measured.ttft, mean=150.0, p99=1800.0)
    level = level_ratios(replace(measured, ttft=stalled), simulated)
    assert (level["ttft_p99"], level["itl_p50"]) == (2.0, 1.0)


def test_limit_in_simulation_is_the_limit_over_level_and_growth() -> None:
    """None falls below online alone there."""
    alone = _latencies(ttft=60.0, itl=10.0)
    slo = slo_relative_to(_latencies(ttft=120.0, itl=10.0).metrics(), tolerance_ratio=0.5)
    level = level_ratios(_latencies(ttft=120.0, itl=10.0), alone)
    same = {"level": level, "judged": alone, "alone": alone}
    plain = simulated_slo(slo, growth=NO_GROWTH, **same).limits_ms
    assert plain["ttft_mean"] == pytest.approx(90.0)
    assert plain["itl_p50"] == pytest.approx(15.0)
    twice = simulated_slo(slo, growth={**NO_GROWTH, "itl_p50": 2.0}, **same)
    assert twice.limits_ms["itl_p50"] == pytest.approx(12.5)
    tight = ArmSlo(limits_ms=dict.fromkeys(METRICS, 1.0))
    for name, ms in simulated_slo(tight, growth=NO_GROWTH, **same).limits_ms.items():
        assert ms > alone.metric(name)


def test_limit_stays_as_many_times_online_alone_when_requests_have_shorter_tails() -> None:
    """An SLO of 1.2 times a tail of 3 is 1.2 times the tail of 5 it is searched on."""
    judged, searched = _latencies(ttft=60.0, itl=10.0), _latencies(ttft=60.0, itl=10.0, tail=5.0)
    measured = _latencies(ttft=120.0, itl=10.0)
    slo = slo_relative_to(measured.metrics(), tolerance_ratio=0.2)
    level = level_ratios(measured, judged)
    found = simulated_slo(slo, level=level, growth=NO_GROWTH, judged=judged, alone=searched)
    limit = slo.limits_ms["ttft_p99"]
    assert found.limits_ms["ttft_p99"] == pytest.approx(limit / 360.0 * 300.0)
    assert pooled([judged, searched]).ttft.p99 == pytest.approx(60.0 * 15.0**0.5)


def test_growth_is_measured_over_simulated_excess_when_a_run_came_out_worse() -> None:
    """Tails are left alone; never beyond what one run tells."""
    alone = _latencies(ttft=60.0, itl=10.0)
    simulated, measured = _latencies(ttft=60.0, itl=12.0), _latencies(ttft=60.0, itl=16.0)
    both = {"measured_alone": alone, "simulated_alone": alone}
    found = growths(measured, simulated, **both)
    assert found["itl_p50"] == pytest.approx(3.0)
    assert found["itl_p99"] == 1.0
    assert found["ttft_p50"] == 1.0  # none was expected, so nothing is told
    far = growths(_latencies(ttft=60.0, itl=90.0), simulated, **both)
    assert far["itl_mean"] == pytest.approx(3.0)
    assert typical([found, NO_GROWTH])["itl_p50"] == pytest.approx(3.0**0.5)


def test_growth_is_one_when_the_engine_does_as_simulated() -> None:
    """Alone and beside the batch."""
    rehearsal = _rehearsal(1.5)
    slo = slo_relative_to(rehearsal.alone.metrics(), tolerance_ratio=0.5)
    budgets = Budgets(
        latency_budget_ms=80.0, idle_budget_ms=150.0, max_stall_ms=120.0, uncalibrated_ratio=1.0
    )
    beside = Latencies.of_replay(rehearsal.run(budgets, slo=slo))
    for name in ("ttft_mean", "ttft_p50", "itl_mean", "itl_p50"):
        assert beside.metric(name) > 1.02 * rehearsal.alone.metric(name)
    found = growth_of(rehearsal, slo=slo, budgets=budgets, alone=rehearsal.alone, beside=beside)
    assert found == pytest.approx(NO_GROWTH)


def test_starts_of_a_search_are_shares_of_the_limits_raised_by_the_margin() -> None:
    """For each least chunk; without a limit on the mean the tail stands in."""
    limits = {"ttft_p50": 70.0, "ttft_p99": 300.0, "itl_p50": 10.0, "itl_p99": 90.0}
    model = LatencyModel(
        identity="m",
        decode=Coefficients(constant=1.0, margin_ratio=0.5, coverage_ratio=0.9),
        prefill=Coefficients(constant=1.0, margin_ratio=0.2, coverage_ratio=0.9),
    )

    def starts(*, chunk_tokens: int = 256, **more: float) -> list[Budgets]:
        return derive_starts(
            ArmSlo(limits_ms=limits | more),
            alone=_latencies(ttft=60.0, itl=9.0),
            model=model,
            chunk_tokens=chunk_tokens,
        )

    both = starts(itl_mean=12.0)
    assert len(set(both)) == len(both) == 24
    on_credit = [b for b in both if b.gap_credit_ms]  # 12 over 9 alone, halved and half as much
    assert sorted({b.gap_credit_ms for b in on_credit}) == pytest.approx([1.5, 4.5])
    assert {(b.latency_budget_ms, b.calm_budget_ms) for b in on_credit} == {(108.0, 0.0)}
    few = [b for b in both if b.max_rows_beside_online < 256]
    assert [b.max_rows_beside_online for b in few] == [1, 2, 4, 8]
    assert {(b.latency_budget_ms, b.min_chunk_tokens) for b in few} == {(108.0, 160)}
    found = [b for b in both if b.calm_budget_ms]
    assert {b.min_chunk_tokens for b in found} == {32, 160}
    assert {b.latency_budget_ms for b in found} == {18.0}  # 12 and the margin of decodes
    assert sorted({b.calm_budget_ms for b in found}) == pytest.approx([9.0, 15.0])
    assert sorted({b.idle_budget_ms for b in found}) == pytest.approx([36.0, 72.0])
    assert sorted({b.max_stall_ms for b in found}) == pytest.approx([54.0, 108.0])
    without = [b for b in starts() if b.calm_budget_ms]
    assert {b.latency_budget_ms for b in without} == {b.max_stall_ms for b in found}
    assert {b.min_chunk_tokens for b in starts(chunk_tokens=-1)} == {Budgets().min_chunk_tokens}


def test_report_of_what_the_arms_rest_on_is_json_when_written() -> None:
    """Settings of the simulated engine, enumerations among them, too."""
    prepared = Prepared(
        fitted=_FITTED,
        settings=simulated_engine(
            is_cpu=True, mixes=False, kv_tokens=32768, chunk_tokens=256, max_rows=48
        ),
        tunings={},
        rehearse=lambda _: _rehearsal(1.5),
    )
    found = json.loads(json.dumps(prepared.as_values()))
    assert found["simulated_engine"]["loop"] == "overlap_blocking"


def test_trace_is_refused_when_judged_slices_would_meet_those_it_is_tuned_on() -> None:
    """Slices wrap around the end of a trace."""
    long = replace(_TRACE, requests=_TRACE.requests * 10)
    refuse_short(long, rounds=3, count=len(long.requests) // 20)
    with pytest.raises(ValueError, match=r"azure.*--rounds"):
        refuse_short(long, rounds=3, count=len(long.requests) // 7)


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
