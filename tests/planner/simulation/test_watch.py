"""A watch is told each thing once and in order, and a run without traces stays small."""

import itertools
import tracemalloc
from collections import Counter
from dataclasses import replace

import pytest
from simulated_engines import offline, online, run, settings, unbounded

from planner.batching.state import WorkClass
from planner.simulation.settings import Loop
from planner.simulation.workload import ClosedLoop
from planner.slo import Outcome

LOOPS = list(Loop)


class Telling:
    """All that was told, in order."""

    def __init__(self):
        self.told = []

    def passed(self, record):
        self.told.append(("passed", record))

    def settled(self, settled, *, at_s):
        self.told.append(("settled", (settled, at_s)))

    def ended(self, ended):
        self.told.append(("ended", ended))

    def of(self, kind):
        return [what for said, what in self.told if said == kind]


def beside(count, *, in_flight=4):
    """A batch of that many."""
    return [ClosedLoop(source=(offline(f"off{i:06d}") for i in range(count)), in_flight=in_flight)]


def chat(count, *, gap_s=0.05):
    """Online requests, evenly."""
    return (online(f"on{i:06d}", at_s=gap_s * i) for i in range(count))


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("mixes", [False, True])
def test_each_pass_and_each_end_is_told_once(loop, mixes):
    """As many passes as the engine counted, each with its result; every request of either class."""
    watch = Telling()
    done = run(
        engine=settings(loop=loop, mixes=mixes),
        scheduled=chat(20),
        clients=beside(15),
        watch=watch,
    )
    assert len(watch.of("passed")) == done.counters.passes == len(watch.of("settled"))
    assert Counter(e.request.rid for e in watch.of("ended")) == Counter(
        [f"on{i:06d}" for i in range(20)] + [f"off{i:06d}" for i in range(15)]
    )
    for ended in watch.of("ended"):
        assert ended.trace.output_tokens == ended.request.output_tokens
        assert ended.trace.outcome is Outcome.COMPLETED
        assert ended.trace.scheduled_s == ended.request.at_s
    assert sum(s.emitted_tokens for s, _ in watch.of("settled")) == 35 * 5


@pytest.mark.parametrize("loop", LOOPS)
def test_what_is_told_comes_in_order_of_time(loop):
    """Passes do not overlap; a result is told after its pass, an end with its result."""
    watch = Telling()
    run(engine=settings(loop=loop), scheduled=chat(10), clients=beside(6), watch=watch)
    passes, results = watch.of("passed"), watch.of("settled")
    ends = [p.start_s + p.lasted_ms / 1e3 for p in passes]
    for before_s, after in zip(ends, passes[1:], strict=False):
        assert after.start_s >= before_s - 1e-12
    for end_s, (_, at_s) in zip(ends, results, strict=True):
        assert at_s >= end_s - 1e-12
    assert [at_s for _, at_s in results] == sorted(at_s for _, at_s in results)
    open_passes, last_s = 0, 0.0
    for kind, what in watch.told:
        if kind == "passed":
            open_passes += 1
        elif kind == "settled":
            open_passes -= 1
            last_s = what[1]
        else:
            assert what.trace.chunks[-1].at_s == last_s
        assert 0 <= open_passes <= (1 if loop is Loop.PLAIN else 2)


def test_watch_changes_nothing_that_is_measured():
    """The same run with it and without."""
    alone = run(scheduled=chat(10), clients=beside(8), from_s=0.1, to_s=0.4)
    assert run(scheduled=chat(10), clients=beside(8), from_s=0.1, to_s=0.4, watch=Telling()) == (
        alone
    )


def test_traces_told_are_the_ones_returned_when_sent_in_the_window():
    """`is_measured` of those alone, though ends before and after are told as well."""
    watch = Telling()
    done = run(scheduled=chat(20), clients=beside(30), from_s=0.25, to_s=0.75, watch=watch)
    measured = [e for e in watch.of("ended") if e.is_measured]
    assert all(e.request.work_class is WorkClass.ONLINE for e in measured)
    assert {e.request.rid for e in measured} == {
        f"on{i:06d}" for i in range(20) if 0.25 <= 0.05 * i < 0.75
    }
    in_order = sorted(measured, key=lambda e: e.request.at_s)
    assert tuple(e.trace for e in in_order) == done.online
    assert len(watch.of("ended")) > len(measured)


def test_run_without_traces_measures_all_the_rest_alike():
    """`online` stays empty; counts, shares and times do not change, nor what a watch is told."""
    asked = {"from_s": 0.1, "to_s": 0.8}
    one, other = Telling(), Telling()
    kept = run(scheduled=chat(15), clients=beside(20), watch=one, **asked)
    dropped = run(scheduled=chat(15), clients=beside(20), watch=other, keeps_traces=False, **asked)
    assert dropped.online == () and len(kept.online) == 13
    assert replace(kept, online=()) == dropped
    assert [e.trace for e in one.of("ended")] == [e.trace for e in other.of("ended")]


class Counting:
    """Keeps numbers alone."""

    passes = results = ends = 0

    def passed(self, record):
        self.passes += 1

    def settled(self, settled, *, at_s):
        self.results += 1

    def ended(self, ended):
        self.ends += 1


def _peak_bytes(count, **fields):
    """Most memory a run of so many online requests held beyond what it began with."""
    watch = Counting()
    batch = (offline(f"off{i:08d}") for i in itertools.count())
    tracemalloc.start()
    try:
        run(
            policy=unbounded,
            scheduled=chat(count),
            clients=[ClosedLoop(source=batch, in_flight=4)],
            to_s=0.05 * count,
            watch=watch,
            **fields,
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert watch.ends > count and watch.passes > count
    return peak


def test_memory_is_bounded_by_requests_in_flight_when_no_traces_are_kept():
    """A run ten times as long holds as much, where one with traces grows with its length."""
    _peak_bytes(600, keeps_traces=False)  # the interpreter's own free lists fill
    short, long = (_peak_bytes(n, keeps_traces=False) for n in (120, 1200))
    assert long < short + 65_536
    assert _peak_bytes(1200, keeps_traces=True) > long + 250 * 1200
