"""The search finds budgets that pass, says when it cannot tell, and spends no probe twice."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.batching.state import Budgets
from planner.interference.dimensions import DIMENSIONS
from planner.interference.search import (
    ProbeResult,
    Reason,
    Verdict,
    search_budgets,
)
from planner.interference.targets import LatencyTargets
from planner.slo import Quantiles

START = Budgets(
    **dict.fromkeys(DIMENSIONS, 20.0) | {"calm_budget_ms": 0.0},
)


def _quantiles(p50, p99, *, mean=None, count=1000):
    return Quantiles(
        count=count, mean=p50 if mean is None else mean, p50=p50, p90=p99, p99=p99, max=p99
    )


class Engine:
    """Latencies that grow with the budgets, each with its own; more budget, more work."""

    def __init__(self, *, count=1000, spread_ratio=0.0):
        self.probed = []
        self._count, self._spread = count, spread_ratio

    def __call__(self, budgets):
        key = tuple(getattr(budgets, name) for name in DIMENSIONS)
        assert key not in self.probed, "no probe is spent twice"
        self.probed.append(key)
        latency, idle, stall = (
            budgets.latency_budget_ms,
            budgets.idle_budget_ms,
            budgets.max_stall_ms,
        )
        return ProbeResult(
            ttft=_quantiles(50 + idle / 2, 200 + idle, count=self._count),
            itl=_quantiles(10 + latency / 4, 60 + stall / 2, count=self._count),
            offline_tokens_per_s=100 * latency**0.5 + 50 * idle**0.5 + 20 * stall**0.5,
            spread_ratio=self._spread,
        )


TARGETS = LatencyTargets(ttft_p50_ms=80.0, itl_p50_ms=20.0, itl_p99_ms=160.0)
OPTIMUM = 100 * 40**0.5 + 50 * 60**0.5 + 20 * 200**0.5  # each dimension at its own limit


def test_search_comes_near_the_optimum_within_its_probes():
    """Three dimensions with limits of their own: 95 % of the best, in 25 probes."""
    engine = Engine()
    outcome = search_budgets(engine, targets=TARGETS, starts=[START], max_probes=25)
    assert outcome.reason is Reason.FOUND
    assert len(engine.probed) == len(outcome.probes) <= 25
    assert outcome.best.worst_ratio <= 1.0
    assert outcome.best.result.offline_tokens_per_s >= 0.95 * OPTIMUM


@settings(deadline=None, max_examples=50)
@given(
    limits=st.tuples(st.floats(55, 400), st.floats(11, 200), st.floats(62, 3000)),
    start=st.floats(1.0, 500.0),
    max_probes=st.integers(1, 30),
)
def test_what_is_found_passes_and_no_probe_that_passed_does_more(limits, start, max_probes):
    """Whatever the targets and wherever it starts."""
    targets = LatencyTargets(ttft_p50_ms=limits[0], itl_p50_ms=limits[1], itl_p99_ms=limits[2])
    outcome = search_budgets(
        Engine(),
        targets=targets,
        starts=[replace(START, **dict.fromkeys(DIMENSIONS, start) | {"calm_budget_ms": 0.0})],
        max_probes=max_probes,
    )
    assert 1 <= len(outcome.probes) <= max_probes
    passed = [probe for probe in outcome.probes if probe.verdict is Verdict.PASSED]
    assert (outcome.best is None) == (not passed)
    if passed:
        most = max(probe.result.offline_tokens_per_s for probe in passed)
        assert outcome.best.verdict is Verdict.PASSED
        assert outcome.best.result.offline_tokens_per_s * 1.003 >= most


def test_nothing_passes_is_said_with_the_nearest_ratio():
    """A target below what online alone has."""
    targets = LatencyTargets(ttft_p50_ms=25.0)
    outcome = search_budgets(Engine(), targets=targets, starts=[START], max_probes=25)
    assert outcome.reason is Reason.NOTHING_PASSES and outcome.budgets is None
    assert "2.0" in outcome.detail or "1.9" in outcome.detail


def test_probe_too_short_to_tell_says_so():
    """A p99 of 60 samples is their maximum, so no budget passes on it."""
    outcome = search_budgets(Engine(count=60), targets=TARGETS, starts=[START], max_probes=8)
    assert outcome.reason is Reason.TOO_SHORT and outcome.best is None
    assert "itl_p99_ms: 60 samples, 100 needed" in outcome.detail
    assert all(probe.verdict is Verdict.TOO_SHORT for probe in outcome.probes)


def test_wide_confidence_interval_costs_budget():
    """A target must be met at the upper end of the interval."""
    sure = search_budgets(Engine(), targets=TARGETS, starts=[START], max_probes=25)
    unsure = search_budgets(
        Engine(spread_ratio=0.1), targets=TARGETS, starts=[START], max_probes=25
    )
    result = unsure.best.result
    assert TARGETS.worst_ratio(ttft=result.ttft, itl=result.itl) <= 1.0 / 1.1
    assert result.offline_tokens_per_s < sure.best.result.offline_tokens_per_s


def test_search_without_probes_is_refused():
    """At least one."""
    with pytest.raises(ValueError, match="max_probes is 0"):
        search_budgets(Engine(), targets=TARGETS, starts=[START], max_probes=0)


def test_targets_from_a_baseline_scale_every_statistic():
    """10 % above mean, median and p99 of both; the worst ratio names the nearest."""
    targets = LatencyTargets.from_baseline(
        _quantiles(50, 200, mean=60), _quantiles(10, 80, mean=12), tolerance_ratio=0.1
    )
    assert targets.ttft_mean_ms == pytest.approx(66.0)
    assert targets.itl_p99_ms == pytest.approx(88.0)
    ratio = targets.worst_ratio(ttft=_quantiles(50, 200, mean=60), itl=_quantiles(10, 176, mean=12))
    assert ratio == pytest.approx(2.0)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_absurd_targets_are_refused(value):
    """With the name and what is allowed."""
    with pytest.raises(ValueError, match="itl_p50_ms"):
        LatencyTargets(itl_p50_ms=value)


def test_baseline_without_samples_is_refused():
    """Nothing to tolerate above nothing."""
    with pytest.raises(ValueError, match="no samples"):
        LatencyTargets.from_baseline(
            _quantiles(1, 1, count=0), _quantiles(1, 1), tolerance_ratio=0.1
        )


def test_search_goes_on_where_only_idle_passes_may_hold_offline_work():
    """Budgets shut at the best point stay shut; those left open are still searched."""
    engine = Engine()

    def probe(budgets):
        result = engine(budgets)
        if budgets.latency_budget_ms > 0.0 or budgets.max_stall_ms > 0.0:
            return replace(result, itl=_quantiles(500, 900))
        return result

    outcome = search_budgets(probe, targets=TARGETS, starts=[START], max_probes=30)
    assert outcome.reason is Reason.FOUND
    assert outcome.best.budgets.latency_budget_ms == outcome.best.budgets.max_stall_ms == 0.0
    assert outcome.best.budgets.idle_budget_ms > 1.5 * START.idle_budget_ms


def test_better_start_is_climbed_from_when_there_are_two() -> None:
    """What is not searched stays as the start has it; no start is an error."""

    def probe(budgets: Budgets) -> ProbeResult:
        seen = Engine()(budgets)
        worth = 2.0 if budgets.min_chunk_tokens == 160 else 1.0
        return replace(seen, offline_tokens_per_s=seen.offline_tokens_per_s * worth)

    starts = [replace(START, min_chunk_tokens=tokens) for tokens in (32, 160, 64)]
    outcome = search_budgets(probe, targets=TARGETS, starts=starts, max_probes=40)
    assert outcome.budgets is not None and outcome.budgets.min_chunk_tokens == 160
    with pytest.raises(ValueError, match="starts is empty"):
        search_budgets(probe, targets=TARGETS, starts=[], max_probes=4)


def test_short_probe_is_judged_where_the_slice_is_all_there_is():
    """90 requests have a p99 of their own, and a search on them climbs as on any."""
    engine = Engine(count=90)
    outcome = search_budgets(
        engine, targets=TARGETS, starts=[START], max_probes=25, counts_samples=False
    )
    assert outcome.reason is Reason.FOUND
    assert outcome.best.result.offline_tokens_per_s >= 0.95 * OPTIMUM


def _crediting(budgets):
    """Work and the mean gap grow with the credit; p99 with the budget of a pass."""
    credit, latency = budgets.gap_credit_ms, budgets.latency_budget_ms
    return ProbeResult(
        ttft=_quantiles(50, 200),
        itl=_quantiles(10, 20 + latency, mean=10 + credit),
        offline_tokens_per_s=100 * credit**0.5 * latency**0.25,
    )


@given(start_ms=st.floats(0.2, 40.0))
@settings(deadline=None, max_examples=30)
def test_credit_is_searched_where_a_start_has_one(start_ms):
    """From below the mean's limit or above it: near 5 ms of credit, 80 ms of budget."""
    start = Budgets(latency_budget_ms=30.0, idle_budget_ms=30.0, gap_credit_ms=start_ms)
    targets = LatencyTargets(itl_mean_ms=15.0, itl_p99_ms=100.0)
    outcome = search_budgets(_crediting, targets=targets, starts=[start], max_probes=30)
    assert outcome.reason is Reason.FOUND
    assert 0.9 * 5.0 <= outcome.budgets.gap_credit_ms <= 5.0
    assert outcome.best.result.offline_tokens_per_s >= 0.9 * 100 * 5**0.5 * 80**0.25


def test_credit_of_none_is_left_at_none():
    """Off is another mode of the decision, not a little of it: no step leads there or back."""
    start = Budgets(latency_budget_ms=30.0, gap_credit_ms=0.0)
    targets = LatencyTargets(itl_mean_ms=15.0, itl_p99_ms=100.0)
    outcome = search_budgets(_crediting, targets=targets, starts=[start], max_probes=20)
    assert {probe.budgets.gap_credit_ms for probe in outcome.probes} == {0.0}
    both = search_budgets(
        _crediting,
        targets=targets,
        starts=[start, replace(start, gap_credit_ms=1.0)],
        max_probes=30,
    )
    assert both.budgets.gap_credit_ms >= 4.5
