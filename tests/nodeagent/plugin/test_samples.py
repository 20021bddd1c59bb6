"""Iterations are paired with the pass that waited for them."""

from nodeagent.plugin_contract import MeasuredIteration
from nodeagent.sglang_plugin.samples import RING_ITERATIONS, IterationLog
from planner.latency.features import BatchShape


def planned(rows: int) -> MeasuredIteration:
    return MeasuredIteration(
        sequence=0,
        shape=BatchShape(decode_rows=rows),
        measured_ms=0.0,
        predicted_ms=1.0,
        bound_ms=2.0,
        budget_ms=0.0,
    )


def test_iteration_lasts_its_own_pass_when_engine_does_not_wait_for_previous() -> None:
    """On a CPU the pass that launches a batch runs it."""
    log = IterationLog(waits_for_previous=False)
    for rows, elapsed_ms in ((1, 10.0), (2, 20.0)):
        log.launch(planned(rows))
        log.end_pass(elapsed_ms)
    assert [(s.shape.decode_rows, s.measured_ms) for s in log.newest] == [(1, 10.0), (2, 20.0)]


def test_iteration_lasts_the_next_pass_when_engine_waits_for_previous() -> None:
    """With overlap a pass blocks on the batch before; the last one ends in a pass of none."""
    log = IterationLog(waits_for_previous=True)
    for rows, elapsed_ms in ((1, 1.0), (2, 10.0)):
        log.launch(planned(rows))
        log.end_pass(elapsed_ms)
    log.end_pass(20.0)
    log.end_pass(999.0)
    assert [(s.shape.decode_rows, s.measured_ms) for s in log.newest] == [(1, 10.0), (2, 20.0)]


def test_ring_keeps_the_newest_when_it_is_full() -> None:
    """The ring is bounded; sequences go on."""
    log = IterationLog(waits_for_previous=False)
    for _ in range(RING_ITERATIONS + 3):
        log.launch(planned(1))
        log.end_pass(1.0)
    assert len(log.newest) == RING_ITERATIONS
    assert log.newest[-1].sequence == RING_ITERATIONS + 3
