"""What holds of every forecast, whatever was seen."""

import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.forecast.demand import DemandForecaster, DemandSeen
from planner.forecast.seasons import HISTORY_DAYS
from planner.forecast.settings import ForecastSettings, Prior, StateError
from planner.forecast.spread import KEPT
from planner.forecast.work import WorkForecaster
from tests.planner.forecast.histories import day_rates, noisy, worker

# Days of 24 rounds, so that a few hundred hold seasons and weeks.
HOURS = ForecastSettings(round_s=3600, rounds=5)

counts = st.one_of(
    st.just(0.0),
    st.floats(0, 5),
    st.floats(0, 1e4),
    st.sampled_from([1e-300, 1e-9, 1.0, 1e6, 1e15]),
)


@st.composite
def histories(draw, most: int = 80, values: st.SearchStrategy[float] = counts):
    """Rounds in order, with gaps; rates come in runs, so that levels jump."""
    rounds: list[tuple[int, float]] = []
    index = draw(st.integers(0, 10_000))
    while len(rounds) < most and draw(st.integers(0, 9)):
        index += draw(st.sampled_from([0, 0, 0, 1, 5, 400, 20_000]))
        run, rate = draw(st.integers(1, 40)), draw(values)
        ripple = draw(st.sampled_from([0.0, 0.5]))
        for at in range(run):
            rounds.append((index, rate * (1.0 - ripple * (at * 7919 % 13) / 13)))
            index += 1
    return rounds


def of_work(history, expected=None) -> WorkForecaster:
    made = WorkForecaster("chat", settings=HOURS, expected_work=expected)
    for index, value in history:
        made.observe(index, value)
    return made


def after(history) -> int:
    return history[-1][0] + 1 if history else 0


@given(
    history=histories(),
    expected=st.one_of(st.none(), counts),
    gap=st.sampled_from([0, 1, 13, 5000]),
)
@settings(max_examples=25, deadline=None)
def test_bands_are_ordered_and_finite_when_anything_was_seen(history, expected, gap):
    """0 <= mean <= upper, finite, at every horizon; the terms' weights sum to 1."""
    seen, first = of_work(history, expected), after(history) + gap
    bands = seen.forecast(first)
    assert len(bands) == HOURS.rounds
    for band in bands:
        assert 0.0 <= band.mean <= band.upper * (1 + 1e-12)
        assert math.isfinite(band.upper)
    assert seen.upper(first) >= bands[0].upper
    if history or expected is not None:
        assert math.fsum(term.weight for term in seen.terms(first)) == pytest.approx(1.0)


ordinary = st.one_of(st.just(0.0), st.floats(1.0, 1e6))


@given(history=histories(values=ordinary), factor=st.sampled_from([0.25, 8.0, 1024.0]))
@settings(max_examples=25, deadline=None)
def test_bands_scale_when_demand_does(history, factor):
    """Eight times the demand, eight times mean and bound: no unit is built in."""
    plain = of_work(history).forecast(after(history))
    scaled = of_work([(at, factor * one) for at, one in history]).forecast(after(history))
    for one, other in zip(plain, scaled, strict=True):
        # Stored slots have six digits, and scores five.
        assert other.mean == pytest.approx(factor * one.mean, rel=1e-3, abs=1e-9)
        assert other.upper == pytest.approx(factor * one.upper, rel=1e-2, abs=1e-9)


@given(history=histories(), more=histories(40), expected=st.one_of(st.none(), counts))
@settings(max_examples=25, deadline=None)
def test_state_says_the_same_when_stored_as_json(history, more, expected):
    """What is read back says the same, writes the same, and learns the same from then on."""
    kept = of_work(history, expected)
    values = kept.to_values()
    text = json.dumps(values, allow_nan=False)
    back = WorkForecaster.from_values(
        json.loads(text), deployment="chat", settings=HOURS, expected_work=expected
    )
    assert json.dumps(back.to_values()) == text
    shift = after(history)
    for index, value in more:
        kept.observe(index + shift, value)
        back.observe(index + shift, value)
    start = after(more) + shift
    assert back.forecast(start) == kept.forecast(start)
    assert back.to_values() == kept.to_values()
    assert json.dumps(values) == text  # what was taken to be stored does not change under it


@given(history=histories())
@settings(max_examples=20, deadline=None)
def test_state_stays_when_a_forecast_is_asked(history):
    """Asking is free: the same question gets the same answer, and the state stays."""
    seen, first = of_work(history), after(history)
    before = seen.to_values()
    assert seen.forecast(first) == seen.forecast(first)
    assert seen.upper(first) == seen.upper(first)
    assert seen.to_values() == before


rates = st.one_of(st.just(0.0), st.floats(0, 100))
mixes = st.floats(0, 1e5)


@given(
    rounds=st.lists(st.tuples(rates, mixes, mixes), max_size=60),
    prior=st.one_of(
        st.none(), st.builds(Prior, rate=rates, prompt_tokens=mixes, output_tokens=mixes)
    ),
)
@settings(max_examples=25, deadline=None)
def test_demand_is_ordered_and_restored_when_anything_was_seen(rounds, prior):
    """Each flow's mean within its bound, so that of work too; JSON gives it all back."""
    made = DemandForecaster("chat", settings=HOURS, prior=prior)
    for index, (rate, prompt, output) in enumerate(rounds):
        made.observe(
            index, DemandSeen(arrivals_per_s=rate, prompt_tokens=prompt, output_tokens=output)
        )
    demands = made.forecast(len(rounds))
    for demand in demands:
        work = demand.work(lambda prompt, output: 5.0 + prompt + 10.0 * output)
        for band in (demand.arrivals, demand.prompt_tokens, demand.output_tokens, work):
            assert 0.0 <= band.mean <= band.upper * (1 + 1e-12) < math.inf
        for mix in (demand.prompt_tokens_per_request, demand.output_tokens_per_request):
            assert 0.0 <= mix < math.inf
    back = DemandForecaster.from_values(
        json.loads(json.dumps(made.to_values(), allow_nan=False)),
        deployment="chat",
        settings=HOURS,
        prior=prior,
    )
    assert back.forecast(len(rounds)) == demands


def numbers_in(value: object) -> int:
    if isinstance(value, dict):
        return sum(numbers_in(one) for one in value.values())
    if isinstance(value, list):
        return sum(numbers_in(one) for one in value)
    return 1


def test_memory_is_bounded_when_months_pass():
    """The state of thirty days is as large as that of ninety, and within a stated bound."""
    source = random.Random(1)
    seen = WorkForecaster("chat", settings=HOURS)
    sizes = {}
    for index in range(91 * 24):
        seen.observe(index, source.random())
        if index in (30 * 24, 90 * 24):
            sizes[index] = numbers_in(seen.to_values())
    assert sizes[30 * 24] == sizes[90 * 24]
    tracks = len(HOURS.tracked)
    assert sizes[90 * 24] < HISTORY_DAYS * 24 + KEPT * tracks + 100 * tracks


def stored() -> dict[str, object]:
    seen = worker(noisy(day_rates(2)))
    values = seen.to_values()["work"]
    assert isinstance(values, dict)
    return values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version: 2, this one reads 1; drop it and begin anew"),
        ({"settings": [15.0, 4, 0.95]}, r"settings: \[15.0, 4.0, 0.95\], this one has"),
        ({"levels": []}, "last: list around it, expected a mapping"),
        ({"counts": [1, 0, "many", 0]}, "counts: 'many', expected a finite number"),
        ({"counts": [1, 0, -1.0, 0]}, "counts: -1.0, expected at least 0"),
        ({"last_index": 1.5}, "last_index: 1.5, expected a whole number"),
        ({"bounds": []}, "spreads: 0 entries, expected 3"),
        ({"awaited": None}, "awaited: NoneType, expected a list"),
        ({"mixing": {"lately": [[], []]}}, "mixing errors: 0 entries, expected 3"),
        ({"seasons": {"ring": [1.0]}}, "season ring: 1 entries, expected 1344"),
    ],
)
def test_state_is_refused_when_it_is_none_of_a_forecaster(change, message):
    """The message names the part, what it is and what to do."""
    values = {"work": {**stored(), **change}}
    with pytest.raises(StateError, match=message):
        WorkForecaster.from_values(
            values, deployment="chat", settings=ForecastSettings(round_s=900, rounds=4)
        )


@pytest.mark.parametrize("part", sorted(stored()))
def test_state_is_refused_when_a_part_is_missing(part):
    """No part is made up."""
    values = stored()
    del values[part]
    with pytest.raises(StateError, match=f"{part}: missing"):
        WorkForecaster.from_values(
            {"work": values}, deployment="chat", settings=ForecastSettings(round_s=900, rounds=4)
        )
