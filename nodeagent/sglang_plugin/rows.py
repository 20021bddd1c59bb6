"""Engine requests read as the decision's values.

Owns the record this plugin keeps on each `Req` (attribute `slacktide`) and the reading
of an engine into an `EngineState`. Refuses to change anything but those records; waiting
requests are read by `waiting`.

Invariants: unlabelled requests are online; what is read depends on broadcast requests,
tokens and stamps only, so all ranks read the same state.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nodeagent.plugin_contract import RequestLabels, read_labels
from nodeagent.sglang_plugin.clock import PassClock
from planner.batching.state import (
    DecodeRow,
    EngineState,
    Memory,
    OfflineQueue,
    PrefillWork,
    WorkClass,
)


@dataclass(slots=True)
class RequestRecord:
    """What the plugin remembers of a request."""

    labels: RequestLabels
    can_park: bool
    is_offline: bool
    is_penalised: bool
    arrival_s: float | None = None
    first_token_s: float = 0.0
    last_token_s: float = 0.0
    seen_tokens: int = 0
    state_pass: int = 0  # pass in which it was last parked or resumed; 0: not a row yet
    queued_pass: int | None = None  # pass in which it was first seen waiting
    matched_pass: int | None = None
    prompt_key: bytes = b""
    lost_penalties: bool = False  # its batch was rebuilt; see `penalties`


def record_of(req: Any) -> RequestRecord:
    """The record of an engine request, made at first sight."""
    try:
        record: RequestRecord = req.slacktide
    except AttributeError:
        labels = read_labels(req.sampling_params.custom_params)
        record = req.slacktide = RequestRecord(
            labels=labels,
            can_park=is_rebuildable(req),
            is_offline=labels.work_class is WorkClass.OFFLINE,
            is_penalised=is_penalised(req),
        )
    return record


def is_offline(req: Any) -> bool:
    """Whether a request carries our offline label."""
    return record_of(req).is_offline


def observe(requests: Iterable[Any], *, clock: PassClock) -> bool:
    """Dates arrivals and newest tokens by the first stamp that sees them.

    All of a pass that holds online work only, so it is one walk without allocation.

    Returns:
        Whether any of the requests is offline.
    """
    now_s, is_stamped = clock.now_s, clock.is_stamped
    has_offline = False
    for req in requests:
        try:
            record = req.slacktide
        except AttributeError:
            record = record_of(req)
        if is_stamped and record.arrival_s is None:
            record.arrival_s = now_s
        tokens = len(req.output_ids)
        if tokens != record.seen_tokens or record.last_token_s == 0.0:
            record.seen_tokens = tokens
            record.last_token_s = now_s
            if tokens and record.first_token_s == 0.0:
                record.first_token_s = now_s
        if record.is_offline:
            has_offline = True
    return has_offline


def is_penalised(req: Any) -> bool:
    """Whether SGLang counts a request's output tokens for its sampling."""
    params = req.sampling_params
    return bool(
        params.frequency_penalty != 0.0
        or params.presence_penalty != 0.0
        or params.repetition_penalty != 1.0
        or params.min_new_tokens > 0
    )


def is_rebuildable(req: Any) -> bool:
    """Whether a decode row can leave its batch and be put into a new one unchanged.

    Penalties are counted anew (`penalties`); output logprobs and the state of a grammar
    are the request's own. What SGLang keeps in the batch or shares between requests is
    lost, and what needs the very same state (an adapter's slot, a session) is not tried:
    such a request is neither parked nor evicted, and the agent refuses it as offline work.
    """
    return (
        not req.return_hidden_states
        and not req.return_sampling_mask
        and not req.return_routed_experts
        and req.beam_group is None
        and req.custom_logit_processor is None
        and req.lora_id is None
        and req.session is None
        and req.multimodal_inputs is None
        and req.input_embeds is None
    )


def read_state(
    scheduler: Any,
    *,
    running: Sequence[Any],
    parked: Sequence[Any],
    in_flight: frozenset[int],
    clock: PassClock,
    pass_number: int,
    memory: Memory,
    waiting_online: tuple[PrefillWork, ...],
    offline_queue: OfflineQueue,
) -> EngineState:
    """Reads an engine before its pass; `observe` has dated all its requests.

    Args:
        scheduler: The SGLang scheduler.
        running: Requests past their prefill, in the running batch.
        parked: Requests set aside with their KV.
        in_flight: `id()` of requests whose last result is not processed yet.
        clock: The stamp of this pass.
        pass_number: Passes so far.
        memory: What the plan of the pass before left to this one.
        waiting_online: Waiting online requests, as `waiting` reads them.
        offline_queue: Waiting offline requests, likewise.
    """
    tree, allocator = scheduler.tree_cache, scheduler.token_to_kv_pool_allocator
    started = scheduler.chunked_req

    return EngineState(
        now_s=clock.now_s,
        pass_number=pass_number,
        running=tuple(
            decode_row(
                r, is_parked=False, in_flight=in_flight, clock=clock, pass_number=pass_number
            )
            for r in running
            if not r.finished()
        ),
        parked=tuple(
            decode_row(r, is_parked=True, in_flight=in_flight, clock=clock, pass_number=pass_number)
            for r in parked
        ),
        started=None
        if started is None
        else prefill_work(started, clock=clock, number=pass_number, is_started=True),
        waiting_online=waiting_online,
        waiting_offline=offline_queue.by_prompt,
        offline_queue=offline_queue,
        kv_free_tokens=allocator.available_size() + tree.evictable_size(),
        kv_total_tokens=scheduler.max_total_num_tokens,
        page_size=scheduler.page_size,
        chunk_limit_tokens=scheduler.chunked_prefill_size,
        mixes_prefill_and_decode=_mixes(
            scheduler, (*running, *parked, *scheduler.waiting_queue, started)
        ),
        last_pass_ms=clock.last_pass_ms,
        free_rows=scheduler.req_to_token_pool.available_size(),
        memory=memory,
    )


def _mixes(scheduler: Any, requests: Iterable[Any]) -> bool:
    """Whether prefill and decode share a pass.

    SGLang keeps them apart where a request in the pass wants logprobs, brings embeddings or
    is a beam. Any such request in the engine counts, in this pass or not: what is planned
    for passes that take turns holds for one that mixes too.
    """
    return scheduler.is_mixed_chunk and not any(
        req.return_logprob or req.input_embeds is not None or req.beam_group is not None
        for req in requests
        if req is not None
    )


def decode_row(
    req: Any,
    *,
    is_parked: bool,
    in_flight: frozenset[int],
    clock: PassClock,
    pass_number: int,
) -> DecodeRow:
    """Reads a request past its prefill; arguments as of `read_state`."""
    record: RequestRecord = req.slacktide
    arrival_s = clock.now_s if record.arrival_s is None else record.arrival_s
    labels = record.labels
    if record.state_pass == 0:
        record.state_pass = pass_number
    generated = len(req.output_ids)
    deadline_in_s = labels.deadline_in_s
    return DecodeRow(
        rid=req.rid,
        work_class=labels.work_class,
        context_tokens=len(req.origin_input_ids) + generated,
        generated_tokens=generated,
        is_parked=is_parked,
        must_run=req.to_finish is not None,
        can_park=record.can_park,
        can_resume=id(req) not in in_flight,
        arrival_s=arrival_s,
        last_token_s=record.last_token_s,
        first_token_s=record.first_token_s,
        itl_target_ms=labels.itl_target_ms,
        tpot_target_ms=labels.tpot_target_ms,
        max_gap_ms=labels.max_gap_ms,
        deadline_s=None if deadline_in_s is None else arrival_s + deadline_in_s,
        passes_in_state=pass_number - record.state_pass,
        recompute_tokens=req.kv.kv_committed_len,
    )


def online_order(req: Any) -> tuple[int, float]:
    """Sort key among waiting online requests: priority, then arrival."""
    return -(req.priority or 0), record_of(req).arrival_s or 0.0


def prefill_work(req: Any, *, clock: PassClock, number: int, is_started: bool) -> PrefillWork:
    """Reads a request whose prompt is not computed yet, or only in part."""
    record: RequestRecord = req.slacktide
    arrival_s = clock.now_s if record.arrival_s is None else record.arrival_s
    total = len(req.origin_input_ids) + len(req.output_ids)
    cached = min(req.prefix_len, total - 1)  # the last token is always computed
    queued = number if record.queued_pass is None else record.queued_pass
    deadline_in_s = record.labels.deadline_in_s
    return PrefillWork(
        rid=req.rid,
        work_class=record.labels.work_class,
        remaining_tokens=total - cached,
        cached_tokens=cached,
        is_started=is_started,
        arrival_s=arrival_s,
        ttft_target_ms=record.labels.ttft_target_ms,
        deadline_s=None if deadline_in_s is None else arrival_s + deadline_in_s,
        queued_pass=queued,
        prompt_key=record.prompt_key,
    )
