"""A scenario gives every policy the same arrivals, and equal runs equal results."""

from dataclasses import replace
from functools import partial
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_scenarios import MACHINE, Telling, batch, chat, scenario

from planner.batching.state import Budgets, WorkClass
from planner.hardware.truth import ground_truth
from planner.replay.policies import policy_named
from planner.replay.scenario import Labels, engine_settings
from planner.simulation.settings import Scheduler
from planner.workload.request import WorkloadRequest

NAMES = ("online-only", "blind-hybrid", "hygen", "cap:4", "slacktide")


def named(name, **fields):
    return policy_named(name, budgets=Budgets(**fields))


@pytest.mark.parametrize("name", ["slacktide", "cap:4"])
def test_run_is_the_same_when_run_again(name):
    """Pass by pass, on one scenario and on another made alike; its noise begins anew."""
    one, other = scenario(), scenario()
    runs = []
    for made in (one, one, other):
        told = Telling()
        replayed = made.run(named(name), watch=told)
        passes = [(p.start_s, p.lasted_ms, p.run.shape) for p in told.passes]
        runs.append((replayed, passes, [(e.request, e.trace) for e in told.ends]))
    assert runs[0] == runs[1] == runs[2]


def test_another_seed_of_the_truth_gives_another_run():
    """So that equality above is not of constants."""
    truth = partial(ground_truth, MACHINE, noise_ratio=0.03, seed=2)
    assert scenario().run(named("slacktide")).online != (
        scenario(truth=truth).run(named("slacktide")).online
    )


def test_every_policy_meets_the_same_arrivals():
    """Same requests at the same times, from the window's begin, whatever runs beside them."""
    made = scenario()
    expected = list(made.arrivals(Labels()))
    assert [r.at_s for r in expected] == [made.settle_s + r.at_s for r in chat()]
    for name in NAMES:
        told = Telling()
        made.run(named(name), watch=told)
        online = sorted(
            (e.request for e in told.ends if e.request.work_class is WorkClass.ONLINE),
            key=lambda request: request.at_s,
        )
        assert online == expected


def test_labels_are_carried_by_online_requests_alone():
    """Targets of the online class; the batch has none."""
    made = scenario()
    labelled = list(made.arrivals(Labels(ttft_ms=500.0, itl_ms=40.0)))
    assert {(r.ttft_target_ms, r.itl_target_ms) for r in labelled} == {(500.0, 40.0)}
    assert {r.ttft_target_ms for r in islice(made.batch(), 10)} == {None}


@given(
    chats=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20),
    batches=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20),
)
def test_blocks_of_chat_and_batch_never_meet(chats, batches):
    """Whatever ids of 64 bits the traces use; within a class equal blocks stay equal."""

    def requests(blocks):
        return [
            WorkloadRequest(
                at_s=0.0, prompt_tokens=64, output_tokens=1, blocks=(block,), block_tokens=64
            )
            for block in blocks
        ]

    made = scenario(online=requests(chats), offline=lambda: requests(batches))
    online = [request.blocks[0] for request in made.arrivals(Labels())]
    offline = [request.blocks[0] for request in made.batch()]
    assert not set(online) & set(offline)
    assert len(set(online)) == len(set(chats)) and len(set(offline)) == len(set(batches))


def test_widest_block_ids_run_and_are_shared_within_the_batch():
    """Prompts after a cached block are computed but for it; a chat's equal id gives nothing."""
    wide = 2**64 - 1

    def offline():
        return (replace(r, blocks=(wide,), block_tokens=64) for r in batch(6))

    def computed(blocks):
        online = [replace(r, blocks=blocks, block_tokens=64 if blocks else 0) for r in chat()]
        told = Telling()
        scenario(
            online=online, offline=offline, duration_s=30.0, offline_in_flight=1, noise_ratio=0.0
        ).run(named("blind-hybrid"), watch=told)
        prompts = [pair for p in told.passes for pair in p.run.prompts]
        return {
            kind: sum(chunk for live, chunk in prompts if live.is_offline is kind)
            for kind in (False, True)
        }

    alone, same, other = computed(()), computed((wide,)), computed((7,))
    batch_tokens = sum(r.prompt_tokens for r in offline())
    assert alone[True] == same[True] == other[True] == batch_tokens - 5 * 64
    assert same[False] == other[False] < alone[False]


def test_settings_follow_the_policys_scheduler():
    """Stock policies run on stock scheduling, the scenario's own setting notwithstanding."""
    made = scenario(settings=engine_settings(MACHINE, scheduler=Scheduler.STOCK))
    plugin = scenario()
    for name in ("slacktide", "cap:4"):
        assert made.run(named(name)) == plugin.run(named(name))


def test_machine_without_room_for_kv_is_refused():
    """With what to do about it."""
    full = replace(MACHINE, model=replace(MACHINE.model, layers=MACHINE.model.layers * 40))
    with pytest.raises(ValueError, match="--tensor-parallel-size"):
        engine_settings(full)
