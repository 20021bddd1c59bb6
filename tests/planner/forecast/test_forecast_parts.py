"""The parts of a demand forecast on their own."""

import math
import random

import pytest
from scipy import stats

from planner.forecast.backtest import backtest
from planner.forecast.bins import ForecastError, ForecastSettings, Measure, Prior
from planner.forecast.counts import poisson_quantile, quiet_bound
from planner.forecast.history import SlotHistory
from planner.forecast.level import Level, Levels
from planner.forecast.mixing import Mixing
from planner.forecast.naive import Naive, NaiveBound, naive_value
from planner.forecast.rounds import rounds_of
from planner.forecast.spread import Spread, UpperSource
from tests.planner.forecast.histories import PRIOR, QUARTERS, steady


@pytest.mark.parametrize("mean", [0.0, 1e-6, 0.04, 0.06, 0.5, 1.0, 3.3, 17.0, 59.0])
@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.95, 0.995])
def test_poisson_quantile_is_exact_when_counts_are_small(mean, quantile):
    """The same as scipy's."""
    assert poisson_quantile(mean, quantile) == stats.poisson.ppf(quantile, mean)


@pytest.mark.parametrize("mean", [61.0, 500.0, 1e5])
def test_poisson_quantile_is_within_one_when_counts_are_large(mean):
    """Cornish and Fisher's expansion stays beside scipy's."""
    assert abs(poisson_quantile(mean, 0.95) - stats.poisson.ppf(0.95, mean)) <= 1.0


def test_quiet_bound_is_the_rule_of_three_when_asked_for_95_percent():
    """Nothing in n rounds leaves a rate of 3 / n possible."""
    assert quiet_bound(100, 0.95) == pytest.approx(3 / 100, rel=0.01)
    assert quiet_bound(0.2, 0.95) == quiet_bound(1.0, 0.95)


def test_level_is_the_mean_when_young():
    """No start at zero has to be unlearned."""
    level = Level(50.0)
    assert level.mean == 0.0
    level.add(8.0)
    assert level.mean == pytest.approx(8.0)
    level.add(4.0)
    assert level.mean == pytest.approx(6.0, rel=0.01)


def test_trend_goes_on_and_flattens_when_demand_ramps():
    """A steady climb is carried on, less and less, and never below zero on the way down."""
    levels, falling = Levels(QUARTERS), Levels(QUARTERS)
    for at in range(120):
        levels.add(1.0 * at)
        falling.add(max(0.0, 119.0 - at))
    first, second, far = (levels.ahead(rounds).trend for rounds in (1.0, 2.0, 50.0))
    assert 110 < first < second < far
    assert second - first > far - levels.ahead(49.0).trend
    assert falling.ahead(20.0).trend >= 0.0


def test_history_forgets_when_two_weeks_have_passed():
    """Older slots, and the ones of a gap, are missing, not zero and not old."""
    history = SlotHistory(QUARTERS)
    for index in range(0, 3 * 96 * 3):
        history.add(index, 7.0)
    assert history.rate(0) == 7.0 and history.rate(3 * 96 - 2) == 7.0
    assert history.rate(3 * 96) is None  # to come
    history.add(3 * 96 * 10, 1.0)
    assert history.rate(3 * 96 + 5) is None and history.rate(2 * 96) == 7.0
    history.add(3 * 96 * 60, 1.0)
    assert all(history.rate(slot) is None for slot in range(96 * 61))


def test_slot_is_missing_when_less_than_half_was_seen():
    """One bin of three does not stand for the slot; two do."""
    history = SlotHistory(QUARTERS)
    for index in (0, 3, 4, 6):
        history.add(index, 6.0)
    assert history.rate(0) is None and history.rate(1) == 6.0


def test_rounds_scale_up_when_bins_are_missing():
    """Two bins of three stand for the round, one does not."""
    bins = [one for one in steady([1.0] * 9) if one.index not in (1, 6, 7)]
    first, second = rounds_of(bins, QUARTERS)
    assert (first.index, second.index) == (0, 1)
    assert first.arrivals == pytest.approx(1.5 * sum(b.arrivals for b in bins if b.index < 3))
    assert first.of(Measure.PROMPT_TOKENS) == pytest.approx(1000 * first.arrivals)


def test_weights_go_to_the_expert_that_errs_least():
    """An expert half as wrong weighs 32 times as much; one never wrong weighs all."""
    mixing = Mixing(ForecastSettings(rounds=2))
    for at in range(30):
        off = (-1.0) ** at
        said = {"recent": 10.0 + off, "hours": 10.0 + 2 * off}
        mixing.record(1, said, mixed=10.0 + off, seen=10.0)
        mixing.record(2, {"recent": 10.0, "hours": 12.0}, mixed=10.0, seen=10.0)
    said = {"recent": 1.0, "hours": 1.0}
    weights = mixing.weights(1, said, stale_ratio=1.0)
    assert weights["recent"] == pytest.approx(32 * weights["hours"])
    assert mixing.weights(2, said, stale_ratio=1.0) == {"recent": 1.0, "hours": 0.0}


def test_weights_follow_when_another_expert_becomes_the_best():
    """After a change the better expert has most of the weight within six rounds."""
    mixing = Mixing(ForecastSettings(rounds=1))
    for _ in range(200):
        mixing.record(1, {"daily": 10.2, "recent": 12.0}, mixed=10.2, seen=10.0)
    for _ in range(6):
        mixing.record(1, {"daily": 10.0, "recent": 98.0}, mixed=50.0, seen=100.0)
    weights = mixing.weights(1, {"daily": 10.0, "recent": 100.0}, stale_ratio=1.0)
    assert weights["recent"] > 0.6


@pytest.mark.parametrize("quantile", [0.8, 0.9, 0.95, 0.99])
def test_spread_covers_when_noise_changes(quantile):
    """Within two points of what was asked, over noise that triples halfway."""
    source = random.Random(7)
    spread, within = Spread(quantile), 0
    for at in range(4000):
        mean = 1000.0 * (1.5 + math.sin(at / 15))
        seen = max(0.0, mean * (1 + (0.3 if at > 2000 else 0.1) * source.gauss(0, 1)))
        upper, source_of = spread.upper(mean, widened=1.0, unseen_ratio=0.0, quiet_rounds=0.0)
        within += seen <= upper
        spread.record(mean=mean, upper=upper, seen=seen)
    assert within / 4000 == pytest.approx(quantile, abs=0.02)
    assert source_of in (UpperSource.RESIDUALS, UpperSource.POISSON)


def test_spread_covers_counts_when_they_are_small():
    """Poisson counts of mean 2: covered at least as asked, at a bound of five or six."""
    generator = random.Random(3)
    spread, within = Spread(0.95), 0
    for _ in range(1000):
        upper, _ = spread.upper(2.0, widened=1.0, unseen_ratio=0.0, quiet_rounds=0.0)
        seen = stats.poisson.ppf(generator.random(), 2.0)
        within += seen <= upper
        spread.record(mean=2.0, upper=upper, seen=seen)
    assert within >= 940
    assert 5.0 <= spread.upper(2.0, widened=1.0, unseen_ratio=0.0, quiet_rounds=0.0)[0] < 6.5


def test_naive_values_come_from_rounds_that_had_ended():
    """Beyond a day, yesterday is the last whole day that has passed."""
    seen = {index: float(index) for index in range(400)}
    said = [
        naive_value(naive, seen, origin=300, target=target, settings=QUARTERS)
        for naive in Naive
        for target in (301, 396, 397)
    ]
    assert said == [300.0, 300.0, 300.0, 205.0, 300.0, 205.0]
    assert naive_value(Naive.YESTERDAY, seen, origin=20, target=21, settings=QUARTERS) is None


def test_naive_bound_waits_when_residuals_are_few():
    """A quantile of three residuals is no bound to be compared with."""
    bound = NaiveBound(0.95)
    for at in range(100):
        assert (bound.upper(5.0) is None) == (at < 20)
        bound.record(value=5.0, seen=5.0 + at % 10)
    assert bound.upper(5.0) == 14.0


def test_backtest_scores_nothing_when_the_history_is_short():
    """No round that both naive forecasts know: NaN scores of 0 rounds, and no bins an error."""
    scores = backtest(steady([1.0] * 200), settings=QUARTERS, prior=PRIOR)
    assert len(scores) == 3 * QUARTERS.rounds
    assert all(one.rounds == 0 and math.isnan(one.mae) for one in scores)
    with pytest.raises(ForecastError, match="backtest: no bins"):
        backtest([], settings=QUARTERS, prior=PRIOR)


def test_backtest_is_exact_when_demand_is_constant():
    """No error to any side, full coverage, and no bound beyond chance."""
    settings = ForecastSettings(bin_s=900, rounds=2)
    bins = steady([0.5] * 600, settings=settings)
    flat = [type(one)(index=one.index, arrivals=450, prompt_tokens=4.5e5, output_tokens=9e4)
            for one in bins]  # fmt: skip
    prior = Prior(arrivals_per_s=0.5, prompt_tokens=1000, output_tokens=200)
    for score in backtest(flat, settings=settings, prior=prior, warm_up_rounds=192):
        assert score.rounds > 400
        assert score.mae == pytest.approx(0.0, abs=1e-6) and score.coverage_ratio == 1.0
        assert score.bias_ratio == pytest.approx(1.0)
        assert 1.0 < score.overprovisioning_ratio < 1.1
