"""What a recording keeps of a replay."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.batching.decide import plan_iteration
from planner.batching.state import Budgets, WorkClass
from planner.latency.coefficients import Coefficients
from planner.latency.predictor import LatencyModel
from planner.replay.histogram import RESOLUTION_RATIO
from planner.replay.recording import Bins, Recording, bins_over
from planner.simulation.replay import replay
from planner.simulation.request import SimulatedRequest
from planner.simulation.settings import EngineSettings
from planner.simulation.workload import ClosedLoop

MODEL = LatencyModel(
    identity="test",
    decode=Coefficients(constant=4.0, decode_rows=0.5, coverage_ratio=0.9),
    prefill=Coefficients(constant=4.0, prefill_tokens=0.1, decode_rows=0.5, coverage_ratio=0.9),
)
BUDGETS = Budgets(latency_budget_ms=12.0, idle_budget_ms=30.0, min_chunk_tokens=8)


class Both:
    """A recording, and every pass and request beside it."""

    def __init__(self, bins):
        self.recording, self.passes, self.requests = Recording(bins), [], []

    def passed(self, record):
        self.recording.passed(record)
        self.passes.append(record)

    def settled(self, settled, *, at_s):
        self.recording.settled(settled, at_s=at_s)

    def ended(self, ended):
        self.recording.ended(ended)
        self.requests.append(ended)


def replayed(*, requests=120, from_s=2.0, to_s=12.0, bin_s=1.0):
    """Chat every tenth of a second beside a batch, recorded in a window."""
    online = (
        SimulatedRequest(
            rid=f"c{number}",
            work_class=WorkClass.ONLINE,
            at_s=number * 0.1,
            prompt_tokens=40 + number % 7 * 10,
            output_tokens=1 + number % 9,
        )
        for number in range(requests)
    )
    batch = (
        SimulatedRequest(
            rid=f"o{number}", work_class=WorkClass.OFFLINE, prompt_tokens=200, output_tokens=30
        )
        for number in range(100_000)
    )
    watch = Both(Bins(from_s=from_s, to_s=to_s, bin_s=bin_s))
    done = replay(
        settings=EngineSettings(
            kv_tokens=4096,
            chunked_prefill_size=128,
            max_running_requests=32,
            max_prefill_tokens=256,
        ),
        policy=plan_iteration,
        model=MODEL,
        budgets=BUDGETS,
        truth=MODEL.predict_ms,
        scheduled=online,
        clients=[ClosedLoop(source=batch, in_flight=8)],
        from_s=from_s,
        to_s=to_s,
        watch=watch,
    )
    return done, watch, watch.recording.recorded()


def test_bins_add_up_to_what_the_replay_counts():
    """Tokens of both classes, in the window alone."""
    done, _, recorded = replayed()
    assert sum(recorded.online_tokens) == done.online_tokens > 0
    assert sum(recorded.offline_prompt_tokens) == done.offline_prompt_tokens > 0
    assert sum(recorded.offline_output_tokens) == done.offline_output_tokens > 0
    assert recorded.offline_tokens_per_s == pytest.approx(done.offline_tokens_per_s)


def test_latencies_are_those_of_the_traces_kept():
    """Counted exactly, their quantiles within the resolution."""
    done, _, recorded = replayed()
    for found, exact in ((recorded.ttft_ms, done.ttft), (recorded.itl_ms, done.itl)):
        figures = found.quantiles()
        assert (figures.count, figures.max) == (exact.count, exact.max)
        assert figures.mean == pytest.approx(exact.mean)
        for name in ("p50", "p90", "p99"):
            assert getattr(figures, name) == pytest.approx(
                getattr(exact, name), rel=RESOLUTION_RATIO * 1.001
            )


def test_offered_load_is_that_of_the_window():
    """Requests sent in it, by when they were sent, whenever they end."""
    done, watch, recorded = replayed()
    assert sum(recorded.offered_requests) == len(done.online) == 100
    assert recorded.offered_requests == (10,) * 10
    tokens = [e.request.prompt_tokens + e.request.output_tokens for e in watch.requests
              if e.is_measured]  # fmt: skip
    assert sum(recorded.offered_tokens) == sum(tokens)


def test_iterations_count_by_whom_they_served():
    """Each that begins in the window once, by online and offline rows in it."""
    _, watch, recorded = replayed()
    inside = [p for p in watch.passes if 2.0 <= p.start_s < 12.0]
    kinds = [(p.run.online_rows > 0, p.run.offline_rows > 0) for p in inside]
    iterations = recorded.iterations
    assert iterations.shared.count == kinds.count((True, True)) > 0
    assert iterations.online.count == kinds.count((True, False))
    assert iterations.offline.count == kinds.count((False, True))
    assert iterations.count == len(inside)


def test_iterations_over_their_budget_are_counted():
    """Where the plan held offline work to one, and it lasted longer."""
    _, watch, recorded = replayed()
    held = [
        p for p in watch.passes
        if 2.0 <= p.start_s < 12.0 and p.run.offline_rows and p.run.plan.budget_ms > 0.0
    ]  # fmt: skip
    assert recorded.iterations.budgeted == len(held) > 0
    assert recorded.iterations.over_budget == sum(p.lasted_ms > p.run.plan.budget_ms for p in held)


def test_recording_is_no_longer_for_a_longer_trace():
    """Ten times the requests, equal bins: a few new durations are all that is more to keep."""
    sizes = []
    for requests in (200, 2000):
        to_s = requests * 0.1
        _, _, recorded = replayed(requests=requests, to_s=to_s, bin_s=to_s / 20.0)
        lists = (recorded.online_tokens, recorded.offered_tokens, recorded.ttft_ms.buckets,
                 recorded.itl_ms.buckets, recorded.iterations.shared.buckets)  # fmt: skip
        sizes.append(sum(len(values) for values in lists))
    assert sizes[1] <= 2 * sizes[0] < 400


@given(
    st.floats(0.0, 1e5),
    st.floats(1.0, 1e6),
    st.integers(1, 200),
)
def test_bins_cover_their_window_without_overlap(from_s, length_s, about):
    """Every moment of it is in one bin, none outside it is; their lengths add up."""
    bins = bins_over(from_s, from_s + length_s, about=about)
    assert bins.bin_s >= 1.0
    assert bins.count <= about + 1
    assert bins.bin_s == 1.0 or bins.count >= about / 2.5 - 1
    total_s = sum(bins.length_s(index) for index in range(bins.count))
    assert total_s == pytest.approx(bins.to_s - bins.from_s)
    assert bins.index(from_s) == 0
    assert bins.index(bins.to_s) is None and bins.index(from_s - 1.0) is None
    for share in (0.1, 0.5, 0.99):
        index = bins.index(from_s + share * length_s)
        start_s = from_s + index * bins.bin_s
        assert start_s - 1e-6 <= from_s + share * length_s <= start_s + bins.bin_s + 1e-6


@pytest.mark.parametrize(
    "broken", [{"to_s": 0.0}, {"bin_s": 0.0}, {"from_s": -1.0}, {"to_s": float("inf")}]
)
def test_bins_without_a_window_are_refused(broken):
    """An endless window cannot be divided."""
    good = Bins(from_s=0.0, to_s=10.0, bin_s=1.0)
    with pytest.raises(ValueError, match="bins of"):
        replace(good, **broken)


def test_rates_of_a_cut_bin_are_over_its_own_length():
    """The last one of 2.5 s in bins of 1 s is half as long."""
    assert Bins(from_s=0.0, to_s=2.5, bin_s=1.0).rates((10, 10, 10)) == (10.0, 10.0, 20.0)
