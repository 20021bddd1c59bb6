"""Every rank decides from rank 0's stamp."""

from nodeagent.sglang_plugin.clock import PassClock, PassStamp


def test_clocks_agree_when_their_own_readings_are_skewed() -> None:
    """Two ranks with skewed clocks hold the same time after one broadcast."""
    readings = iter([100.0, 100.25])
    rank0 = PassClock(read=lambda: next(readings))
    rank1 = PassClock(read=lambda: 9999.0)
    assert rank0.poll() == 250.0
    stamp = rank0.stamp()
    for clock in (rank0, rank1):
        clock.receive(stamp)
    assert rank0.now_s == rank1.now_s == 100.25
    assert rank0.last_pass_ms == rank1.last_pass_ms == 250.0


def test_clock_stands_still_when_pass_has_no_stamp() -> None:
    """An idle pass keeps the last stamp, and says that it is not its own."""
    clock = PassClock(read=lambda: 5.0)
    clock.receive(PassStamp(now_s=7.0, last_pass_ms=1.0))
    clock.receive(None)
    assert not clock.is_stamped
    assert clock.now_s == 7.0


def test_clocks_agree_when_no_stamp_has_come_yet() -> None:
    """The pass that ends an engine's first idleness has no stamp, and no rank's own time."""
    ranks = [PassClock(read=lambda at=at: at) for at in (5.0, 9999.0)]
    for clock in ranks:
        clock.receive(None)
    assert ranks[0].now_s == ranks[1].now_s
