"""What a histogram keeps of durations."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.replay.histogram import GROWTH, RESOLUTION_RATIO, Distribution, LogHistogram
from planner.slo import quantile, quantiles

durations = st.lists(st.floats(1e-5, 1e8), min_size=1, max_size=200)


def counted(samples):
    histogram = LogHistogram()
    histogram.add_all(samples)
    return histogram.distribution()


@given(durations, st.floats(0.001, 1.0))
def test_quantile_is_within_the_stated_resolution_of_the_exact_one(samples, share):
    """Whatever the samples, and at most 1 % as promised."""
    exact = quantile(sorted(samples), share)
    assert counted(samples).quantile(share) == pytest.approx(exact, rel=RESOLUTION_RATIO * 1.001)
    assert RESOLUTION_RATIO <= 0.01


@given(durations)
def test_count_mean_least_and_most_are_exact(samples):
    """Only what lies between is read from buckets."""
    exact, found = quantiles(samples), counted(samples)
    assert (found.count, found.least, found.most) == (len(samples), min(samples), max(samples))
    assert found.mean == pytest.approx(exact.mean, rel=1e-9)
    assert found.quantiles().max == exact.max


@given(durations)
def test_buckets_hold_every_sample_below_their_edge(samples):
    """Counts below an edge are those of the samples below it: a drawn tail is not invented."""
    seen = 0
    for upper, held in counted(samples).buckets:
        seen += held
        assert seen == sum(sample <= upper * (1.0 + 1e-12) for sample in samples)


@given(durations)
def test_order_of_samples_means_nothing(samples):
    """Counts do not depend on it; the sum may round otherwise."""
    found, turned = counted(samples), counted(samples[::-1])
    assert found.buckets == turned.buckets
    assert found.mean == pytest.approx(turned.mean)


def test_zeros_count_and_are_quantiles_too():
    """A chunk of several tokens is gaps of 0, which most gaps may be."""
    found = counted([0.0] * 98 + [5.0, 7.0])
    assert found.quantile(0.5) == 0.0 and found.zeros == 98
    assert found.quantile(0.99) == pytest.approx(5.0, rel=RESOLUTION_RATIO)
    assert found.quantile(1.0) == 7.0


@pytest.mark.parametrize("duration_ms", [-1e-9, math.inf, math.nan])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_no_duration_is_refused(duration_ms, place):
    """Negative, endless or none, alone or among others: a defect upstream; nothing is counted."""
    histogram = LogHistogram()
    samples = [3.0, 4.0]
    samples.insert(place, duration_ms)
    for refused in (samples, [duration_ms]):
        with pytest.raises(ValueError, match="must be finite"):
            histogram.add_all(refused)
    assert histogram.distribution() == Distribution()


def test_buckets_stay_few_however_many_samples():
    """Memory is bounded by the range: 8 decades in 3,700 buckets at most."""
    found = counted([1e-3 * 1.0001**exponent for exponent in range(184_000)])
    assert found.count == 184_000
    assert len(found.buckets) <= math.log(1e8) / math.log(GROWTH) + 2


def test_empty_distribution_is_all_zeros():
    """As `planner.slo.quantiles` of nothing."""
    assert Distribution().quantiles() == quantiles([])
