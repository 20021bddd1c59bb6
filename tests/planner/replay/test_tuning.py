"""Tuning finds the edge of a knob, keeps the targets where it says so, and wastes no pass."""

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from small_scenarios import scenario

from planner.batching.state import Budgets
from planner.interference.search import ProbeResult
from planner.interference.targets import LatencyTargets
from planner.replay.policies import policy_named
from planner.replay.starts import starting_budgets
from planner.replay.tuning import tune
from planner.slo import Quantiles

TARGETS = LatencyTargets(itl_mean_ms=20.0)
RANGES = {"hygen": (2.0, 4096.0), "rate-cap": (0.01, 64.0), "qoserve": (2.0, 4096.0)}
STARTS = (Budgets(),)
RESOLUTION = 1.002


def quantiles(value, *, count=1000):
    return Quantiles(count=count, mean=value, p50=value, p90=value, p99=value, max=value)


def knob_of(choice):
    if choice.name == "hygen":
        assert choice.budgets.idle_budget_ms == choice.budgets.latency_budget_ms
        return choice.budgets.latency_budget_ms
    return float(choice.name.partition(":")[2])


class Synthetic:
    """ITL of `latency(knob)`; as much offline work as `work(knob)`. Keeps what was tried."""

    def __init__(self, latency, *, work=lambda knob: knob):
        self.latency, self.work, self.tried = latency, work, []

    def __call__(self, choice):
        knob = knob_of(choice)
        self.tried.append(knob)
        itl = quantiles(self.latency(knob))
        return ProbeResult(ttft=itl, itl=itl, offline_tokens_per_s=self.work(knob))


def tuned(name, probe, *, targets=TARGETS, starts=STARTS, max_probes=40):
    return tune(name, probe=probe, targets=targets, starts=starts, max_probes=max_probes)


@given(name=st.sampled_from(sorted(RANGES)), place=st.floats(0.001, 0.999))
def test_bisection_finds_the_largest_value_that_passes(name, place):
    """Within its resolution, of any edge in the knob's range, each value tried once."""
    low, high = RANGES[name]
    edge = low * (high / low) ** place
    probe = Synthetic(lambda knob: 20.0 * knob / edge)
    found = tuned(name, probe)
    assert found.passed and found.probes == len(probe.tried) == len(set(probe.tried)) <= 16
    assert knob_of(found.choice) <= edge * (1 + 1e-6)
    assert knob_of(found.choice) >= edge / RESOLUTION * (1 - 1e-5)  # knobs are of six digits
    assert found.expected.offline_tokens_per_s == knob_of(found.choice)


@given(
    name=st.sampled_from(sorted(RANGES)),
    works=st.lists(st.floats(0.0, 1e4), min_size=30, max_size=30),
    edges=st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)),
    max_probes=st.integers(2, 20),
)
def test_no_probe_that_passed_did_more_than_what_is_returned(name, works, edges, max_probes):
    """Also where latency or work moves both ways with the knob; nor are probes exceeded."""
    low, high = RANGES[name]
    first, second = sorted(low * (high / low) ** place for place in edges)
    probe = Synthetic(lambda knob: 30.0 if first < knob < second else 10.0)
    probe.work = lambda knob: works[probe.tried.index(knob)]
    found = tuned(name, probe, max_probes=max_probes)
    assert found.probes == len(probe.tried) <= max_probes
    passed = [probe.work(knob) for knob in probe.tried if probe.latency(knob) <= 20.0]
    assert found.passed == bool(passed)
    if passed:
        assert found.expected.offline_tokens_per_s == max(passed)


@pytest.mark.parametrize("name", sorted(RANGES))
def test_bisection_ends_at_once_where_all_passes_or_nothing_does(name):
    """There is no edge to look for; where nothing passes, the nearest is named as such."""
    low, high = RANGES[name]
    loose = tuned(name, Synthetic(lambda _: 1.0))
    assert loose.passed and loose.probes == 2 and knob_of(loose.choice) == high
    none = tuned(name, Synthetic(lambda knob: 30.0 + knob))
    assert not none.passed and none.probes == 2 and knob_of(none.choice) == low


@given(misses_above=st.integers(0, 70), misses_at=st.none() | st.sampled_from([2, 3, 6, 16, 32]))
def test_largest_cap_that_passes_is_found_where_one_between_misses(misses_above, misses_at):
    """A tail that moves both ways: one miss does not end the search, two in a row do."""
    assume(misses_at is None or misses_at < misses_above)

    def latency(knob):
        return 30.0 if knob > misses_above or knob == misses_at else 10.0

    probe = Synthetic(latency)
    found = tuned("cap", probe)
    caps = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]
    assert probe.tried == caps[: len(probe.tried)]
    passing = [cap for cap in probe.tried if latency(cap) <= 20.0]
    assert found.passed == bool(passing)
    if passing:
        assert knob_of(found.choice) == max(passing)
    if len(probe.tried) < len(caps):
        assert all(latency(cap) > 20.0 for cap in probe.tried[-2:])


def test_target_is_met_at_the_upper_end_of_the_spread():
    """As the search over budgets has it."""
    probe = Synthetic(lambda knob: knob)

    def unsure(choice):
        return replace(probe(choice), spread_ratio=0.25)

    assert knob_of(tuned("hygen", unsure).choice) == pytest.approx(16.0, rel=0.002)


def test_knob_that_is_given_is_kept_and_nothing_is_claimed():
    """Nor for a policy without one: no replay, and no word that it kept anything."""
    probe = Synthetic(lambda _: 1.0)
    start = Budgets(latency_budget_ms=33.0)
    for name in ("cap:5", "rate-cap:0.25", "qoserve:30", "blind-hybrid", "sglang-priority"):
        found = tuned(name, probe, starts=[start])
        assert found.choice == policy_named(name, budgets=start)
        assert not found.passed and found.expected is None and found.probes == 0
    assert not probe.tried


@settings(deadline=None, max_examples=30)
@given(limit=st.floats(5.0, 200.0), count=st.sampled_from([5, 90, 1000]))
def test_search_over_budgets_is_judged_by_the_slice_however_short(limit, count):
    """Never worse than a start that passes, and few requests are no reason to give up."""
    tried = []

    def probe(choice):
        budgets = choice.budgets
        itl = quantiles(4.0 + budgets.latency_budget_ms / 2, count=count)
        found = ProbeResult(
            ttft=quantiles(4.0 + budgets.idle_budget_ms / 3, count=count),
            itl=itl,
            offline_tokens_per_s=budgets.latency_budget_ms + budgets.idle_budget_ms,
        )
        tried.append((choice, found))
        return found

    targets = LatencyTargets(ttft_p99_ms=limit, itl_p99_ms=limit)
    found = tuned(
        "slacktide",
        probe,
        targets=targets,
        starts=[Budgets(), Budgets(latency_budget_ms=2.0, idle_budget_ms=2.0)],
        max_probes=24,
    )
    passed = [r for _, r in tried if targets.worst_ratio(ttft=r.ttft, itl=r.itl) <= 1.0]
    assert found.passed and len(tried) <= found.probes <= 24 + 6  # two kinds, and idle budgets
    most = max(result.offline_tokens_per_s for result in passed)
    assert found.expected.offline_tokens_per_s * 1.003 >= most
    assert found.expected.offline_tokens_per_s >= 0.8 * (2 * (limit - 4.0) + 3 * (limit - 4.0))


def test_starts_are_of_every_kind():
    """Passes up to the longest online gap; what the tightest target leaves of the mean."""
    floor = ProbeResult(
        ttft=quantiles(100.0),
        itl=Quantiles(count=1000, mean=10.0, p50=9.0, p90=20.0, p99=40.0, max=50.0),
        offline_tokens_per_s=0.0,
    )
    starts = starting_budgets(floor, LatencyTargets(itl_mean_ms=12.0, ttft_p99_ms=200.0))
    assert starts[0].gap_credit_ms == pytest.approx(2.0) and starts[0].latency_budget_ms == 32.0
    assert any(budgets.gap_credit_ms == 0.0 for budgets in starts)
    kinds = {(b.gap_credit_ms > 0.0, b.max_rows_beside_online < 256) for b in starts}
    assert kinds == {(True, True), (True, False), (False, True), (False, False)}
    assert len(set(starts)) == len(starts)


def test_passes_are_long_in_idleness_only_where_no_first_token_is_limited():
    """An arrival waits for the pass it finds; nothing else does."""
    floor = ProbeResult(ttft=quantiles(100.0), itl=quantiles(10.0), offline_tokens_per_s=0.0)
    on_gaps = starting_budgets(floor, LatencyTargets(itl_p99_ms=12.0))
    assert all(b.idle_budget_ms >= Budgets().idle_budget_ms for b in on_gaps)
    on_both = starting_budgets(floor, LatencyTargets(itl_p99_ms=12.0, ttft_p50_ms=120.0))
    assert all(b.idle_budget_ms == b.latency_budget_ms for b in on_both)


@pytest.mark.parametrize("costs", [False, True])
def test_idle_budget_is_raised_where_it_costs_nothing(costs):
    """A slice without idleness does not say; the largest within the targets is taken."""

    def probe(choice):
        budgets = choice.budgets
        waits_ms = 10.0 + (budgets.idle_budget_ms if costs else 0.0)
        return ProbeResult(
            ttft=quantiles(waits_ms),
            itl=quantiles(budgets.latency_budget_ms),
            offline_tokens_per_s=budgets.latency_budget_ms,
        )

    found = tune(
        "slacktide",
        probe=probe,
        targets=LatencyTargets(itl_p99_ms=40.0, ttft_p99_ms=75.0),
        starts=[Budgets(latency_budget_ms=20.0, idle_budget_ms=20.0)],
        max_probes=48,
    )
    assert found.choice.budgets.idle_budget_ms == pytest.approx(60.0 if costs else 200.0, abs=8.0)
    assert found.choice.budgets.latency_budget_ms >= 37.0


def test_limit_of_rows_is_climbed_on():
    """Where rows are what costs latency, from a start with too few and one with too many."""

    def probe(choice):
        rows = min(choice.budgets.max_rows_beside_online, 40)
        return ProbeResult(
            ttft=quantiles(10.0), itl=quantiles(10.0 + rows), offline_tokens_per_s=100.0 * rows
        )

    for rows in (2, 30):
        found = tune(
            "slacktide",
            probe=probe,
            targets=LatencyTargets(itl_mean_ms=22.0),
            starts=[Budgets(max_rows_beside_online=rows)],
            max_probes=60,
        )
        assert found.passed and 11 <= found.choice.budgets.max_rows_beside_online <= 12


@pytest.mark.parametrize("name", ["hygen", "rate-cap", "cap", "qoserve", "slacktide"])
def test_tuned_policy_keeps_its_targets_on_the_slice_and_works(name):
    """On a replayed slice: ITL mean and p99 within half as much again of online alone."""
    made = scenario(noise_ratio=0.0)

    def probe(choice):
        replayed = made.run(choice)
        return ProbeResult(
            ttft=replayed.ttft,
            itl=replayed.itl,
            offline_tokens_per_s=replayed.offline_tokens_per_s,
        )

    floor = probe(policy_named("online-only", budgets=Budgets()))
    targets = LatencyTargets(
        itl_mean_ms=floor.itl.mean * 1.5, itl_p99_ms=max(floor.itl.p99, floor.itl.mean) * 1.5
    )
    found = tune(
        name, probe=probe, targets=targets, starts=starting_budgets(floor, targets), max_probes=12
    )
    again = made.run(found.choice)
    assert (again.ttft, again.itl) == (found.expected.ttft, found.expected.itl)
    if found.passed:
        assert targets.worst_ratio(ttft=again.ttft, itl=again.itl) <= 1.0
    else:
        assert targets.worst_ratio(ttft=again.ttft, itl=again.itl) > 1.0
    assert found.passed or name in ("cap", "qoserve")
    assert again.offline_tokens_per_s > 0.0
