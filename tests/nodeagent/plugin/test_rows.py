"""Real engine requests, read as the decision's values."""

from typing import Any

import pytest
from sglang.srt.mem_cache.base_prefix_cache import InsertParams
from sglang.srt.mem_cache.radix_cache import RadixKey

from nodeagent.sglang_plugin.clock import PassClock, PassStamp
from nodeagent.sglang_plugin.rows import (
    is_offline,
    is_rebuildable,
    observe,
    read_state,
    record_of,
)
from nodeagent.sglang_plugin.waiting import WaitingReader
from planner.batching.state import EngineState, Memory, WorkClass


def clock_at(now_s: float) -> PassClock:
    clock = PassClock(read=lambda: 0.0)
    clock.receive(PassStamp(now_s=now_s, last_pass_ms=3.0))
    return clock


def read(scheduler: Any, clock: PassClock, *, number: int, **groups: Any) -> EngineState:
    everyone = (*groups.get("running", ()), *groups.get("parked", ()), *scheduler.waiting_queue)
    observe(everyone, clock=clock)
    online, offline = groups.get("reader", WaitingReader()).read(
        scheduler.waiting_queue,
        scheduler.tree_cache,
        clock=clock,
        number=number,
        memory=Memory(),
    )
    return read_state(
        scheduler,
        running=groups.get("running", ()),
        parked=groups.get("parked", ()),
        in_flight=groups.get("in_flight", frozenset()),
        clock=clock,
        pass_number=number,
        memory=Memory(),
        waiting_online=online,
        offline_queue=offline,
    )


def test_state_tells_classes_apart_when_requests_wait(scheduler: Any, make_request: Any) -> None:
    """Labels decide the class; targets and arrival come with it."""
    plain = make_request("plain", 10)
    plain.sampling_params.custom_params = None
    scheduler.waiting_queue = [make_request("off", 40, offline=True), make_request("on", 20), plain]
    state = read(scheduler, clock_at(7.0), number=1)
    assert [w.rid for w in state.waiting_online] == ["on", "plain"]
    (offline,) = state.waiting_offline
    assert offline.work_class is WorkClass.OFFLINE
    assert (offline.remaining_tokens, offline.cached_tokens) == (40, 0)
    assert offline.arrival_s == 7.0
    assert state.waiting_online[0].ttft_target_ms == 500.0
    assert state.kv_free_tokens == 5000


def test_state_sees_cached_prefix_when_tree_holds_it(scheduler: Any, make_request: Any) -> None:
    """What the prefix cache holds is not work."""
    import torch

    request = make_request("off", 40, offline=True, start=0)
    key = RadixKey(request.origin_input_ids[:30])
    scheduler.tree_cache.insert(InsertParams(key=key, value=torch.arange(30)))
    scheduler.waiting_queue = [request]
    (work,) = read(scheduler, clock_at(1.0), number=1).waiting_offline
    assert (work.cached_tokens, work.remaining_tokens) == (30, 10)


def test_row_is_dated_when_tokens_appear(scheduler: Any, make_request: Any) -> None:
    """The first stamp that sees a token dates it; nothing else moves the date."""
    row = make_request("on", 20)
    (seen,) = read(scheduler, clock_at(1.0), number=1, running=[row]).running
    assert (seen.arrival_s, seen.first_token_s) == (1.0, 0.0)
    row.output_ids.append(5)
    read(scheduler, clock_at(2.0), number=2, running=[row])
    (seen,) = read(scheduler, clock_at(3.0), number=3, running=[row]).running
    assert (seen.first_token_s, seen.last_token_s) == (2.0, 2.0)
    assert (seen.context_tokens, seen.generated_tokens) == (21, 1)
    assert seen.itl_target_ms == 50.0


def test_row_may_not_resume_when_its_result_is_in_flight(scheduler: Any, make_request: Any) -> None:
    """Its newest token is not known yet."""
    row = make_request("off", 20, offline=True)
    state = read(scheduler, clock_at(1.0), number=9, parked=[row], in_flight=frozenset({id(row)}))
    assert not state.parked[0].can_resume
    assert state.parked[0].is_parked


def test_row_must_run_when_it_was_aborted(scheduler: Any, make_request: Any) -> None:
    """SGLang finishes an aborted request in its next batch."""
    row = make_request("off", 20, offline=True)
    row.to_finish = object()
    assert read(scheduler, clock_at(1.0), number=1, parked=[row]).parked[0].must_run


def test_passes_take_turns_beside_a_request_that_sglang_does_not_mix(
    scheduler: Any, make_request: Any
) -> None:
    """Wherever it stands in the engine; without mixed chunk they always do."""
    scheduler.is_mixed_chunk = True
    plain, asks = make_request("on", 20), make_request("off", 20, offline=True)
    scheduler.waiting_queue = [asks]
    assert read(scheduler, clock_at(1.0), number=1, running=[plain]).mixes_prefill_and_decode
    asks.return_logprob = True
    assert not read(scheduler, clock_at(1.0), number=2, running=[plain]).mixes_prefill_and_decode
    scheduler.waiting_queue = []
    parked = read(scheduler, clock_at(1.0), number=3, running=[plain], parked=[asks])
    assert not parked.mixes_prefill_and_decode


def test_request_is_undated_when_its_pass_has_no_stamp(scheduler: Any, make_request: Any) -> None:
    """A request that ends idleness is planned as of the last stamp, dated by the next."""
    request = make_request("on", 20)
    scheduler.waiting_queue = [request]
    clock = clock_at(4.0)
    clock.receive(None)
    (work,) = read(scheduler, clock, number=1).waiting_online
    assert work.arrival_s == 4.0
    assert record_of(request).arrival_s is None


@pytest.mark.parametrize(
    "params",
    [
        {"frequency_penalty": 0.1},
        {"presence_penalty": 0.1},
        {"repetition_penalty": 1.1},
        {"min_new_tokens": 2},
    ],
)
def test_request_may_be_parked_when_its_tokens_are_counted(
    make_request: Any, params: dict[str, Any]
) -> None:
    """Its penalties are counted again from its own tokens, see `penalties`."""
    request = make_request("off", 5, offline=True, **params)
    assert is_rebuildable(request)
    assert record_of(request).is_penalised
    assert not record_of(make_request("off2", 5, offline=True)).is_penalised


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("return_hidden_states", True),
        ("return_sampling_mask", True),
        ("return_routed_experts", True),
        ("beam_group", object()),
        ("custom_logit_processor", "{}"),
        ("lora_id", "adapter"),
        ("session", object()),
        ("multimodal_inputs", object()),
        ("input_embeds", [[0.0]]),
    ],
)
def test_request_is_never_parked_when_its_batch_holds_what_it_needs(
    make_request: Any, name: str, value: object
) -> None:
    """A rebuilt batch would not have it."""
    request = make_request("off", 5, offline=True)
    assert is_rebuildable(request)
    assert is_offline(request)
    setattr(request, name, value)
    assert not is_rebuildable(request)
