"""SGLang's real adder, real requests and prefix cache, with our allowance."""

from types import SimpleNamespace
from typing import Any

import pytest
from sglang.srt.managers.schedule_policy import AddReqResult

from nodeagent.sglang_plugin.adder import ColocationAdder
from nodeagent.sglang_plugin.colocation import Colocation
from nodeagent.sglang_plugin.policy import ColocationPolicy
from planner.batching.state import IterationPlan


def adder_for(
    scheduler: Any, *, chunk_tokens: int, page_size: int = 1, reserve_tokens: int = 0
) -> tuple[ColocationAdder, Colocation]:
    colocation = Colocation(scheduler, device_name="cpu")
    colocation.plan = IterationPlan(
        offline_chunk_tokens=chunk_tokens, kv_reserve_tokens=reserve_tokens
    )
    adder = ColocationAdder(
        page_size,
        scheduler.tree_cache,
        scheduler.token_to_kv_pool_allocator,
        SimpleNamespace(reqs=[]),
        0.5,
        16384,
        scheduler.chunked_prefill_size,
        colocation=colocation,
    )
    return adder, colocation


def add(adder: ColocationAdder, request: Any, *, has_chunked_req: bool = False) -> AddReqResult:
    request.init_next_round_input(adder.tree_cache)
    return adder.add_one_req(request, has_chunked_req, None)


def test_online_prompt_is_whole_when_allowance_is_spent(scheduler: Any, make_request: Any) -> None:
    """The allowance is offline's alone."""
    adder, _ = adder_for(scheduler, chunk_tokens=0)
    online = make_request("on", 100)
    assert add(adder, online) is AddReqResult.CONTINUE
    assert online.extend_end == 100
    offline = make_request("off", 40, offline=True)
    assert add(adder, offline) is AddReqResult.OTHER
    assert adder.can_run_list == [online]


def test_offline_prompt_is_cut_when_allowance_is_smaller(scheduler: Any, make_request: Any) -> None:
    """The cut prompt takes the mid-prefill slot; the rest of the chunk stays online's."""
    adder, colocation = adder_for(scheduler, chunk_tokens=64)
    offline = make_request("off", 300, offline=True)
    assert add(adder, offline) is AddReqResult.OTHER
    assert offline.extend_end == 64
    assert adder.new_chunked_req is offline
    assert adder.rem_chunk_tokens == 256 - 64
    assert colocation.state().counters.chunks_capped == 1


def test_second_prompt_is_refused_when_it_would_be_cut_too(
    scheduler: Any, make_request: Any
) -> None:
    """SGLang tracks one request in mid-prefill; a second would be lost."""
    adder, _ = adder_for(scheduler, chunk_tokens=64)
    add(adder, make_request("off", 300, offline=True))
    online = make_request("on", 250)
    assert add(adder, online) is AddReqResult.OTHER
    assert online not in adder.can_run_list
    assert add(adder, make_request("on2", 100)) is AddReqResult.CONTINUE


def test_started_prompt_sits_out_when_allowance_is_zero(scheduler: Any, make_request: Any) -> None:
    """It keeps its slot and computes nothing; SGLang's count is put right afterwards."""
    adder, colocation = adder_for(scheduler, chunk_tokens=0)
    chunk = make_request("off", 300, offline=True)
    chunk.init_next_round_input(adder.tree_cache)
    assert adder.add_chunked_req(chunk) is chunk
    assert adder.can_run_list == []
    assert colocation.state().counters.chunks_parked == 1
    scheduler.chunked_req = chunk
    chunk.inflight_middle_chunks = 1  # as SGLang counts a pass that runs other prompts
    colocation.end_admission(has_batch=True)
    assert chunk.inflight_middle_chunks == 0


def test_started_prompt_continues_when_allowance_covers_it(
    scheduler: Any, make_request: Any
) -> None:
    """A chunk is as large as the plan says."""
    adder, _ = adder_for(scheduler, chunk_tokens=96)
    chunk = make_request("off", 300, offline=True)
    chunk.init_next_round_input(adder.tree_cache)
    assert adder.add_chunked_req(chunk) is chunk
    assert chunk.extend_end == 96
    rest = make_request("off2", 50, offline=True)
    assert add(adder, rest, has_chunked_req=True) is AddReqResult.OTHER
    assert adder.can_run_list == [chunk]


def test_started_prompt_ends_when_allowance_is_its_last_part_of_a_page(
    scheduler: Any, make_request: Any
) -> None:
    """What is left of a prompt is computed even where it is less than a page."""
    scheduler.token_to_kv_pool_allocator.page_size = 16
    adder, _ = adder_for(scheduler, chunk_tokens=10, page_size=16)
    chunk = make_request("off", 10, offline=True)
    chunk.init_next_round_input(adder.tree_cache)
    assert adder.add_chunked_req(chunk) is None
    assert adder.can_run_list == [chunk]
    cut = make_request("off2", 40, offline=True)
    adder, _ = adder_for(scheduler, chunk_tokens=39, page_size=16)
    add(adder, cut)
    assert cut.extend_end == 32


@pytest.mark.parametrize("offline", [True, False])
def test_engine_row_is_not_taken_when_nothing_can_be_evicted(
    scheduler: Any, make_request: Any, offline: bool
) -> None:
    """Offline work takes no rows from anyone; online takes only offline's."""
    adder, _ = adder_for(scheduler, chunk_tokens=64)
    adder.running_batch.reqs = [make_request("run", 10)]
    assert not adder.preempt_to_schedule(make_request("new", 10, offline=offline))


def test_offline_prompt_waits_when_only_the_reserve_is_free(
    scheduler: Any, make_request: Any
) -> None:
    """KV kept for online bursts is not offline's to take, while anything runs."""
    adder, _ = adder_for(scheduler, chunk_tokens=256, reserve_tokens=500)
    scheduler.token_to_kv_pool_allocator.free_tokens = 500
    adder.running_batch.reqs = [make_request("run", 10)]
    assert add(adder, make_request("off", 40, offline=True)) is AddReqResult.OTHER
    assert add(adder, make_request("on", 40)) is AddReqResult.CONTINUE


def test_queue_is_online_first_when_sorted(scheduler: Any, make_request: Any) -> None:
    """Online by priority, then offline as planned; strangers to the plan come last."""
    plan = IterationPlan(offline_order=("off-b", "off-a"))
    colocation = Colocation(scheduler, device_name="cpu")
    colocation.plan = plan
    policy = ColocationPolicy(
        "fcfs", scheduler.tree_cache, False, False, False, colocation=colocation
    )
    queue = [make_request(f"off-{name}", 20, offline=True) for name in "cab"]
    queue += [make_request("on-low", 20), make_request("on-high", 20, priority=5)]
    policy.calc_priority(queue)
    assert [r.rid for r in queue] == ["on-high", "on-low", "off-b", "off-a", "off-c"]
