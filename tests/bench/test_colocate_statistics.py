"""The bootstrap of paired ratios."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.statistics import (
    Draw,
    Interval,
    Verdict,
    bootstrap,
    draws,
    quantile_of,
    ratio,
    verdict,
    whole,
)
from planner.slo import quantile

_samples = st.lists(st.floats(0.0, 1e6), min_size=1, max_size=60)


def _mean_ratio(mine: list[np.ndarray], other: list[np.ndarray]):
    def statistic(draw: Draw) -> float:
        return ratio(
            float(sum(mine[r][b].sum() for r, b in draw)),
            float(sum(other[r][b].sum() for r, b in draw)),
        )

    return statistic


@given(_samples, st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
def test_quantile_equals_the_one_of_the_slo_when_samples_are_the_same(
    samples: list[float], share: float
) -> None:
    """Benches and attainment share one definition of a quantile."""
    assert quantile_of(np.array(samples), share) == quantile(sorted(samples), share)


@given(st.integers(0, 1000), st.floats(0.1, 10.0))
@settings(max_examples=25, deadline=None)
def test_interval_is_a_point_when_arms_differ_by_a_factor_only(seed: int, factor: float) -> None:
    """Pairing cancels all that the arrivals do to both arms, however they vary."""
    source = np.random.default_rng(seed)
    base = [source.lognormal(0.0, 2.0, size=count) for count in (5, 9, 7)]
    found = bootstrap(
        _mean_ratio([factor * b for b in base], base), blocks=[5, 9, 7], seed=seed, replicates=60
    )
    assert found.low == pytest.approx(factor)
    assert found.high == pytest.approx(factor)


def test_interval_covers_the_truth_about_as_often_as_said_when_blocks_are_independent() -> None:
    """95 % intervals of a ratio of means, 200 experiments with one round of 40 blocks."""
    source = np.random.default_rng(7)
    held = 0
    for number in range(200):
        base = source.gamma(4.0, size=40)
        mine = 1.3 * base * source.lognormal(-0.02, 0.2, size=40)
        found = bootstrap(_mean_ratio([mine], [base]), blocks=[40], seed=number, replicates=200)
        held += found.low <= 1.3 <= found.high
    assert 0.88 <= held / 200 <= 0.99


def test_interval_widens_when_rounds_disagree() -> None:
    """Rounds are resampled too: three rounds at 1, 2 and 3 are no certain 2."""
    base = [np.ones(10)] * 3
    mine = [np.full(10, value) for value in (1.0, 2.0, 3.0)]
    found = bootstrap(_mean_ratio(mine, base), blocks=[10] * 3, seed=0)
    assert found.value == pytest.approx(2.0)
    assert found.low < 1.5 < 2.5 < found.high


def test_draws_repeat_when_the_seed_does() -> None:
    """A report can be made again from its samples."""
    first = [[(r, b.tolist()) for r, b in d] for d in draws([3, 4], replicates=5, seed=1)]
    again = [[(r, b.tolist()) for r, b in d] for d in draws([3, 4], replicates=5, seed=1)]
    other = [[(r, b.tolist()) for r, b in d] for d in draws([3, 4], replicates=5, seed=2)]
    assert first == again != other
    assert [(r, b.tolist()) for r, b in whole([2, 1])] == [(0, [0, 1]), (1, [0])]


def test_interval_is_unbounded_when_resamples_cannot_tell() -> None:
    """A ratio over nothing is no evidence either way."""
    found = bootstrap(lambda _: math.nan, blocks=[4], seed=0, replicates=40)
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert verdict(found, "<= 1") is Verdict.CANNOT_TELL


@pytest.mark.parametrize(
    ("low", "high", "target", "expected"),
    [
        (0.9, 1.0, "<= 1.1", Verdict.MET),
        (1.2, 1.3, "<= 1.1", Verdict.NOT_MET),
        (1.0, 1.3, "<= 1.1", Verdict.CANNOT_TELL),
        (1.4, 2.0, ">= 1.3", Verdict.MET),
        (0.8, 1.2, ">= 1.3", Verdict.NOT_MET),
        (1.2, 1.4, ">= 1.3", Verdict.CANNOT_TELL),
        (1.1, 1.1, "<= 1.1", Verdict.MET),
    ],
)
def test_verdict_needs_the_whole_interval_when_it_says_met_or_not(
    low: float, high: float, target: str, expected: Verdict
) -> None:
    """What part of the interval contradicts, the run cannot tell."""
    assert verdict(Interval(value=(low + high) / 2, low=low, high=high), target) is expected


def test_bootstrap_refuses_when_there_is_nothing_to_draw() -> None:
    """No round, or a round without a block."""
    for blocks in ([], [3, 0]):
        with pytest.raises(ValueError, match="need >= 1"):
            bootstrap(lambda _: 1.0, blocks=blocks, seed=0)
