"""Forecasts against naive ones, on public traces and on a service with days and weeks.

`pytest -s` prints the table that the package's docstring quotes from. The traces last an
hour: they show rounds of 15 s, no day. The service is drawn: it has days and weekends.
"""

import math

import pytest

from planner.forecast.backtest import Loss, Score, backtest
from planner.forecast.naive import Naive, NaiveForecast
from planner.forecast.settings import ForecastError, ForecastSettings
from planner.workload.traces import stream_trace
from tests.planner.forecast.histories import DAY, QUARTERS, counted, service
from tests.planner.workload.trace_files import public_file

SHORT = ForecastSettings(round_s=15, rounds=60)
FIVE_MINUTES = ForecastSettings(round_s=300, rounds=12)


def best(score: Score) -> Loss:
    """The best naive forecast by pinball loss, chosen in hindsight."""
    return min(score.naive.values(), key=lambda loss: loss.pinball_ratio)


def printed(name: str, scores: tuple[Score, ...]) -> None:
    """A line a horizon: mean error, pinball loss, coverage, bound over mean demand."""
    for score in scores:
        losses = {"forecast": score.forecast} | {one.value: it for one, it in score.naive.items()}
        said = "; ".join(
            f"{who} {loss.mae_ratio:.3f} {loss.pinball_ratio:.4f} {loss.coverage_ratio:.3f}"
            f" {loss.upper_ratio:.2f}"
            for who, loss in losses.items()
        )
        print(f"{name} +{score.horizon} ({score.rounds} rounds): {said}")


@pytest.mark.parametrize(
    ("name", "most"),
    [("azure_llm_2023_conv.csv", 1.07), ("mooncake_conversation.jsonl", 1.07)],
)
def test_work_is_forecast_as_well_as_the_best_naive_when_a_trace_is_replayed(name, most):
    """Work of a traced hour in 15 s rounds, up to a minute ahead.

    Pinball loss and error are a fifth below the last round's, and not more than 7 % above
    those of the best moving quantile chosen in hindsight; the bound covers.
    """
    with public_file(name).open() as lines:
        flows = counted(stream_trace(lines), settings=SHORT)
    for flow, history in flows.items():
        scores = backtest(history, settings=SHORT, horizons=(1, 2, 4, 16, 60))
        printed(f"{name} {flow}", scores)
        if flow != "work":
            continue
        for score in scores[:3]:
            last = score.naive[Naive.LAST]
            assert score.rounds > 200
            assert score.forecast.pinball_ratio < 0.82 * last.pinball_ratio, score
            assert score.forecast.mae_ratio < 0.82 * last.mae_ratio, score
            assert score.forecast.pinball_ratio < most * best(score).pinball_ratio, score
            assert score.forecast.coverage_ratio >= 0.92, score


@pytest.mark.parametrize(
    ("seed", "settings", "days"),
    [(1, QUARTERS, 21), (2, QUARTERS, 21), (1, FIVE_MINUTES, 11)],
    ids=["1-900s", "2-900s", "1-300s"],
)
def test_forecast_beats_all_naive_ones_when_a_service_has_days(seed, settings, days):
    """Each horizon up to an hour: a smaller error, a smaller loss, and coverage as asked."""
    history = service(seed, days=days, requests_per_s=0.5, settings=settings)
    at_most = settings.rounds
    warm_up = int(8 * settings.day_rounds)
    scores = backtest(history, settings=settings, warm_up_rounds=warm_up, horizons=(1, 4, at_most))
    printed(f"service {seed}, {settings.round_s:g} s", scores)
    for score in scores:
        assert score.rounds > 800
        assert set(score.naive) == set(Naive)
        assert score.forecast.pinball_ratio < 0.9 * best(score).pinball_ratio, score
        least = min(loss.mae_ratio for loss in score.naive.values())
        assert score.forecast.mae_ratio < 1.01 * least, score
        assert score.forecast.coverage_ratio == pytest.approx(0.95, abs=0.015), score


def test_naive_values_come_from_rounds_that_had_ended():
    """Beyond a day, yesterday is the last whole day that has passed."""
    seen = {index: float(index) for index in range(400)}
    said = {}
    for horizon in (1, DAY, DAY + 1):
        forecast = NaiveForecast(Naive.YESTERDAY, settings=QUARTERS, horizon=horizon)
        for origin in range(301):
            said[horizon] = forecast.ahead(seen, origin=origin)
    # Its residuals are whole days: the bound is the value and a day, or two.
    assert said[1] == (205.0, 205.0 + DAY)
    assert said[DAY] == (300.0, 300.0 + DAY)
    assert said[DAY + 1] == (205.0, 205.0 + 2 * DAY)


def test_naive_bound_waits_when_little_was_seen():
    """A quantile of three residuals, or of a short window, is none to compare with."""
    seen = {index: float(index % 10) for index in range(60)}
    for naive, first in ((Naive.LAST, 20), (Naive.MOVING_60, 19), (Naive.MOVING_20, 19)):
        forecast = NaiveForecast(naive, settings=QUARTERS, horizon=1)
        said = [forecast.ahead(seen, origin=origin) for origin in range(60)]
        assert [one is not None for one in said] == [at >= first for at in range(60)]
    assert said[-1] == (4.5, 9.0)


def test_backtest_scores_nothing_when_the_history_is_short():
    """No round that all naive forecasts know: NaN scores of 0 rounds; no rounds an error."""
    for score in backtest([(at, 1.0) for at in range(15)], settings=QUARTERS):
        assert score.rounds == 0 and math.isnan(score.forecast.mae_ratio)
    with pytest.raises(ForecastError, match="backtest: no rounds"):
        backtest([], settings=QUARTERS)


def test_backtest_is_exact_when_demand_is_constant():
    """No error, full coverage, and no bound above it."""
    history = [(at, 450.0) for at in range(300)]
    for score in backtest(history, settings=QUARTERS, warm_up_rounds=192):
        assert score.rounds > 100
        assert score.forecast.mae_ratio == pytest.approx(0.0, abs=1e-9)
        assert score.forecast.coverage_ratio == 1.0
        assert score.forecast.upper_ratio == pytest.approx(1.0, abs=1e-9)


def test_backtest_sees_no_later_round_when_it_forecasts():
    """A jump in the last round changes the scores of no forecast but of that round."""
    history = service(3, days=2, requests_per_s=0.5, settings=QUARTERS)
    *others, (last, _) = history
    plain = backtest(others, settings=QUARTERS)
    jumped = backtest([*others, (last, 1e6)], settings=QUARTERS)
    for one, other in zip(plain, jumped, strict=True):
        before, after = one.forecast, other.forecast
        assert other.rounds == one.rounds + 1
        assert after.coverage_ratio * other.rounds == pytest.approx(
            before.coverage_ratio * one.rounds
        )
