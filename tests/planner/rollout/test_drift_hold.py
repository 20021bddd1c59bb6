"""When drift holds offline work, and when it lets go."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.latency.coefficients import Coefficients
from planner.latency.drift import DriftLimits
from planner.latency.features import BatchShape
from planner.latency.predictor import LatencyModel
from planner.rollout.drift_hold import DriftHold, DriftSettings

SETTINGS = DriftSettings(limits=DriftLimits())  # tighter than the default: fewer samples
ENOUGH = SETTINGS.limits.min_iterations
CALIBRATED = Coefficients(constant=10.0, margin_ratio=0.2, coverage_ratio=0.9)
MODEL = LatencyModel(identity="m|cpu|tp1|fit1", decode=CALIBRATED, prefill=CALIBRATED)
DECODE = BatchShape().with_decode(context_tokens=8)
PREFILL = BatchShape().with_prefill(new_tokens=64, cached_tokens=0)


def _hold(model: LatencyModel | None = MODEL, settings: DriftSettings = SETTINGS) -> DriftHold:
    hold = DriftHold(replica="r1", settings=settings)
    hold.use(model, now_s=0.0)
    return hold


def _run(
    hold: DriftHold,
    *,
    now_s: float,
    slowdown: float = 1.0,
    count: int = ENOUGH,
    shape: BatchShape = DECODE,
) -> bool:
    """An engine that takes `slowdown` times what is predicted. Returns whether it is held."""
    for _ in range(count):
        hold.add(shape, predicted_ms=10.0, bound_ms=12.0, measured_ms=10.0 * slowdown)
    hold.judge(now_s=now_s)
    return bool(hold.reason)


def test_offline_is_held_at_once_when_predictions_are_far_off() -> None:
    """The judgement that sees it holds, and names replica, numbers, limit and remedy."""
    hold = _hold()
    assert not _run(hold, now_s=0.0, slowdown=2.0, count=ENOUGH - 1)
    assert _run(hold, now_s=1.0, slowdown=2.0, count=1)
    for word in ("r1", "decode", MODEL.identity, "10.0 ms", "20.0 ms", "50%", "30%", "refit"):
        assert word in hold.reason


def test_offline_is_held_when_bounds_hold_less_often_than_promised() -> None:
    """A quarter of the iterations beyond their bound: the mean is fine, the promise is not."""
    hold = _hold()
    _run(hold, now_s=0.0, count=3 * ENOUGH)
    assert _run(hold, now_s=1.0, slowdown=1.35, count=ENOUGH)
    for word in ("75% within", "90%", "80%"):
        assert word in hold.reason


def test_hold_ends_for_a_trial_when_online_alone_stays_wrong() -> None:
    """A breach at every judgement holds no longer than the longest hold."""
    hold = _hold()
    now_s = 0.0
    while _run(hold, now_s=now_s, slowdown=3.0):
        assert hold.held_s(now_s=now_s) == now_s
        now_s += 5.0
    assert now_s == SETTINGS.longest_hold_s
    assert hold.held_s(now_s=now_s) == 0.0


def test_default_holds_for_another_engine_and_not_for_a_busy_machine() -> None:
    """Three times as slow; a third slower for one iteration in five."""
    assert _run(_hold(settings=DriftSettings()), now_s=0.0, slowdown=3.0)
    busy = _hold(settings=DriftSettings())
    for number in range(3 * ENOUGH):
        slowdown = 1.35 if number % 5 == 0 else 1.1
        busy.add(DECODE, predicted_ms=10.0, bound_ms=12.0, measured_ms=10.0 * slowdown)
    busy.judge(now_s=1.0)
    assert not busy.reason


@pytest.mark.parametrize("slowdown", [1.0, 1.15, 0.3])
def test_offline_is_not_held_when_predictions_are_good_or_nothing_ran(slowdown: float) -> None:
    """Within the limits, empty, or far below what was predicted: online does not suffer."""
    hold = _hold()
    hold.judge(now_s=0.0)
    assert not hold.reason
    assert not _run(hold, now_s=1.0, slowdown=slowdown, count=1000)


def test_offline_is_not_held_for_a_default_which_promises_nothing() -> None:
    """Neither an unknown model nor an uncalibrated kind of a fitted one is judged."""
    assert not _run(_hold(None), now_s=0.0, slowdown=9.0)
    mixed = replace(MODEL, prefill=replace(CALIBRATED, coverage_ratio=0.0))
    assert not _run(_hold(mixed), now_s=0.0, slowdown=9.0, shape=PREFILL)
    assert _run(_hold(mixed), now_s=0.0, slowdown=9.0, shape=DECODE)


def test_kinds_are_judged_apart() -> None:
    """Good decodes, however many, do not hide wrong prefills."""
    hold = _hold()
    _run(hold, now_s=0.0, count=5000)
    assert _run(hold, now_s=1.0, slowdown=2.0, shape=PREFILL)
    assert "prefill iterations" in hold.reason
    assert "decode iterations" not in hold.reason


def test_hold_ends_when_online_passes_are_predicted_well_for_its_length() -> None:
    """Not at the first good window, but once the hold has passed without a breach."""
    hold = _hold()
    _run(hold, now_s=0.0, slowdown=2.0)
    for second in range(1, 30):
        assert _run(hold, now_s=float(second))
    assert not _run(hold, now_s=30.0)
    assert not _run(hold, now_s=31.0)  # the window of the hold left nothing behind


def test_hold_lasts_while_online_passes_are_predicted_wrongly() -> None:
    """Each further breach starts the wait anew."""
    hold = _hold()
    for second in range(0, 200, 10):
        assert _run(hold, now_s=float(second), slowdown=2.0)
    assert _run(hold, now_s=219.0, count=0)
    assert not _run(hold, now_s=220.0, count=0)


def test_hold_lasts_when_predictions_are_only_just_within_the_limit() -> None:
    """What would not begin a hold goes on with one: 28 % against 30 %, or 24 while held."""
    settings = DriftSettings(limits=DriftLimits(max_coverage_lack=1.0))  # errors alone
    hold = _hold(settings=settings)
    near = 1.0 / (1.0 - 0.28)
    assert not _run(hold, now_s=0.0, slowdown=near)
    assert _run(hold, now_s=1.0, slowdown=3.0, count=512)
    assert _run(hold, now_s=30.0, slowdown=near)
    assert _run(hold, now_s=59.0, count=0)
    assert not _run(hold, now_s=60.0, count=0)
    assert not _run(hold, now_s=61.0, slowdown=near)
    assert SETTINGS.held_limits.max_error_ratio == pytest.approx(0.24)


def test_hold_ends_when_nothing_runs_that_could_tell() -> None:
    """Its own wrong iterations are spent: silence, or a handful, releases after the hold."""
    hold = _hold()
    _run(hold, now_s=0.0, slowdown=2.0, count=512)
    assert _run(hold, now_s=29.0, slowdown=2.0, count=ENOUGH - 1)
    assert not _run(hold, now_s=30.0, count=0)


def test_hold_ends_when_only_the_other_kind_still_runs() -> None:
    """Prefills were wrong and only decodes are left: a trial tells, after the hold."""
    hold = _hold()
    _run(hold, now_s=0.0, slowdown=2.0, shape=PREFILL)
    assert _run(hold, now_s=29.0)
    assert not _run(hold, now_s=30.0)


def test_hold_ends_when_its_kind_was_refitted_and_not_when_the_other_was() -> None:
    """New coefficients start with an empty window; the same ones under a new name do not."""
    hold = _hold()
    _run(hold, now_s=0.0, slowdown=2.0)
    other = replace(MODEL, identity="m|cpu|tp1|fit2", prefill=replace(CALIBRATED, constant=20.0))
    assert hold.use(other, now_s=1.0)
    assert hold.reason
    assert hold.use(None, now_s=2.0)  # an engine that restarts runs a default first
    assert hold.use(other, now_s=3.0)
    assert hold.reason
    _run(hold, now_s=3.5, slowdown=2.0, count=ENOUGH - 1)
    hold.use(replace(other, decode=replace(CALIBRATED, constant=20.0)), now_s=4.0)
    assert not hold.reason
    assert not _run(hold, now_s=5.0, slowdown=2.0, count=1)


def test_window_survives_when_a_refit_left_its_kind_alone() -> None:
    """Or a kind that comes rarely would be forgotten with every refit of the other."""
    hold = _hold()
    _run(hold, now_s=0.0, slowdown=2.0, count=ENOUGH - 1)
    hold.use(None, now_s=1.0)
    hold.use(replace(MODEL, identity="m|cpu|tp1|fit2"), now_s=2.0)
    assert _run(hold, now_s=3.0, slowdown=2.0, count=1)


def test_hold_doubles_when_it_relapses_and_is_forgiven_after_a_while() -> None:
    """An engine that cannot be predicted is not swung between two states."""
    hold, now_s, lengths = _hold(), 0.0, []
    for _ in range(6):
        assert _run(hold, now_s=now_s, slowdown=2.0)
        began_s = now_s
        while hold.reason:
            now_s += 1.0
            hold.judge(now_s=now_s)
        lengths.append(now_s - began_s)
        now_s += 5.0
    assert lengths == [30.0, 60.0, 120.0, 240.0, 300.0, 300.0]
    now_s += SETTINGS.relapse_s
    assert _run(hold, now_s=now_s, slowdown=2.0)
    assert _run(hold, now_s=now_s + 29.0, count=0)
    assert not _run(hold, now_s=now_s + 30.0, count=0)


@given(
    steps=st.lists(
        st.tuples(
            st.floats(0.1, 20.0),
            st.sampled_from([1.0, 1.2, 1.35, 2.0, float("nan")]),
            st.integers(0, 200),
            st.sampled_from([DECODE, PREFILL]),
        ),
        max_size=40,
    )
)
def test_hold_is_never_short_and_never_for_ever(
    steps: list[tuple[float, float, int, BatchShape]],
) -> None:
    """Whatever was measured: a hold lasts its first length at least, and once nothing runs
    any more it ends within the longest.
    """
    hold, now_s, held_since_s = _hold(), 0.0, None
    for wait_s, slowdown, count, shape in steps:
        now_s += wait_s
        is_held = _run(hold, now_s=now_s, slowdown=slowdown, count=count, shape=shape)
        if is_held and held_since_s is None:
            held_since_s = now_s
        if not is_held and held_since_s is not None:
            assert now_s - held_since_s >= SETTINGS.first_hold_s - 1e-6
            held_since_s = None
    hold.judge(now_s=now_s + SETTINGS.longest_hold_s)
    assert not hold.reason


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"held_ratio": 0.0}, "held_ratio"),
        ({"held_ratio": 1.1}, "held_ratio"),
        ({"first_hold_s": 0.0}, "holds from"),
        ({"first_hold_s": 400.0}, "holds from"),
        ({"longest_hold_s": float("inf")}, "holds from"),
        ({"first_hold_s": float("nan")}, "holds from"),
        ({"bound_tolerance": 0.9}, "bound_tolerance"),
        ({"bound_tolerance": float("nan")}, "bound_tolerance"),
        ({"error_lack": -0.1}, "error_lack"),
        ({"error_lack": 1.0}, "error_lack"),
    ],
)
def test_settings_refuse_what_no_hold_is_judged_by(change: dict[str, float], word: str) -> None:
    """The message names the number."""
    with pytest.raises(ValueError, match=word):
        DriftSettings(**change)  # type: ignore[arg-type]
