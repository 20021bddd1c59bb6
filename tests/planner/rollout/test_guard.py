"""The local safety of a replica."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from planner.model import Slo
from planner.rollout.guard import GuardReading, GuardSettings, GuardState, judge

SLO = Slo(ttft_ms=1000.0, itl_ms=100.0, attainment_ratio=0.99)
SETTINGS = GuardSettings()
CALM = GuardReading(
    now_s=0.0, telemetry_age_s=0.3, requests=50, attained=50, gaps=500, itl_p99_ms=60.0
)
SLOW = replace(CALM, itl_p99_ms=150.0)


def _judge(state: GuardState, reading: GuardReading) -> GuardState:
    return judge(state, reading, slo=SLO, settings=SETTINGS)


def test_guard_cuts_at_once_when_itl_p99_exceeds_its_target() -> None:
    """The very reading that shows the breach cuts, and says what was seen and allowed."""
    state = _judge(GuardState(), SLOW)
    assert state.is_cut
    assert "150" in state.reason
    assert "100" in state.reason


def test_guard_does_nothing_when_samples_are_few() -> None:
    """Two misses, or a slow gap among thirty, are no breach."""
    few = replace(SLOW, gaps=30, requests=2, attained=0)
    assert not _judge(GuardState(), few).is_cut


def test_guard_cuts_when_misses_burn_the_allowance() -> None:
    """At a target of 99 %, more than ten times the allowed misses cut; fewer do not."""
    assert _judge(GuardState(), replace(CALM, attained=44)).is_cut
    assert not _judge(GuardState(), replace(CALM, attained=46)).is_cut


def test_guard_cuts_when_telemetry_went_silent_but_not_before_it_was_heard() -> None:
    """Silence is a breach; an engine never heard is the gate's to refuse."""
    assert _judge(GuardState(), replace(CALM, telemetry_age_s=3.5)).is_cut
    assert not _judge(GuardState(), replace(CALM, telemetry_age_s=None)).is_cut


def test_guard_restores_when_the_hold_passed_without_a_breach() -> None:
    """The hold counts from the last breach, not from the cut."""
    state = _judge(GuardState(), SLOW)
    state = _judge(state, replace(SLOW, now_s=4.0))
    state = _judge(state, replace(CALM, now_s=8.5))
    assert state.is_cut
    assert not _judge(state, replace(CALM, now_s=9.0)).is_cut


def test_guard_doubles_the_hold_when_it_relapses_and_forgives_after_a_while() -> None:
    """Relapses soon after a restore hold longer, up to a bound; a late one does not."""
    holds, now_s, state = [], 0.0, GuardState()
    for _ in range(7):
        state = _judge(state, replace(SLOW, now_s=now_s))
        holds.append(state.hold_s)
        now_s += state.hold_s
        state = _judge(state, replace(CALM, now_s=now_s))
        assert not state.is_cut
        now_s += 1.0
    assert holds == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0]
    late = _judge(state, replace(SLOW, now_s=now_s + SETTINGS.relapse_s))
    assert late.hold_s == SETTINGS.first_hold_s


@given(st.lists(st.tuples(st.floats(0.1, 3.0), st.booleans()), max_size=60))
def test_guard_never_restores_within_its_hold(steps: list[tuple[float, bool]]) -> None:
    """Whatever the readings, between a breach and a restore lies at least the hold."""
    now_s, state = 0.0, GuardState()
    for wait_s, is_slow in steps:
        now_s += wait_s
        before = state
        state = _judge(state, replace(SLOW if is_slow else CALM, now_s=now_s))
        if is_slow:
            assert state.is_cut
        if before.is_cut and not state.is_cut:
            assert before.last_breach_s is not None
            assert now_s - before.last_breach_s >= before.hold_s
