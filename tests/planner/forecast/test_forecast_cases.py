"""Forecasts of work where they are easily wrong: nothing seen, gaps, jumps, outliers."""

import math
import random
from collections.abc import Iterable
from functools import cache

import pytest

from planner.forecast.settings import ForecastSettings
from planner.forecast.work import WorkForecaster
from tests.planner.forecast.histories import (
    DAY,
    HOUR,
    QUARTERS,
    ROUNDS,
    daily_rate,
    day_rates,
    noisy,
    worker,
)

STEADY = noisy([100.0] * (3 * DAY))


@cache
def steady_values(settings: ForecastSettings) -> dict[str, object]:
    return worker(STEADY, settings=settings).to_values()


def steady(settings: ForecastSettings, *, then: Iterable[float] = ()) -> WorkForecaster:
    """A forecaster that has seen three steady days, and then that."""
    made = WorkForecaster.from_values(steady_values(settings), deployment="chat", settings=settings)
    for index, work in enumerate(then, len(STEADY)):
        made.observe(index, work)
    return made


both_lengths = pytest.mark.parametrize("settings", [QUARTERS, ROUNDS], ids=["900s", "15s"])


@both_lengths
@pytest.mark.parametrize("rounds", [0, 1, 3, 200])
def test_forecast_is_zero_when_nothing_ever_came(settings, rounds):
    """No traffic and no spec: mean and bound are 0, not NaN, at every horizon."""
    for band in worker([0.0] * rounds, settings=settings).forecast(rounds + 3):
        assert band.mean == 0.0
        assert band.upper == 0.0


@both_lengths
def test_bound_dies_down_by_the_rule_of_three_when_traffic_ends(settings):
    """After n rounds of silence the bound is about 3 / n of what rounds with demand had."""
    for silence in (6, 24, 96):
        seen = steady(settings, then=[0.0] * silence)
        for band in seen.forecast(len(STEADY) + silence):
            assert band.mean < 100.0 * 0.03
            assert 0.98 * 300.0 / silence < band.upper < 1.25 * 300.0 / silence


@both_lengths
def test_forecast_takes_up_traffic_when_it_begins_after_silence(settings):
    """Two rounds after the first traffic of all the mean is there; the bound was, after one."""
    seen = worker([0.0] * 300 + [50.0], settings=settings)
    assert seen.forecast(301)[0].upper >= 50.0
    seen.observe(301, 52.0)
    assert seen.forecast(302)[0].mean == pytest.approx(50.0, rel=0.2)
    assert math.isfinite(seen.upper(302)) and seen.upper(302) < 20 * 50.0


def test_bound_is_the_chance_when_traffic_is_rare():
    """One round in fifty has demand: a 0.95 bound far below it; one in five: around it."""
    source = random.Random(6)
    rare, frequent = (
        worker([100.0 if source.random() < chance else 0.0 for _ in range(768)])
        for chance in (0.02, 0.2)
    )
    assert rare.forecast(768)[0].upper < 30.0
    assert 80.0 < frequent.forecast(768)[0].upper < 250.0


@both_lengths
def test_missing_rounds_are_no_zeros_when_half_of_them_are_lost(settings):
    """A collector that loses every other round sees the same demand."""
    holed = [value if at % 2 else None for at, value in enumerate(STEADY)]
    band = worker(holed, settings=settings).forecast(len(STEADY))[0]
    assert band.mean == pytest.approx(100.0, rel=0.05)
    assert band.upper < 130.0


@both_lengths
def test_bound_widens_and_mean_holds_when_a_gap_grows(settings):
    """The mean after a gap is what a steady service had; the bound grows with the gap."""
    seen = steady(settings)
    bands = [seen.forecast(len(STEADY) + gap)[0] for gap in (1, 8, 48, 192, 5000)]
    uppers = [band.upper for band in bands]
    assert uppers == sorted(uppers)
    assert uppers[-1] > 2.0 * uppers[0]
    for band in bands:
        assert band.mean == pytest.approx(100.0, rel=0.06)


@both_lengths
def test_forecast_goes_on_well_when_a_gap_has_passed(settings):
    """The rounds after a gap are learned from as before it."""
    seen = steady(settings)
    for index, value in enumerate(noisy([300.0] * 40, seed=4), len(STEADY) + 3000):
        seen.observe(index, value)
    first = seen.last_index + 1
    for band in seen.forecast(first):
        assert band.mean == pytest.approx(300.0, rel=0.1)
        assert band.upper < 450.0


def test_season_leads_when_a_gap_made_the_levels_stale():
    """Silence from night till afternoon: the forecast is the afternoon of other days."""
    rates = day_rates(6)
    night, noon = 5 * DAY + 5 * HOUR, 5 * DAY + 14 * HOUR
    seen = worker(noisy(rates[:night]))
    assert rates[night] < 0.2 < 1.5 < rates[noon]
    assert seen.forecast(noon)[0].mean == pytest.approx(rates[noon], rel=0.1)
    assert seen.terms(noon)[0].name.startswith("day")


def test_forecast_knows_the_weekend_when_two_weeks_were_seen():
    """Saturdays at a tenth: Saturday's first hour is forecast at a third of Friday's at most."""
    rates = [rate * (0.1 if at // DAY % 7 >= 5 else 1.0) for at, rate in enumerate(day_rates(21))]
    saturday = 19 * DAY
    fourth = worker(noisy(rates[:saturday])).forecast(saturday)[3]
    friday = rates[saturday - DAY + 3]
    assert friday == pytest.approx(10 * rates[saturday + 3])
    assert 0.1 * friday < fourth.mean < friday / 3


@both_lengths
def test_forecast_says_the_prior_with_a_wide_bound_when_nothing_was_seen(settings):
    """A cold start is the spec's word, at a bound of more than twice it."""
    cold = worker(settings=settings, expected=100.0)
    for band in cold.forecast(7):
        assert band.mean == 100.0
        assert band.upper > 250.0
    assert [term.name for term in cold.terms(7)] == ["prior"]


@both_lengths
@pytest.mark.parametrize("expected", [10.0, 1000.0])
def test_prior_is_forgotten_when_it_was_wrong(settings, expected):
    """A spec that says a tenth, or tenfold: 7 % of it is left after ten rounds, none after 40."""
    seen = worker(STEADY[:10], settings=settings, expected=expected)
    assert abs(seen.forecast(10)[0].mean - 100.0) < 0.07 * abs(expected - 100.0) + 10.0
    seen = worker(STEADY[:40], settings=settings, expected=expected)
    assert seen.forecast(40)[0].mean == pytest.approx(100.0, rel=0.05)


@both_lengths
def test_bound_is_wide_then_close_when_a_deployment_is_new(settings):
    """Of 20 % noise: above twice the mean while four rounds are seen, within 1.6 after 20."""
    young = noisy([100.0] * 40, ratio=0.2, seed=3)
    assert worker(young[:3], settings=settings).forecast(3)[0].upper > 2 * 100.0
    for seen in (20, 40):
        band = worker(young[:seen], settings=settings).forecast(seen)[0]
        assert 1.15 * 100.0 < band.upper < 1.6 * 100.0


def test_bound_grows_with_the_distance_when_no_far_round_was_judged_yet():
    """Twenty rounds in, 60 ahead is bounded as a random walk from 8 ahead: the root of 7.5."""
    settings = ForecastSettings(round_s=15, rounds=60)
    young = worker(noisy([100.0] * 20, ratio=0.2, seed=3), settings=settings)
    bands = young.forecast(20)
    near, far = (bands[at - 1].upper - bands[at - 1].mean for at in (8, 60))
    assert 1.8 * near < far < 3.5 * near


def test_forecast_begins_well_when_the_history_begins_late():
    """A deployment made decades after the epoch starts like one made at it."""
    late = 20_000 * DAY
    rates = noisy(day_rates(3))
    early, shifted = worker(rates), worker(rates, start=late)
    for one, other in zip(early.forecast(3 * DAY), shifted.forecast(3 * DAY + late), strict=True):
        assert one.mean == pytest.approx(other.mean)
        assert one.upper == pytest.approx(other.upper)


@both_lengths
@pytest.mark.parametrize("factor", [10.0, 0.1])
def test_mean_follows_within_four_rounds_when_demand_jumps(settings, factor):
    """Ten times, or a tenth: 94 % of the change after four rounds, within 25 % after twelve."""
    after = 100.0 * factor
    jumped = noisy([after] * 12, seed=1)
    seen = steady(settings, then=jumped[:4])
    assert abs(seen.forecast(len(STEADY) + 4)[0].mean - after) < 0.06 * abs(after - 100.0)
    seen = steady(settings, then=jumped)
    for band in seen.forecast(len(STEADY) + 12):
        assert band.mean == pytest.approx(after, rel=0.25)
        assert band.upper < 2.0 * after


@both_lengths
def test_bound_is_never_below_the_last_round_when_demand_bursts(settings):
    """A round after a tenfold jump, outlier or not, what was seen is planned for."""
    seen = steady(settings, then=[1000.0])
    first = len(STEADY) + 1
    assert seen.forecast(first)[0].upper >= 1000.0
    assert seen.upper(first) >= 1000.0


def test_bound_covers_again_when_demand_has_jumped():
    """Of the 60 rounds from the fourth after a tenfold jump on, at most seven escape."""
    jumped = noisy([1000.0] * 64, seed=1)
    seen = steady(QUARTERS, then=jumped[:4])
    missed = 0
    for index, value in enumerate(jumped[4:], len(STEADY) + 4):
        missed += value > seen.forecast(index)[0].upper
        seen.observe(index, value)
    assert missed <= 7


def test_shape_of_the_day_is_kept_when_its_level_jumps():
    """A day at four times the level: halfway up the ramp the next hour is right at 10 %."""
    rates = day_rates(6)
    jumped = rates[: 5 * DAY] + [4 * rate for rate in rates[5 * DAY :]]
    at = 5 * DAY + 11 * HOUR
    fourth = worker(noisy(jumped[:at], ratio=0.01)).forecast(at)[3]
    assert fourth.mean == pytest.approx(jumped[at + 3], rel=0.1)


@both_lengths
@pytest.mark.parametrize("rounds_later", [4, 24, DAY])
def test_outlier_is_not_remembered_when_one_round_was_huge(settings, rounds_later):
    """A round of a hundredfold: four rounds, six hours and a day later it is over."""
    rates = noisy([100.0 * daily_rate(900.0 * at) for at in range(5 * DAY)], ratio=0.1)
    huge = 3 * DAY + 12 * HOUR
    until = huge + rounds_later
    with_outlier = [rate * (100 if at == huge else 1) for at, rate in enumerate(rates)]
    plain = worker(rates[:until], settings=settings).forecast(until)[0]
    after = worker(with_outlier[:until], settings=settings).forecast(until)[0]
    assert after.mean == pytest.approx(plain.mean, rel=0.2)
    assert after.upper < 1.5 * plain.upper


@both_lengths
def test_mean_is_that_of_most_rounds_when_spikes_are_rare(settings):
    """One round in thirty at a hundredfold: the mean of the others stays within half as much."""
    source = random.Random(8)
    rates = [10_000.0 if source.random() < 1 / 30 else 100.0 for _ in range(500)]
    seen = worker(noisy(rates[:400]), settings=settings)
    wrong = 0
    for index, rate in enumerate(noisy(rates)[400:], 400):
        wrong += rate < 200.0 and not 50.0 < seen.forecast(index)[0].mean < 150.0
        seen.observe(index, rate)
    assert wrong <= 15


@both_lengths
def test_bound_covers_when_demand_comes_and_goes(settings):
    """Bursts of some rounds with nothing between: 93 % of the rounds are within the bound."""
    source, rates = random.Random(9), []
    while len(rates) < 800:
        rates += [source.expovariate(0.01) for _ in range(source.randint(1, 10))]
        rates += [0.0] * source.randint(1, 10)
    seen, within = worker(settings=settings), 0
    for index, rate in enumerate(rates):
        within += index >= 200 and rate <= seen.forecast(index)[0].upper
        seen.observe(index, rate)
    assert within >= 0.93 * (len(rates) - 200)


@both_lengths
def test_bound_covers_bursts_when_they_recur(settings):
    """One round in ten at five times the rate, at random: the bound learns to cover them."""
    source = random.Random(5)
    rates = [500.0 if source.random() < 0.1 else 100.0 for _ in range(768)]
    band = worker(rates, settings=settings).forecast(768)[0]
    assert band.mean < 250.0
    assert 400.0 < band.upper < 800.0


def test_upper_is_the_greatest_bound_of_the_rounds_when_asked():
    """What a plan for h rounds needs: no bound of its rounds at tracked horizons is above it."""
    seen = worker(noisy(day_rates(9.4)), settings=ForecastSettings(round_s=900, rounds=12))
    first = seen.last_index + 1
    bands = seen.forecast(first)
    for rounds in (1, 3, 12):
        tracked = [h for h in (1, 2, 4, 8, 12) if h < rounds] + [rounds]
        assert seen.upper(first, rounds=rounds) == max(bands[h - 1].upper for h in tracked)


def test_terms_sum_to_the_mean_when_asked():
    """What explains a forecast is all of it."""
    for seen in (worker(STEADY[:5], expected=30.0), worker(noisy(day_rates(9)))):
        first = seen.last_index + 8
        total = sum(term.weight * term.value for term in seen.terms(first))
        assert total == pytest.approx(seen.forecast(first)[0].mean, rel=1e-9)
        assert sum(term.weight for term in seen.terms(first)) == pytest.approx(1.0)
