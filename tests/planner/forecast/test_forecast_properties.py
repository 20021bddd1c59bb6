"""What holds of every demand forecast, whatever was seen."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.forecast.bins import DemandBin, ForecastSettings, Prior, ValuesError
from planner.forecast.forecast import DemandForecaster
from planner.forecast.history import HISTORY_DAYS
from planner.forecast.spread import KEPT_ROUNDS
from planner.forecast.stored import from_values, to_values
from tests.planner.forecast.histories import QUARTERS, day_rates, forecaster, steady

# Days of twelve slots, so that a few dozen bins hold seasons and weeks.
SHORT = ForecastSettings(bin_s=3600, round_s=7200, slot_s=7200, rounds=3)

counts = st.one_of(
    st.just(0.0),
    st.floats(0, 5),
    st.floats(0, 1e4),
    st.sampled_from([1e-9, 1.0, 1e6, 1e15]),
)
priors = st.builds(Prior, arrivals_per_s=counts, prompt_tokens=counts, output_tokens=counts)


@st.composite
def histories(draw, most_bins: int = 250) -> list[DemandBin]:
    """Bins in order, with gaps; rates come in runs, so that levels jump."""
    bins: list[DemandBin] = []
    index = draw(st.integers(0, 10_000))
    while len(bins) < most_bins and draw(st.integers(0, 9)):
        index += draw(st.sampled_from([0, 0, 0, 1, 5, 400, 20_000]))
        run, rate = draw(st.integers(1, 40)), draw(counts)
        for at in range(run):
            arrivals = min(1e15, rate * (1 + (at * 7919 % 13) / 13))
            tokens = min(1e15, arrivals * draw(st.sampled_from([0, 1, 1000])))
            bins.append(
                DemandBin(
                    index=index, arrivals=arrivals, prompt_tokens=tokens, output_tokens=tokens / 3
                )
            )
            index += 1
    return bins


def after(bins: list[DemandBin]) -> int:
    return bins[-1].index + 1 if bins else 0


@given(bins=histories(), prior=priors, gap=st.sampled_from([0, 1, 13, 5000]))
@settings(max_examples=60, deadline=None)
def test_bands_are_ordered_and_finite_when_anything_was_seen(bins, prior, gap):
    """0 <= mean <= upper, all finite, at every horizon and measure."""
    for demand in forecaster(SHORT, prior, bins).forecast(after(bins) + gap):
        for band in (demand.arrivals, demand.prompt_tokens, demand.output_tokens):
            assert 0.0 <= band.mean_per_s <= band.upper_per_s
            assert math.isfinite(band.upper_per_s)
        assert math.fsum(term.weight for term in demand.terms) == pytest.approx(1.0)


@given(bins=histories(), factor=st.sampled_from([2.0, 10.0, 64.0]))
@settings(max_examples=60, deadline=None)
def test_mean_scales_when_arrivals_do(bins, factor):
    """Ten times the arrivals, ten times the mean; the bound at most, as chance evens out."""
    bins = [one for one in bins if one.arrivals <= 1e10]
    none = Prior(arrivals_per_s=0, prompt_tokens=0, output_tokens=0)
    more = [replace(one, arrivals=factor * one.arrivals) for one in bins]
    plain = forecaster(SHORT, none, bins).forecast(after(bins))
    scaled = forecaster(SHORT, none, more).forecast(after(bins))
    for one, other in zip(plain, scaled, strict=True):
        mean = factor * one.arrivals.mean_per_s
        # Means below a millionth of a request count as none, on one side before the other.
        assert other.arrivals.mean_per_s == pytest.approx(mean, rel=1e-6, abs=factor * 1e-9)


def test_bound_scales_when_arrivals_do():
    """Tenfold traffic of a service: the bound is tenfold too, less what chance evens out."""
    bins = steady(day_rates(8))
    more = [
        replace(one, arrivals=10 * one.arrivals, prompt_tokens=10 * one.prompt_tokens)
        for one in bins
    ]
    plain, scaled = (forecaster(bins=one).forecast(len(bins)) for one in (bins, more))
    for one, other in zip(plain, scaled, strict=True):
        for name in ("arrivals", "prompt_tokens"):
            small, large = getattr(one, name), getattr(other, name)
            assert 9.0 * small.upper_per_s < large.upper_per_s < 10.2 * small.upper_per_s
            assert large.mean_per_s == pytest.approx(10 * small.mean_per_s, rel=0.01)


@given(bins=histories(), more=histories(60), prior=priors)
@settings(max_examples=40, deadline=None)
def test_values_round_trip_when_stored_as_json(bins, more, prior):
    """What is read back says the same, writes the same, and learns the same from then on."""
    kept = forecaster(SHORT, prior, bins)
    back = from_values(json.loads(json.dumps(to_values(kept), allow_nan=False)))
    assert to_values(back) == to_values(kept)
    shift = after(bins)
    for one in more:
        later = replace(one, index=one.index + shift)
        kept.observe(later)
        back.observe(later)
    start = after(more) + shift
    assert back.forecast(start) == kept.forecast(start)
    assert to_values(back) == to_values(kept)


@given(bins=histories(120), prior=priors)
@settings(max_examples=20, deadline=None)
def test_forecast_changes_nothing_when_asked(bins, prior):
    """Asking is free: the same question gets the same answer, and the state stays."""
    seen = forecaster(SHORT, prior, bins)
    before = to_values(seen)
    assert seen.forecast(after(bins)) == seen.forecast(after(bins))
    assert to_values(seen) == before


def numbers_in(value: object) -> int:
    if isinstance(value, dict):
        return sum(numbers_in(one) for one in value.values())
    if isinstance(value, list):
        return sum(numbers_in(one) for one in value)
    return 1


def test_memory_is_bounded_when_a_year_passes():
    """The state of forty days is as large as that of a year, and within the stated bound."""
    seen = DemandForecaster(
        deployment="chat",
        slo_class="tight",
        settings=SHORT,
        prior=Prior(arrivals_per_s=1, prompt_tokens=1, output_tokens=1),
    )
    sizes = {}
    for index in range(365 * 24):
        seen.observe(
            DemandBin(index=index, arrivals=index % 24, prompt_tokens=index, output_tokens=1)
        )
        if index in (40 * 24, 364 * 24):
            sizes[index] = numbers_in(to_values(seen))
    assert sizes[40 * 24] == sizes[364 * 24]
    residuals = 2 * KEPT_ROUNDS * 3 * SHORT.rounds
    assert sizes[364 * 24] < HISTORY_DAYS * SHORT.day_slots + residuals + 60 * SHORT.rounds**2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version: 2, this one reads 1; drop it and begin anew"),
        ({"levels": []}, "levels: 0 entries, expected 4"),
        ({"tally": [0, 0, "many", 0]}, "round being filled: 'many', expected a finite number"),
        ({"quiet_bins": 1.5}, "quiet_bins: 1.5, expected a whole number"),
        ({"tokens": None}, "tokens: NoneType, expected a list"),
        ({"history": {"rates": []}}, "history rates: 0 entries, expected 1344"),
        ({"slo_class": 3}, "slo_class: 3, expected a string"),
        ({"settings": {"bin_s": 300}}, "round_s: missing"),
    ],
)
def test_values_are_refused_when_they_are_none_of_a_forecaster(change, message):
    """The message names the part, what it is and what to do."""
    values = {**to_values(forecaster(QUARTERS, bins=steady([1.0] * 50))), **change}
    with pytest.raises(ValuesError, match=message):
        from_values(values)
