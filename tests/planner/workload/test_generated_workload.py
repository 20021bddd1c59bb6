"""The generated workload against the statistics it claims."""

import statistics
from collections import Counter
from collections.abc import Sequence

import pytest
from distances import kolmogorov_smirnov
from trace_files import public_file

from planner.slo import quantile
from planner.workload.generate import AZURE_REQUESTS_PER_S, generate, rate_steps
from planner.workload.request import WorkloadRequest
from planner.workload.traces import read_trace

_DURATION_S = 3502.0


@pytest.fixture(scope="module")
def workload() -> tuple[WorkloadRequest, ...]:
    return generate(seed=7, duration_s=_DURATION_S)


def _dispersion(workload: Sequence[WorkloadRequest], window_s: float) -> float:
    """Variance over mean of the requests per window."""
    counts = Counter(int(request.at_s / window_s) for request in workload)
    full = [counts[i] for i in range(int(_DURATION_S / window_s))]
    return statistics.pvariance(full) / statistics.fmean(full)


def test_workload_is_the_same_when_the_seed_is() -> None:
    """A seed says everything, and another seed something else."""
    assert generate(seed=1, duration_s=30) == generate(seed=1, duration_s=30)
    assert generate(seed=1, duration_s=30) != generate(seed=2, duration_s=30)


def test_workload_arrives_in_order_within_its_duration(
    workload: tuple[WorkloadRequest, ...],
) -> None:
    """0 <= at_s < duration, never falling."""
    times = [request.at_s for request in workload]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] < _DURATION_S


def test_lengths_match_the_published_statistics(workload: tuple[WorkloadRequest, ...]) -> None:
    """Azure conversation trace: prompts 1155 / 1020 / 4142, outputs 211 / 129 / 601."""
    prompts = sorted(request.prompt_tokens for request in workload)
    outputs = sorted(request.output_tokens for request in workload)
    assert statistics.fmean(prompts) == pytest.approx(1155, rel=0.03)
    assert quantile(prompts, 0.5) == pytest.approx(1020, rel=0.03)
    assert quantile(prompts, 0.99) == pytest.approx(4142, rel=0.05)
    assert statistics.fmean(outputs) == pytest.approx(211, rel=0.04)
    assert quantile(outputs, 0.5) == pytest.approx(129, rel=0.04)
    assert quantile(outputs, 0.99) == pytest.approx(601, rel=0.06)


def test_arrivals_match_the_traces_bursts_when_averaged_over_seeds() -> None:
    """Poisson at 0.1 s, ever more dispersed over longer windows; minutes swing 2x to 3x."""
    workloads = [generate(seed=seed, duration_s=_DURATION_S) for seed in range(8)]
    measured_on_trace = {0.1: 1.06, 1.0: 1.39, 10.0: 3.86, 60.0: 16.1}
    for window_s, dispersion in measured_on_trace.items():
        mean = statistics.fmean(_dispersion(w, window_s) for w in workloads)
        assert mean == pytest.approx(dispersion, rel=0.2), window_s
    swings = []
    for workload in workloads:
        minutes = Counter(int(request.at_s // 60) for request in workload)
        full = [minutes[i] for i in range(58)]
        swings.append(max(full) / min(full))
    assert 1.8 <= statistics.fmean(swings) <= 3.2


def test_mean_rate_is_the_one_asked_for_when_the_rate_wanders() -> None:
    """The envelope is normalised, so that loads of different seeds compare."""
    steps = rate_steps(seed=3, duration_s=120.25, requests_per_s=4.0)
    expected = sum(step.requests_per_s * step.duration_s for step in steps)
    assert expected == pytest.approx(4.0 * 120.25)
    assert max(s.requests_per_s for s in steps) > 1.2 * min(s.requests_per_s for s in steps)


@pytest.mark.parametrize(("duration_s", "rate"), [(0, 1), (-1, 1), (10, 0), (10, -2)])
def test_workload_is_refused_when_duration_or_rate_is_not_positive(
    duration_s: float, rate: float
) -> None:
    """Says what was given."""
    with pytest.raises(ValueError, match="must be > 0"):
        generate(seed=0, duration_s=duration_s, requests_per_s=rate)


def test_lengths_and_rate_match_the_real_trace_when_present(
    workload: tuple[WorkloadRequest, ...],
) -> None:
    """Kolmogorov-Smirnov distance of both length distributions below 4 %."""
    with public_file("azure_llm_2023_conv.csv").open() as lines:
        real = read_trace(lines)
    assert len(real) / real[-1].at_s == pytest.approx(AZURE_REQUESTS_PER_S, rel=0.001)
    for length in ("prompt_tokens", "output_tokens"):
        ours = [getattr(request, length) for request in workload]
        theirs = [getattr(request, length) for request in real]
        assert kolmogorov_smirnov(ours, theirs) < 0.04, length
