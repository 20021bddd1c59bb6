"""Arrivals, token mixes and the work they bring."""

import pytest

from planner.forecast.demand import DemandForecaster, DemandSeen
from planner.forecast.settings import Prior, RoundError
from tests.planner.forecast.histories import ROUNDS, noisy

PRIOR = Prior(rate=0.1, prompt_tokens=1000.0, output_tokens=200.0)


def demand(seen, *, prior=None) -> DemandForecaster:
    """A forecaster that has seen rounds of (rate, prompt tokens, output tokens)."""
    made = DemandForecaster("chat", settings=ROUNDS, prior=prior)
    for index, (rate, prompt, output) in enumerate(seen):
        made.observe(
            index, DemandSeen(arrivals_per_s=rate, prompt_tokens=prompt, output_tokens=output)
        )
    return made


def request_work_ms(prompt: float, output: float) -> float:
    return 10.0 + 0.1 * prompt + 5.0 * output


def test_demand_is_the_priors_when_nothing_was_seen():
    """A cold start is the spec's word, in requests, tokens and work."""
    first = demand([], prior=PRIOR).forecast(3)[0]
    assert first.arrivals.mean == pytest.approx(0.1)
    assert first.prompt_tokens.mean == pytest.approx(100.0)
    assert first.output_tokens.mean == pytest.approx(20.0)
    assert first.prompt_tokens_per_request == pytest.approx(1000.0)
    work = first.work(request_work_ms)
    assert work.mean == pytest.approx(0.1 * request_work_ms(1000.0, 200.0))
    assert work.upper > 2.0 * work.mean


def test_demand_is_zero_and_its_mix_known_when_traffic_has_ended():
    """Long after the last request: no rate, no tokens, no work, and the mix of before."""
    seen = demand([(2.0, 1500.0, 300.0)] * 100 + [(0.0, 0.0, 0.0)] * 1000)
    first = seen.forecast(1100)[0]
    assert first.arrivals.mean < 1e-4 and first.prompt_tokens.mean < 0.1
    assert first.prompt_tokens_per_request == pytest.approx(1500.0, rel=1e-3)
    assert first.output_tokens_per_request == pytest.approx(300.0, rel=1e-3)
    assert first.work(request_work_ms).upper < 0.01 * 2.0 * request_work_ms(1500.0, 300.0)


def test_demand_is_all_zero_when_there_was_never_any():
    """No traffic and no spec: nothing is divided by it."""
    for one in demand([(0.0, 0.0, 0.0)] * 50).forecast(50):
        work = one.work(request_work_ms)
        assert one.arrivals.upper == work.mean == work.upper == 0.0
        assert one.prompt_tokens_per_request == one.output_tokens_per_request == 0.0


def test_work_is_the_latency_models_when_demand_is_steady():
    """Of a steady mix it is the rate times a request's work, at a bound near it."""
    rates = noisy([4.0] * 200)
    seen = demand([(rate, 1000.0, 200.0) for rate in rates])
    for one in seen.forecast(200):
        work = one.work(request_work_ms)
        assert work.mean == pytest.approx(4.0 * request_work_ms(1000.0, 200.0), rel=0.03)
        assert 1.02 * work.mean < work.upper < 1.2 * work.mean


def test_mix_is_the_long_runs_when_few_requests_were_odd():
    """One prompt of 50,000 tokens at night moves the mix by little, hundreds move it all."""
    day = [(1.0, 1000.0, 200.0)] * 200 + [(0.0, 0.0, 0.0)] * 200
    few = demand([*day, (1 / 15, 50_000.0, 1.0)]).forecast(401)[0]
    assert few.prompt_tokens_per_request < 3000.0
    many = demand([*day, *[(5.0, 50_000.0, 1.0)] * 40]).forecast(440)[0]
    assert many.prompt_tokens_per_request > 45_000.0
    assert many.output_tokens_per_request < 20.0


def test_tokens_follow_their_own_course_when_the_mix_shifts():
    """Twice the requests at half the length: as many tokens as before, at no wider a bound."""
    seen = demand(
        [(rate, 4000.0 / rate, 200.0) for rate in [*noisy([2.0] * 200), *noisy([4.0] * 40, seed=1)]]
    )
    first = seen.forecast(240)[0]
    assert first.arrivals.mean == pytest.approx(4.0, rel=0.05)
    assert first.prompt_tokens.mean == pytest.approx(4000.0, rel=0.01)
    assert first.prompt_tokens.upper < 1.05 * 4000.0


def test_tokens_mean_nothing_when_no_request_came():
    """What a collector writes as the mean of no requests, NaN included, is not looked at."""
    seen = demand([(1.0, 1000.0, 200.0)] * 20 + [(0.0, float("nan"), -1.0)] * 5)
    assert seen.forecast(25)[0].prompt_tokens_per_request == pytest.approx(1000.0)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_round_is_refused_whole_when_one_of_its_numbers_is_wrong(at):
    """The message names the flow; no flow has taken the round in."""
    seen = demand([(1.0, 1000.0, 200.0)] * 8)
    before = seen.to_values()
    values = [1.0, 1000.0, 200.0]
    values[at] = float("nan")
    rate, prompt, output = values
    name = ("arrivals", "prompt tokens", "output tokens")[at]
    with pytest.raises(RoundError, match=f"deployment chat, {name}: round 8 counts nan"):
        seen.observe(8, DemandSeen(arrivals_per_s=rate, prompt_tokens=prompt, output_tokens=output))
    assert seen.to_values() == before
    assert seen.last_index == 7
