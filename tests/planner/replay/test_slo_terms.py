"""An SLO as people write it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.replay.terms import STATISTICS, SloError, SloTerm, limits, slo_term, slo_terms
from planner.slo import quantiles

TTFT, ITL = quantiles([100.0, 200.0, 600.0]), quantiles([10.0, 20.0, 60.0])


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("itl_p99=80ms", SloTerm(statistic="itl_p99", limit_ms=80.0)),
        ("ttft_mean=1.5s", SloTerm(statistic="ttft_mean", limit_ms=1500.0)),
        (" ITL_P50 = 10 % ", SloTerm(statistic="itl_p50", tolerance_ratio=0.1)),
        ("ttft_p99=0%", SloTerm(statistic="ttft_p99", tolerance_ratio=0.0)),
    ],
)
def test_limit_is_read_with_its_unit(text, term):
    """Milliseconds, seconds or a tolerance; blanks and case mean nothing."""
    assert slo_term(text) == term


@given(st.text(max_size=20))
def test_what_is_no_limit_is_refused_with_what_is_allowed(text):
    """Whatever the text, a term or one error that teaches."""
    try:
        term = slo_term(text)
    except SloError as error:
        assert "itl_p99" in str(error)
    else:
        assert term.statistic in STATISTICS


@pytest.mark.parametrize(
    "text", ["itl_p99=-1ms", "itl_p99=nanms", "itl_p99=infs", "itl_p99=-5%", "itl_p99=nan%"]
)
def test_limit_out_of_range_is_refused(text):
    """A limit must be finite and above 0, a tolerance not negative."""
    with pytest.raises(SloError, match="must be finite"):
        slo_term(text)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_tolerance_is_over_what_online_alone_has(statistic):
    """Of the very statistic that is limited."""
    target = slo_term(f"{statistic}=25%").target(ttft=TTFT, itl=ITL)
    metric, figure = statistic.split("_")
    baseline_ms = getattr({"ttft": TTFT, "itl": ITL}[metric], figure)
    assert (target.statistic, target.baseline_ms) == (f"{statistic}_ms", baseline_ms)
    assert target.limit_ms == pytest.approx(1.25 * baseline_ms)
    assert getattr(limits([target]), target.statistic) == target.limit_ms


def test_tolerance_needs_something_to_be_over():
    """Without samples there is no limit; an absolute one needs none."""
    with pytest.raises(SloError, match="replay more requests"):
        slo_term("itl_p99=10%").target(ttft=TTFT, itl=quantiles([]))
    assert slo_term("itl_p99=9ms").target(ttft=TTFT, itl=quantiles([])).limit_ms == 9.0


def test_statistic_is_limited_once():
    """Two limits on one statistic are a mistake, two statistics are not."""
    assert len(slo_terms(["itl_p99=10%", "ttft_p99=10%"])) == 2
    with pytest.raises(SloError, match="2 times"):
        slo_terms(["itl_p99=10%", "itl_p99=30ms"])
