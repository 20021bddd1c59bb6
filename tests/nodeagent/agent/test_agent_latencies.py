"""Latency samples of a replica, and its lease."""

from nodeagent.latencies import Latencies
from nodeagent.lease import Lease
from planner.model import Slo
from planner.slo import Outcome

SLO = Slo(ttft_ms=100.0, itl_ms=50.0)


def test_a_gap_counts_when_it_happens_not_when_its_request_ends() -> None:
    """A stream that suffers now is seen now."""
    latencies = Latencies(SLO)
    with latencies.measure(arrived_s=0.0) as stream:
        stream.add(1, now_s=0.05)
        stream.add(2, now_s=0.25)
        summary = latencies.summarize(after_s=0.0)
        assert latencies.running == 1
    assert latencies.running == 0
    assert summary.requests == 0
    assert summary.itl_ms.count == 2  # one gap and a zero for the chunk of two
    assert round(summary.itl_ms.max) == 200


def test_requests_attain_or_miss_and_abandoned_ones_count_for_nothing() -> None:
    """Within targets: attained; failed: missed; the caller left: neither."""
    latencies = Latencies(SLO)
    for outcome, abandoned in (
        (Outcome.COMPLETED, False),
        (Outcome.FAILED, False),
        (Outcome.FAILED, True),
    ):
        with latencies.measure(arrived_s=0.0) as stream:
            stream.add(1, now_s=0.05)
            stream.is_abandoned = abandoned
            latencies.finish(stream, outcome, now_s=0.1)
    summary = latencies.summarize(after_s=0.0)
    assert (summary.requests, summary.attained) == (2, 1)


def test_a_report_holds_what_came_since_the_last_one() -> None:
    """Windows neither overlap nor lose a sample."""
    latencies = Latencies(SLO)
    counts = []
    for second in range(1, 4):
        for _ in range(second):
            with latencies.measure(arrived_s=second - 0.5) as stream:
                stream.add(1, now_s=second - 0.4)
                latencies.finish(stream, Outcome.COMPLETED, now_s=second - 0.3)
        counts.append(latencies.take_report(now_s=float(second)).requests)
    assert counts == [1, 2, 3]
    assert latencies.summarize(after_s=0.0).requests == 6


def test_lease_runs_from_each_grant_and_refuses_a_lower_epoch() -> None:
    """A grant of a former leader renews nothing."""
    lease = Lease().welcomed(epoch=3, duration_s=10.0, now_s=100.0)
    assert lease.is_held(now_s=109.9)
    assert not lease.is_held(now_s=110.0)
    assert lease.granted(epoch=3, now_s=105.0).is_held(now_s=114.0)
    assert not lease.granted(epoch=2, now_s=105.0).is_held(now_s=111.0)
    assert lease.welcomed(epoch=2, duration_s=99.0, now_s=109.0) == lease
    assert not Lease().is_held(now_s=0.0)
