"""Many iterations in a row: nothing starves, online keeps its gap, batches finish.

`small_engine` runs the plans.
"""

import pytest
from engine_states import offline_prompt, offline_row
from small_engine import SmallEngine, offline_batch, online_rows

from planner.batching.state import Budgets, WorkClass


@pytest.mark.parametrize("mixes", [False, True])
@pytest.mark.parametrize("online", [0, 3])
def test_batch_finishes_and_online_keeps_its_gap(mixes, online):
    """Every request of a batch ends while no online gap exceeds the latency budget."""
    engine = SmallEngine(
        budgets=Budgets(latency_budget_ms=25.0),
        mixes=mixes,
        online=online_rows(online, itl_target_ms=60.0),
        waiting=offline_batch(60),
    )
    while len(engine.finished) < 60:
        engine.step()
        assert engine.passes < 4_000
    assert engine.longest_gap_ms <= 25.0 + 1e-6
    # A prompt's row joins within what the budget still takes: parking stays rare.
    assert engine.park_moves <= 60


def test_max_stall_lengthens_gaps_but_never_beyond_the_target():
    """With overdraft, single gaps reach towards the ITL target and their mean the budget."""
    engine = SmallEngine(
        budgets=Budgets(latency_budget_ms=8.0, max_stall_ms=60.0),
        mixes=False,
        online=online_rows(3, itl_target_ms=40.0),
        waiting=offline_batch(30),
        output_tokens=5,
    )
    while len(engine.finished) < 30:
        engine.step()
        assert engine.passes < 4_000
    assert 8.0 < engine.longest_gap_ms <= 40.0 + 1e-6
    elapsed_ms = (engine.now_s - 1000.0) * 1e3
    assert elapsed_ms / engine.decodes <= 8.0 + 60.0 / engine.decodes
    # A tight budget without overdraft takes no chunk at all: 5 ms + 0.1 ms a token.
    strict = SmallEngine(
        budgets=Budgets(latency_budget_ms=8.0),
        mixes=False,
        online=online_rows(3),
        waiting=offline_batch(1),
    )
    for _ in range(50):
        strict.step()
    assert not strict.finished


def test_no_row_is_parked_forever_when_newer_rows_keep_coming():
    """A parked row runs again within max_parked_passes + parked rows x min_resident_passes.

    The budget takes 3 of 12 rows. Least-served first alone would starve the row with the
    most tokens; its age brings it back.
    """
    budgets = Budgets(latency_budget_ms=6.0, max_parked_passes=64)
    engine = SmallEngine(
        budgets=budgets, mixes=False, online=online_rows(1), waiting=[], output_tokens=100_000
    )
    engine.running = [offline_row("eldest", generated_tokens=50_000)] + [
        offline_row(f"off{index:02d}", generated_tokens=1) for index in range(11)
    ]
    for _ in range(2_000):
        engine.step()
    bound = budgets.max_parked_passes + 12 * (budgets.min_resident_passes + 1)
    assert engine.longest_parked <= bound
    eldest = next(r for r in [*engine.running, *engine.parked] if r.rid == "eldest")
    assert eldest.generated_tokens > 50_100


def test_no_request_waits_forever_when_preferred_prompts_keep_coming():
    """Past aged_passes a request goes before all younger ones, whatever its prompt.

    New prompts that sort first arrive at every pass. Stated bound: aged_passes, plus one
    chunk pass for each elder request and what such a pass waits for decodes.
    """
    engine = SmallEngine(
        budgets=Budgets(latency_budget_ms=30.0, aged_passes=50),
        mixes=False,
        online=online_rows(1),
        waiting=[offline_prompt("last", prompt_key=b"zzz", queued_pass=0)],
        output_tokens=2,
    )
    for number in range(400):
        engine.waiting.append(
            offline_prompt(f"n{number:04d}", prompt_key=b"aaa", queued_pass=number)
        )
        engine.step()
        if "last" in engine.finished:
            break
    assert "last" in engine.finished
    assert engine.passes <= 50 + 10


def test_two_ranks_decide_alike_when_their_queues_are_laid_out_differently():
    """Driven from one recorded stamp and queue, two engines make one history."""
    ranks = [
        SmallEngine(
            budgets=Budgets(latency_budget_ms=20.0),
            mixes=True,
            online=online,
            waiting=waiting,
        )
        for online, waiting in (
            (online_rows(2), offline_batch(20)),
            (list(reversed(online_rows(2))), list(reversed(offline_batch(20)))),
        )
    ]
    for _ in range(300):
        for rank in ranks:
            rank.step()
    first, second = ranks
    assert first.passes == second.passes and first.now_s == second.now_s
    assert set(first.finished) == set(second.finished) and len(first.finished) == 20
    assert all(row.work_class is WorkClass.ONLINE for row in first.online)
