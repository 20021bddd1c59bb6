"""Histories of demand for forecast tests: counted from requests, or drawn with a seed."""

import math
import random
from collections.abc import Iterable

from planner.forecast.settings import DAY_S, ForecastSettings
from planner.forecast.work import WorkForecaster
from planner.latency.predictor import default_model
from planner.latency.work import request_work_ms
from planner.workload.request import WorkloadRequest

QUARTERS = ForecastSettings(round_s=900, rounds=4)
ROUNDS = ForecastSettings(round_s=15, rounds=4)
DAY = 96  # quarters
HOUR = 4


def worker(
    rates: Iterable[float | None] = (),
    *,
    settings: ForecastSettings = QUARTERS,
    expected: float | None = None,
    start: int = 0,
) -> WorkForecaster:
    """A forecaster that has seen those rounds; None: a missing one."""
    made = WorkForecaster("chat", settings=settings, expected_work=expected)
    for index, rate in enumerate(rates, start):
        if rate is not None:
            made.observe(index, rate)
    return made


def noisy(rates: Iterable[float], *, seed: int = 0, ratio: float = 0.05) -> list[float]:
    """Rates that deviate by 5 %."""
    source = random.Random(seed)
    return [max(0.0, rate * (1.0 + ratio * source.gauss(0, 1))) for rate in rates]


def daily_rate(at_s: float) -> float:
    """A day between 0.15 at five at night and 1.85 at five in the afternoon; mean 1."""
    return 1.0 + 0.85 * math.sin(2 * math.pi * (at_s / DAY_S - 11 / 24))


def day_rates(days: float, *, settings: ForecastSettings = QUARTERS) -> list[float]:
    """The rate of each round over days of that shape."""
    count = int(days * settings.day_rounds)
    return [daily_rate((index + 0.5) * settings.round_s) for index in range(count)]


def service(
    seed: int, *, days: int, requests_per_s: float, settings: ForecastSettings
) -> list[tuple[int, float]]:
    """Arrival rates of a service with days, weekends at 40 %, and a rate that wanders.

    Counts are Poisson; the log-rate wanders by 0.15 over two hours.
    """
    source = random.Random(seed)
    wander, kept = source.gauss(0, 0.15), math.exp(-settings.round_s / 7200.0)
    history = []
    for index in range(int(days * settings.day_rounds)):
        at_s = (index + 0.5) * settings.round_s
        rate = requests_per_s * daily_rate(at_s) * (0.4 if at_s // DAY_S % 7 >= 5 else 1.0)
        count = poisson(rate * math.exp(wander) * settings.round_s, source)
        history.append((index, count / settings.round_s))
        wander = kept * wander + source.gauss(0, 0.15 * math.sqrt(1 - kept * kept))
    return history


def poisson(mean: float, source: random.Random) -> int:
    """A Poisson count: exactly below 50, above as a normal."""
    if mean > 50.0:
        return max(0, round(source.gauss(mean, math.sqrt(mean))))
    count, chance = 0, source.random()
    while chance > math.exp(-mean):
        count, chance = count + 1, chance * source.random()
    return count


def counted(
    requests: Iterable[WorkloadRequest], *, settings: ForecastSettings
) -> dict[str, list[tuple[int, float]]]:
    """Arrivals, prompt tokens, output tokens and work per second, by round of arrival.

    The first round and the last, which the trace may cover in part only, are left out.
    """
    model = default_model("a100-80gb")
    sums: dict[int, list[float]] = {}
    for request in requests:
        values = sums.setdefault(int(request.at_s // settings.round_s), [0.0] * 4)
        work = request_work_ms(
            model,
            prompt_tokens=request.prompt_tokens,
            cached_tokens=0,
            output_tokens=request.output_tokens,
        )
        counts = (1.0, float(request.prompt_tokens), float(request.output_tokens), work)
        for at, count in enumerate(counts):
            values[at] += count / settings.round_s
    nothing = [0.0] * 4
    indices = range(min(sums) + 1, max(sums))
    return {
        name: [(index, sums.get(index, nothing)[at]) for index in indices]
        for at, name in enumerate(("arrivals", "prompt tokens", "output tokens", "work"))
    }
