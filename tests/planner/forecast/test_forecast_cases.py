"""Demand forecasts where they are easily wrong: nothing seen, gaps, jumps, outliers."""

import math
import random

import pytest

from planner.forecast.bins import (
    DAY_S,
    BinError,
    DemandBin,
    ForecastError,
    ForecastSettings,
    Prior,
)
from planner.forecast.demand import Reason
from planner.forecast.spread import UpperSource
from tests.planner.forecast.histories import PRIOR, QUARTERS, day_rates, forecaster, steady

HOUR = 3600 // QUARTERS.bin_s  # bins
DAY = DAY_S // QUARTERS.bin_s
NO_PRIOR = Prior(arrivals_per_s=0.0, prompt_tokens=1000, output_tokens=200)


def test_forecast_is_zero_with_a_falling_bound_when_nothing_ever_came():
    """No traffic is mean 0, and the bound falls as the silence lasts; never NaN."""
    bounds = []
    for hours in (1, 6, 48):
        quiet = forecaster(prior=NO_PRIOR, bins=steady([0.0] * (hours * HOUR)))
        for demand in quiet.forecast(hours * HOUR):
            assert demand.arrivals.mean_per_s == demand.prompt_tokens.mean_per_s == 0.0
            assert demand.output_tokens.mean_per_s == 0.0
            assert demand.arrivals.upper_source is UpperSource.QUIET
            assert math.isfinite(demand.prompt_tokens.upper_per_s)
        bounds.append(quiet.forecast(hours * HOUR)[0].arrivals.upper_per_s)
    assert bounds[0] > 4 * bounds[1] > 16 * bounds[2] > 0
    assert bounds[0] * QUARTERS.round_s == pytest.approx(3.0 / 4, rel=0.01)  # the rule of three


def test_forecast_dies_down_when_traffic_ends():
    """Two days after the last request little of a day's traffic is left, and its bound small."""
    rates = [1.0] * (3 * DAY) + [0.0] * (2 * DAY)
    first = forecaster(bins=steady(rates)).forecast(5 * DAY)[0]
    assert first.arrivals.mean_per_s < 0.01
    assert first.arrivals.upper_per_s < 0.05


def test_missing_bins_are_no_zeros_when_half_of_them_are_lost():
    """A collector that loses every other bin sees the same rate."""
    rates = [1.0 if index % 2 else None for index in range(2 * DAY)]
    whole = forecaster(bins=steady([1.0] * (2 * DAY))).forecast(2 * DAY)[0]
    holed = forecaster(bins=steady(rates)).forecast(2 * DAY)[0]
    assert holed.arrivals.mean_per_s == pytest.approx(whole.arrivals.mean_per_s, rel=0.05)


def test_bound_widens_and_mean_holds_when_a_gap_grows():
    """After a gap the mean is what a steady service had; the bound grows with the gap."""
    seen = forecaster(bins=steady([1.0] * (4 * DAY)))
    forecasts = [seen.forecast(4 * DAY + gap)[0] for gap in (0, 2 * HOUR, 12 * HOUR, 2 * DAY)]
    uppers = [one.arrivals.upper_per_s for one in forecasts]
    assert uppers == sorted(uppers) and uppers[-1] > 1.3 * uppers[0]
    for one in forecasts:
        assert one.arrivals.mean_per_s == pytest.approx(1.0, rel=0.06)
    assert [one.gap_rounds for one in forecasts] == [0.0, 8.0, 48.0, 192.0]
    assert "nothing seen for 8 rounds" in forecasts[1].explained()


def test_season_leads_when_a_gap_made_the_levels_stale():
    """Silence from night till noon: the forecast for noon is the noon of other days."""
    rates = day_rates(6)
    night, noon = 5 * DAY + 5 * HOUR, 5 * DAY + 14 * HOUR
    seen = forecaster(bins=steady(rates[:night]))
    first = seen.forecast(noon)[0]
    assert rates[night] < 0.4 < 1.3 < rates[noon]
    assert first.reason is Reason.SEASONAL
    assert first.arrivals.mean_per_s == pytest.approx(rates[noon], rel=0.15)


def test_forecast_says_the_prior_with_a_wide_bound_when_nothing_was_seen():
    """A cold start is the spec's word, said to be that, at more than twice its rate."""
    first = forecaster().forecast(100)[0]
    assert first.reason is Reason.COLD_START
    assert first.arrivals.mean_per_s == pytest.approx(0.1)
    assert first.prompt_tokens.mean_per_s == pytest.approx(100.0)
    assert first.output_tokens.mean_per_s == pytest.approx(20.0)
    assert first.arrivals.upper_source is UpperSource.COLD
    assert first.arrivals.upper_per_s > 0.25
    assert [term.name for term in first.terms] == ["prior"]


def test_prior_is_forgotten_when_it_was_wrong():
    """A spec that says a tenth, or tenfold, is outvoted within a day."""
    for said in (0.1, 10.0):
        prior = Prior(arrivals_per_s=said, prompt_tokens=10, output_tokens=10)
        first = forecaster(prior=prior, bins=steady([1.0] * DAY)).forecast(DAY)[0]
        assert first.arrivals.mean_per_s == pytest.approx(1.0, rel=0.05)
        assert first.prompt_tokens_per_request == pytest.approx(1000, rel=0.05)


def test_forecast_begins_well_when_the_history_begins_late():
    """A deployment made years after the epoch starts like one made at it."""
    late = 20_000 * DAY
    bins = [
        DemandBin(
            index=one.index + late,
            arrivals=one.arrivals,
            prompt_tokens=one.prompt_tokens,
            output_tokens=one.output_tokens,
        )
        for one in steady(day_rates(3))
    ]
    early = forecaster(bins=steady(day_rates(3))).forecast(3 * DAY)
    shifted = forecaster(bins=bins).forecast(3 * DAY + late)
    assert [one.arrivals for one in shifted] == [one.arrivals for one in early]


@pytest.mark.parametrize("factor", [10.0, 0.1])
def test_mean_follows_within_an_hour_when_demand_jumps(factor):
    """Ten times, or a tenth, in one bin: within four rounds the mean is right, at 15 %."""
    bins = steady([0.5] * (5 * DAY) + [0.5 * factor] * (2 * DAY))
    jump = 5 * DAY
    for hours in (1, 3, 12):
        seen = forecaster(bins=bins[: jump + hours * HOUR])
        for demand in seen.forecast(jump + hours * HOUR):
            assert demand.arrivals.mean_per_s == pytest.approx(0.5 * factor, rel=0.15)


def test_bound_covers_again_when_demand_has_jumped():
    """Of the 60 rounds from an hour after a tenfold jump on, at most four escape the bound."""
    bins = steady([0.5] * (5 * DAY) + [5.0] * DAY)
    jump = 5 * DAY + HOUR
    seen = forecaster(bins=bins[:jump])
    missed = 0
    for start in range(jump, jump + 60 * 3, 3):
        came = sum(one.arrivals for one in bins[start : start + 3]) / QUARTERS.round_s
        missed += came > seen.forecast(start)[0].arrivals.upper_per_s
        for one in bins[start : start + 3]:
            seen.observe(one)
    assert missed <= 4


def test_shape_of_the_day_is_kept_when_its_level_jumps():
    """A day at four times the level: the afternoon is forecast from the shape of other days."""
    rates = day_rates(6)
    jumped = rates[: 5 * DAY] + [4 * rate for rate in rates[5 * DAY :]]
    at = 5 * DAY + 11 * HOUR  # halfway up the ramp
    fourth = forecaster(bins=steady(jumped[:at])).forecast(at)[3]
    assert fourth.arrivals.mean_per_s == pytest.approx(jumped[at + HOUR - 2], rel=0.15)


@pytest.mark.parametrize("days_later", [0.25, 1.0, 7.0])
def test_outlier_is_not_remembered_when_one_bin_was_huge(days_later):
    """A bin of a hundredfold: six hours, a day and a week later the forecast is as without."""
    rates = day_rates(15)
    huge = 7 * DAY + 12 * HOUR
    with_outlier = steady([rate * (100 if at == huge else 1) for at, rate in enumerate(rates)])
    until = huge + int(days_later * DAY)
    plain = forecaster(bins=steady(rates)[:until]).forecast(until)
    after = forecaster(bins=with_outlier[:until]).forecast(until)
    for one, other in zip(plain, after, strict=True):
        assert other.arrivals.mean_per_s == pytest.approx(one.arrivals.mean_per_s, rel=0.1)
        assert other.arrivals.upper_per_s < 1.5 * one.arrivals.upper_per_s


def test_bound_covers_bursts_when_they_recur():
    """One round in ten at five times the rate, at random: the bound learns to cover them."""
    source = random.Random(5)
    rates = []
    for _ in range(8 * DAY // 3):
        rates += [5.0 if source.random() < 0.1 else 1.0] * 3
    first = forecaster(bins=steady(rates)).forecast(8 * DAY)[0]
    assert first.arrivals.mean_per_s < 2.5
    assert first.arrivals.upper_per_s > 4.5


def test_mix_is_the_long_runs_when_few_requests_were_odd():
    """Two requests of 50,000 tokens at night move the mix by little, ten thousand move it all."""
    bins = steady([1.0] * DAY + [0.0] * (12 * HOUR))
    odd = DemandBin(index=len(bins), arrivals=2, prompt_tokens=100_000, output_tokens=2)
    few = forecaster(bins=[*bins, odd]).forecast(len(bins) + 1)[0]
    assert few.prompt_tokens_per_request < 3500
    many = [
        DemandBin(index=len(bins) + at, arrivals=300, prompt_tokens=15_000_000, output_tokens=300)
        for at in range(36)
    ]
    new = forecaster(bins=[*bins, *many]).forecast(len(bins) + 36)[0]
    assert new.prompt_tokens_per_request == pytest.approx(50_000, rel=0.1)


def test_week_is_seen_when_two_weeks_have_passed():
    """Saturdays at 30 %: on the third Saturday the first forecast of the day says so."""
    rates = [0.3 if at // DAY % 7 == 5 else 1.0 for at in range(20 * DAY)]
    at = 19 * DAY  # the third Saturday, from its midnight
    first, *_, fourth = forecaster(bins=steady(rates[:at])).forecast(at)
    assert first.reason is Reason.SEASONAL and first.terms[0].name.startswith("weekly")
    assert fourth.arrivals.mean_per_s == pytest.approx(0.3, rel=0.3)


def test_rounds_follow_one_another_when_forecast_between_them():
    """The first bin may lie inside a round; a forecast is a whole round from there."""
    forecasts = forecaster(bins=steady([1.0] * 100)).forecast(101)
    assert [one.first_bin for one in forecasts] == [101, 104, 107, 110]


def test_observe_refuses_bins_when_out_of_order():
    """The message names the deployment, its class, both bins and what to do."""
    seen = forecaster(bins=steady([1.0] * 8))
    for index in (7, 3):
        late = DemandBin(index=index, arrivals=0, prompt_tokens=0, output_tokens=0)
        with pytest.raises(
            BinError, match=rf"deployment chat, SLO class tight: bin {index} after bin 7.*leave out"
        ):
            seen.observe(late)
    with pytest.raises(BinError, match="forecast from bin 7, but bins up to 7 were seen"):
        seen.forecast(7)
    assert seen.forecast(8)[0].first_bin == 8  # what was refused changed nothing


@pytest.mark.parametrize("count", [float("nan"), float("inf"), -1.0])
def test_bin_is_refused_when_it_counts_nothing(count):
    """A count that is no count names the bin and its field."""
    with pytest.raises(BinError, match=r"bin 4: prompt_tokens .*leave out"):
        DemandBin(index=4, arrivals=1, prompt_tokens=count, output_tokens=0)
    with pytest.raises(ForecastError, match="prior arrivals_per_s"):
        Prior(arrivals_per_s=count, prompt_tokens=0, output_tokens=0)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ({"round_s": 100}, "round_s 100: must be a multiple of bin_s 60, such as 120"),
        ({"slot_s": 30}, "slot_s 30: must be a multiple of bin_s 60, such as 60"),
        ({"slot_s": 1320}, "slot_s 1320: must divide the day"),
        ({"bin_s": 0}, "bin_s 0: must be >= 1"),
        ({"rounds": 0}, "rounds 0: must lie in 1..96"),
        ({"quantile": 1.0}, "quantile 1.0: must lie in"),
    ],
)
def test_settings_are_refused_when_lengths_do_not_fit(lengths, message):
    """The message says the value and one that fits."""
    with pytest.raises(ForecastError, match=message):
        ForecastSettings(**lengths)


def test_terms_sum_to_the_mean_when_explained():
    """What explains a forecast is all of it."""
    for bins in (steady([1.0] * 5), steady(day_rates(9))):
        for demand in forecaster(bins=bins).forecast(len(bins) + 7):
            total = sum(term.weight * term.arrivals_per_s for term in demand.terms)
            assert total == pytest.approx(demand.arrivals.mean_per_s, rel=1e-9)
            assert demand.explained().startswith(demand.reason.value)


def test_prior_has_its_say_when_one_bin_was_seen():
    """Five minutes of silence do not outvote a spec that is worth an hour."""
    first = forecaster(prior=PRIOR, bins=steady([0.0])).forecast(1)[0]
    assert first.reason is Reason.COLD_START
    assert 0.05 < first.arrivals.mean_per_s < 0.1
