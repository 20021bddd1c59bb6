"""The parts of a forecast on their own."""

import math
import random

import pytest

from planner.forecast.levels import Levels
from planner.forecast.mixing import Mixing
from planner.forecast.seasons import Seasons
from planner.forecast.settings import ForecastSettings
from planner.forecast.spread import Spread
from tests.planner.forecast.histories import DAY, QUARTERS, poisson

TWO = ForecastSettings(round_s=900, rounds=2)


def test_horizons_are_powers_of_two_and_the_last_when_tracked():
    """So an hour of 15 s rounds needs nine of them."""
    assert ForecastSettings(rounds=1).tracked == (1,)
    assert ForecastSettings(rounds=4).tracked == (1, 2, 4)
    assert ForecastSettings(rounds=60).tracked == (1, 2, 4, 8, 16, 32, 60)
    settings = ForecastSettings(rounds=12)
    assert [settings.tracked[settings.track_of(at)] for at in (1, 3, 9, 12, 99)] == [
        1,
        4,
        12,
        12,
        12,
    ]


def test_levels_are_means_when_young():
    """No start at zero has to be unlearned."""
    levels = Levels(QUARTERS)
    levels.add(8.0)
    assert levels.ahead(1.0) == pytest.approx([8.0] * len(levels.names))
    levels.add(4.0)
    said = dict(zip(levels.names, levels.ahead(1.0), strict=True))
    assert said["last"] == 4.0 and levels.day == pytest.approx(6.0, rel=0.01)


def test_trend_goes_on_and_flattens_when_demand_ramps():
    """A steady climb is carried on, less and less, and never below zero on the way down."""
    levels, falling = Levels(QUARTERS), Levels(QUARTERS)
    for at in range(120):
        levels.add(1.0 * at)
        falling.add(max(0.0, 119.0 - at))
    trend = levels.names.index("trend")
    first, second, far, further = (levels.ahead(at)[trend] for at in (1.0, 2.0, 50.0, 51.0))
    assert 119.0 < first < second < far
    assert second - first > 0.5 > further - far
    assert falling.ahead(20.0)[trend] >= 0.0


def filled(days: int) -> Seasons:
    """Days that climb from 0 to 95 by the quarter, each 100 above the last."""
    seasons = Seasons(QUARTERS)
    for index in range(days * DAY):
        seasons.add(index, float(index % DAY) + 100.0 * (index // DAY))
    return seasons


def test_seasons_say_nothing_when_none_was_seen():
    """No day back, no day; no week back, no week."""
    for days, (has_day, has_week) in ((0, (False, False)), (2, (True, False)), (8, (True, True))):
        said = filled(days).ahead(days * DAY + 10, day_mean=100.0, fresh_ratio=1.0)
        assert [not math.isnan(one) for one in said] == [has_day, has_day, has_week, has_week]


def test_day_is_the_median_of_seven_and_shifts_with_today():
    """Of days 3 to 9 the median is day 6; half a day at day 10's level shifts it there."""
    seasons = filled(10)
    assert seasons.ahead(10 * DAY + 40, day_mean=0.0, fresh_ratio=0.0)[:2] == [640.0, 640.0]
    for index in range(10 * DAY, 10 * DAY + 48):
        seasons.add(index, float(index % DAY) + 1000.0)
    plain, shifted = seasons.ahead(10 * DAY + 60, day_mean=0.0, fresh_ratio=1.0)[:2]
    assert plain == 660.0 and shifted == pytest.approx(1060.0, rel=0.03)


def test_seasons_forget_when_two_weeks_have_passed():
    """A gap of a month leaves nothing of what was before it."""
    seasons = filled(10)
    seasons.add(45 * DAY, 1.0)
    assert all(map(math.isnan, seasons.ahead(45 * DAY + 5, day_mean=0.0, fresh_ratio=1.0)))


def test_slot_is_missing_when_less_than_half_was_seen():
    """Seven rounds of 60 do not stand for a quarter of an hour; forty do."""
    for rounds, is_known in ((7, False), (40, True)):
        seasons = Seasons(ForecastSettings())
        for index in range(rounds):
            seasons.add(index, 5.0)
        seasons.add(5760, 1.0)
        said = seasons.ahead(5760 + 30, day_mean=0.0, fresh_ratio=1.0)[0]
        assert said == 5.0 if is_known else math.isnan(said)


def test_weights_go_to_the_expert_that_errs_least():
    """An expert half as wrong weighs 2^6 times as much; one never wrong weighs all."""
    mixing = Mixing(TWO, experts=2)
    for at in range(30):
        off = (-1.0) ** at
        mixing.record(0, [10.0 + off, 10.0 + 2 * off], mixed=10.0 + off, seen=10.0)
        mixing.record(1, [10.0, 12.0], mixed=10.0, seen=10.0)
    good, bad = mixing.weights(0, [1.0, 1.0], fresh=[1.0, 1.0])
    assert good == pytest.approx(64 * bad)
    assert mixing.weights(1, [1.0, 1.0], fresh=[1.0, 1.0]) == [1.0, 0.0]
    assert mixing.weights(1, [math.nan, 1.0], fresh=[1.0, 1.0]) == [0.0, 1.0]


def test_weights_follow_when_another_expert_becomes_the_best():
    """After a change the better expert has nine tenths of the weight within three rounds."""
    mixing = Mixing(TWO, experts=2)
    for at in range(200):
        seen = 10.0 + (-1.0) ** at
        mixing.record(0, [10.0, 12.0], mixed=10.0, seen=seen)
    for _ in range(3):
        mixing.record(0, [10.0, 98.0], mixed=50.0, seen=100.0)
    assert mixing.weights(0, [10.0, 100.0], fresh=[1.0, 1.0])[1] > 0.9


def test_weights_are_those_of_the_next_horizon_when_one_was_never_judged():
    """Where every other round is lost none is ever judged one round ahead."""
    mixing = Mixing(TWO, experts=2)
    for at in range(30):
        mixing.record(1, [10.0, 13.0], mixed=10.0, seen=10.0 + (-1.0) ** at)
    assert mixing.weights(0, [1.0, 1.0], fresh=[1.0, 1.0])[0] > 0.9


def covered(quantile: float, draws, rounds: int = 4000) -> float:
    """Share of rounds within the bound, of (mean, seen) drawn."""
    spread, within = Spread(quantile), 0
    for at in range(rounds):
        mean, seen = draws(at)
        upper = spread.upper(mean, usual=mean, widened=1.0, cold=2.6 * mean)
        within += seen <= upper
        spread.record(mean=mean, usual=mean, upper=upper, seen=seen)
    return within / rounds


@pytest.mark.parametrize("quantile", [0.8, 0.9, 0.95, 0.99])
def test_spread_covers_when_noise_changes(quantile):
    """Within one and a half points of what was asked, over noise that triples halfway."""
    source = random.Random(7)

    def draws(at: int) -> tuple[float, float]:
        mean = 1000.0 * (1.5 + math.sin(at / 15))
        return mean, max(0.0, mean * (1 + (0.3 if at > 2000 else 0.1) * source.gauss(0, 1)))

    assert covered(quantile, draws) == pytest.approx(quantile, abs=0.015)


@pytest.mark.parametrize("mean", [0.3, 2.0, 20.0])
def test_spread_covers_when_counts_are_small(mean):
    """Poisson counts, whose quantile is a whole number: covered as asked, or by one more."""
    source = random.Random(3)
    share = covered(0.95, lambda _: (mean, float(poisson(mean, source))))
    assert 0.94 <= share <= 0.99


def test_spread_covers_when_the_mean_is_always_too_low():
    """A biased mean costs width, not coverage."""
    source = random.Random(4)
    share = covered(0.95, lambda _: (100.0, 150.0 + 10.0 * source.gauss(0, 1)))
    assert share == pytest.approx(0.95, abs=0.015)
