"""Histories of demand for forecast tests: counted from requests, or drawn with a seed."""

import math
import random
from collections.abc import Iterable, Iterator

from planner.forecast.bins import DAY_S, DemandBin, ForecastSettings, Prior
from planner.forecast.forecast import DemandForecaster
from planner.workload.generate import RateStep, arrivals, azure_lengths, requests_at
from planner.workload.request import WorkloadRequest

QUARTERS = ForecastSettings(bin_s=300, round_s=900, slot_s=900, rounds=4)
PRIOR = Prior(arrivals_per_s=0.1, prompt_tokens=1000, output_tokens=200)


def forecaster(
    settings: ForecastSettings = QUARTERS, prior: Prior = PRIOR, bins: Iterable[DemandBin] = ()
) -> DemandForecaster:
    """A forecaster that has seen those bins."""
    made = DemandForecaster(deployment="chat", slo_class="tight", settings=settings, prior=prior)
    for one in bins:
        made.observe(one)
    return made


def counted(requests: Iterable[WorkloadRequest], *, bin_s: int, count: int) -> list[DemandBin]:
    """Requests counted in the first bins; tokens in the bin of their request's arrival."""
    sums = [[0, 0, 0] for _ in range(count)]
    for request in requests:
        index = int(request.at_s // bin_s)
        if index < count:
            sums[index][0] += 1
            sums[index][1] += request.prompt_tokens
            sums[index][2] += request.output_tokens
    return [
        DemandBin(index=index, arrivals=one[0], prompt_tokens=one[1], output_tokens=one[2])
        for index, one in enumerate(sums)
    ]


def daily_rate(at_s: float) -> float:
    """A day between 0.15 at five at night and 1.85 at five in the afternoon; mean 1."""
    return 1.0 + 0.85 * math.sin(2 * math.pi * (at_s / DAY_S - 11 / 24))


def weekly_rate(at_s: float) -> float:
    """The day, at 40 % on the last two days of the week."""
    return daily_rate(at_s) * (0.4 if at_s // DAY_S % 7 >= 5 else 1.0)


def service(
    seed: int, *, days: int, requests_per_s: float, wander: float = 0.15
) -> Iterator[WorkloadRequest]:
    """Requests of a service with days, weekends and a rate that wanders over two hours.

    Arrivals are Poisson; lengths are those of the Azure conversation trace.
    """
    return requests_at(
        arrivals(
            _steps(seed, days=days, requests_per_s=requests_per_s, wander=wander),
            random.Random(f"{seed}/arrivals"),
        ),
        lengths=azure_lengths,
        source=random.Random(f"{seed}/lengths"),
    )


def _steps(seed: int, *, days: int, requests_per_s: float, wander: float) -> Iterator[RateStep]:
    source = random.Random(f"{seed}/rate")
    step_s, kept = 60.0, math.exp(-60.0 / 7200.0)
    value = source.gauss(0, wander)
    for step in range(int(days * DAY_S / step_s)):
        at_s = step * step_s
        yield RateStep(
            start_s=at_s,
            duration_s=step_s,
            requests_per_s=requests_per_s * weekly_rate(at_s) * math.exp(value),
        )
        value = kept * value + source.gauss(0, wander * math.sqrt(1 - kept * kept))


def steady(
    rates: Iterable[float | None], *, seed: int = 0, settings: ForecastSettings = QUARTERS
) -> list[DemandBin]:
    """Bins whose counts deviate from their rate by 5 %; None: a missing bin.

    Prompts have 1000 tokens and outputs 200.
    """
    source = random.Random(seed)
    bins = []
    for index, rate in enumerate(rates):
        noise = 1.0 + 0.05 * source.gauss(0, 1)
        if rate is not None:
            count = max(0, round(rate * settings.bin_s * noise))
            bins.append(
                DemandBin(
                    index=index,
                    arrivals=count,
                    prompt_tokens=1000 * count,
                    output_tokens=200 * count,
                )
            )
    return bins


def day_rates(
    days: float, *, peak: float = 2.0, settings: ForecastSettings = QUARTERS
) -> list[float]:
    """Rates of each bin over days of the daily shape."""
    count = int(days * DAY_S / settings.bin_s)
    return [0.5 * peak * daily_rate(index * settings.bin_s) for index in range(count)]
