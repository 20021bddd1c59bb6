"""Forecasts against public traces and a service with days and weeks: better than naive ones.

The traces last an hour; stretched to eight days, a quarter of an hour holds what five seconds
did. They have no day, so the same time yesterday is no use there; the service has one.
"""

import pytest

from planner.forecast.backtest import Score, backtest
from planner.forecast.bins import DAY_S, Measure
from planner.forecast.naive import Naive
from planner.workload.shape import shape_stream
from planner.workload.traces import stream_trace
from tests.planner.forecast.histories import PRIOR, QUARTERS, counted, service
from tests.planner.workload.trace_files import public_file

DAYS = 8
DAY_ROUNDS = DAY_S // QUARTERS.round_s


def scored(requests, *, days, warm_up_days) -> tuple[Score, ...]:
    bins = counted(requests, bin_s=QUARTERS.bin_s, count=days * DAY_S // QUARTERS.bin_s)
    return backtest(
        bins, settings=QUARTERS, prior=PRIOR, warm_up_rounds=warm_up_days * DAY_ROUNDS
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_forecast_beats_both_naive_ones_when_a_service_has_days(seed):
    """Arrivals and tokens, each horizon: error, bound's loss and coverage, over two weeks."""
    requests = service(seed, days=21, requests_per_s=0.15)
    for score in scored(requests, days=21, warm_up_days=7):
        assert score.rounds > 1000
        assert score.mae < 0.97 * min(score.naive_mae.values()), score
        assert score.pinball < 0.97 * min(score.naive_pinball.values()), score
        assert score.coverage_ratio == pytest.approx(QUARTERS.quantile, abs=0.03), score
        assert score.bias_ratio == pytest.approx(1.0, abs=0.05), score
        assert score.overprovisioning_ratio < 1.8, score


@pytest.mark.parametrize("name", ["azure_llm_2023_conv.csv", "mooncake_conversation.jsonl"])
def test_forecast_beats_both_naive_ones_when_a_trace_is_replayed(name):
    """The same claims on measured arrivals and lengths, stretched to days."""
    with public_file(name).open() as lines:
        requests = list(stream_trace(lines))
    stretch = DAYS * DAY_S / (requests[-1].at_s + 1e-3)
    stretched = shape_stream(requests, rate_scale=1 / stretch)
    for score in scored(stretched, days=DAYS, warm_up_days=2):
        assert score.rounds > 500
        assert score.mae < min(score.naive_mae.values()), score
        assert score.pinball < min(score.naive_pinball.values()), score
        assert score.coverage_ratio == pytest.approx(QUARTERS.quantile, abs=0.03), score
        assert score.naive_mae.keys() == set(Naive) and score.measure in Measure
