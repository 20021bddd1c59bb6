"""What a forecaster refuses, and that a refusal changes nothing."""

import math

import pytest

from planner.forecast.settings import ForecastError, ForecastSettings, Prior, RoundError
from planner.forecast.work import WorkForecaster
from tests.planner.forecast.histories import ROUNDS, noisy, worker

STEADY = noisy([100.0] * 8)


def test_rounds_are_refused_when_out_of_order():
    """The message names the deployment, both rounds and what to do; nothing changes."""
    seen = worker(STEADY[:8])
    before = seen.to_values()
    for index in (7, 3, -1):
        with pytest.raises(RoundError, match=rf"deployment chat: round {index} .*leave out"):
            seen.observe(index, 1.0)
    with pytest.raises(RoundError, match="forecast from round 7, but rounds up to 7 were seen"):
        seen.forecast(7)
    with pytest.raises(RoundError, match=r"5 rounds ahead: must lie in 1\.\.4"):
        seen.upper(8, rounds=5)
    assert seen.to_values() == before


@pytest.mark.parametrize("work", [float("nan"), float("inf"), -1.0, 1e16])
def test_round_is_refused_when_it_counts_nothing(work):
    """A number that is no demand names the round and the range; nothing changes."""
    seen = worker(STEADY[:4])
    before = seen.to_values()
    with pytest.raises(RoundError, match=r"round 4 counts .*leave out"):
        seen.observe(4, work)
    assert seen.to_values() == before


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: ForecastSettings(round_s=0), "round_s 0: must lie in 1..3600"),
        (lambda: ForecastSettings(rounds=0), "rounds 0: must lie in 1..240"),
        (lambda: ForecastSettings(quantile=1.0), "quantile 1.0: must lie in"),
        (lambda: Prior(rate=-1.0), "prior rate -1.0: must lie in"),
        (lambda: Prior(rate=1.0, worth_rounds=0), "prior worth_rounds 0: must be > 0"),
        (lambda: WorkForecaster("x", settings=ROUNDS, expected_work=math.nan), "prior rate nan"),
    ],
)
def test_settings_are_refused_when_out_of_range(made, message):
    """The message says the value and the range."""
    with pytest.raises(ForecastError, match=message):
        made()
