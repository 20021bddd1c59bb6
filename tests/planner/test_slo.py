"""Latencies and attainment, as style.md defines them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.model import Slo
from planner.slo import (
    Chunk,
    Outcome,
    RequestTrace,
    attains,
    gaps_ms,
    quantile,
    quantiles,
    summarize,
    tpot_ms,
    ttft_ms,
)


def _trace(
    *chunks: tuple[float, int], outcome: Outcome = Outcome.COMPLETED, scheduled_s: float = 0.0
) -> RequestTrace:
    return RequestTrace(
        scheduled_s=scheduled_s,
        chunks=tuple(Chunk(at_s=at_s, tokens=tokens) for at_s, tokens in chunks),
        outcome=outcome,
    )


def test_ttft_counts_from_the_scheduled_send_when_the_send_was_late() -> None:
    """A generator or client that fell behind does not hide its delay."""
    assert ttft_ms(_trace((10.5, 1), scheduled_s=10.0)) == pytest.approx(500)
    assert ttft_ms(_trace()) is None


def test_chunk_is_one_gap_and_zeros_when_it_carries_several_tokens() -> None:
    """Many tokens in one chunk: one gap and k - 1 zeros, also in the first chunk."""
    assert gaps_ms(_trace((1.0, 2), (1.25, 3))) == pytest.approx([0, 250, 0, 0])


@given(chunks=st.lists(st.tuples(st.floats(0, 100), st.integers(1, 9)), max_size=30))
def test_gaps_sum_to_the_stream_and_average_to_tpot_when_chunks_vary(
    chunks: list[tuple[float, int]],
) -> None:
    """However tokens are coalesced, there are n - 1 gaps and their mean is TPOT."""
    trace = _trace(*sorted(chunks))
    gaps = gaps_ms(trace)
    assert len(gaps) == max(0, trace.output_tokens - 1)
    mean_ms = tpot_ms(trace)
    if gaps:
        assert mean_ms == pytest.approx(math.fsum(gaps) / len(gaps), abs=1e-6)
    else:
        assert mean_ms is None


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.SHED, Outcome.TIMED_OUT])
def test_request_misses_when_it_did_not_complete(outcome: Outcome) -> None:
    """Failed, shed and timed-out requests miss, however fast their tokens came."""
    assert not attains(_trace((0.01, 1), outcome=outcome), Slo(ttft_ms=100, itl_ms=10))


def test_request_attains_when_99_of_100_gaps_meet_the_target() -> None:
    """Per gap: at least 99 % of the request's gaps."""
    slo = Slo(ttft_ms=100, itl_ms=10)
    chunks = [(0.005 * i, 1) for i in range(100)]
    one_late = _trace(*chunks, (0.495 + 0.5, 1))
    two_late = _trace(*chunks, (0.495 + 0.5, 1), (0.495 + 1.0, 1))
    assert attains(one_late, slo)
    assert not attains(two_late, slo)


def test_request_misses_when_its_first_token_is_late() -> None:
    """TTFT binds whatever the gaps are; a single token has none."""
    assert not attains(_trace((0.2, 1)), Slo(ttft_ms=100, itl_ms=10))
    assert attains(_trace((0.1, 1)), Slo(ttft_ms=100, itl_ms=10))


def test_tpot_target_forgives_a_long_gap_when_the_mean_holds_and_the_gap_is_allowed() -> None:
    """Slack accrues over the request, up to the stated maximum single gap."""
    fast_then_slow = _trace(*((0.01 * i, 1) for i in range(10)), (0.19, 1))
    assert attains(fast_then_slow, Slo(ttft_ms=100, tpot_ms=20, max_gap_ms=150))
    assert not attains(fast_then_slow, Slo(ttft_ms=100, tpot_ms=20, max_gap_ms=90))
    assert not attains(fast_then_slow, Slo(ttft_ms=100, tpot_ms=15, max_gap_ms=150))


@given(
    samples=st.lists(st.floats(0, 1e6), min_size=1, max_size=200),
    share=st.floats(0.01, 1.0),
)
def test_quantile_is_the_least_sample_that_covers_the_share(
    samples: list[float], share: float
) -> None:
    """Exact: at least `share` of the samples do not exceed it, and no smaller one does."""
    ordered = sorted(samples)
    value = quantile(ordered, share)
    wanted = share * len(ordered)
    assert sum(s <= value for s in ordered) >= wanted - 1e-9
    assert sum(s < value for s in ordered) < wanted + 1e-9


def test_quantiles_are_exact_when_samples_are_known() -> None:
    """1..100: the median is 50 and P99 is 99."""
    figures = quantiles(range(100, 0, -1))
    assert (figures.p50, figures.p90, figures.p99, figures.max) == (50, 90, 99, 100)
    assert figures.mean == 50.5


def test_summary_counts_every_end_when_requests_end_differently() -> None:
    """Requests divide into their ends; attainment is over all of them."""
    slo = Slo(ttft_ms=100, itl_ms=50)
    summary = summarize(
        [
            _trace((0.05, 1), (0.06, 2)),
            _trace((0.5, 1)),
            _trace(outcome=Outcome.SHED),
            _trace(outcome=Outcome.TIMED_OUT),
            _trace((0.05, 1), outcome=Outcome.FAILED),
        ],
        slo,
    )
    assert (summary.completed, summary.shed, summary.timed_out, summary.failed) == (2, 1, 1, 1)
    assert summary.attainment_ratio == pytest.approx(0.2)
    assert summary.ttft_ms.count == 3
    assert summary.output_tokens == 5


def test_attainment_is_whole_when_there_were_no_requests() -> None:
    """Nothing was missed."""
    assert summarize([], Slo(ttft_ms=1, itl_ms=1)).attainment_ratio == 1.0
