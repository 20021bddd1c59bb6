"""The names of SGLang this plugin rests on, with their parameters.

Owns the check at load: the pinned version, and every name we override, call or hook with
the parameters it had when this was written. SGLang promises none of them, so a plugin
that finds one changed refuses to run, and names it.
"""

import inspect
import pkgutil
from importlib.metadata import PackageNotFoundError, version

from nodeagent.plugin_contract import SGLANG_VERSION

_ROOT = "sglang.srt"

# Read from the sglang 0.5.23 wheel: module or class → name → parameters in order.
SIGNATURES: dict[str, dict[str, str]] = {
    "managers.scheduler.Scheduler": {
        "__init__": "self server_args port_args",
        "init_running_status": "self",
        "init_schedule_policy": "self",
        "init_load_inquirer": "self",
        "init_invariant_checker": "self",
        "get_prefill_adder_class": "self",
        "_poll_timeout_aborts": "self",
        "ingest_requests": "self stop_at_pause",
        "process_input_requests": "self recv_reqs",
        "get_next_batch_to_run": "self running_batch last_batch",
        "get_new_batch_prefill": "self running_batch",
        "_get_new_batch_prefill_raw": "self prefill_delayer_single_pass running_batch",
        "update_running_batch": "self batch",
        "run_batch": "self batch pp_proxy_tensors",
        "is_fully_idle": "self for_health_check ignore_waiting",
        "_collect_inflight_batches": "self",
        "pause_generation": "self recv_req",
        "set_internal_state": "self recv_req",
        "_add_request_to_queue": "self req is_retracted",
        "_reqs_finishing_inflight": "self batch",
    },
    "managers.schedule_policy.PrefillAdder": {
        "__init__": (
            "self page_size tree_cache token_to_kv_pool_allocator running_batch "
            "new_token_ratio rem_input_tokens rem_chunk_tokens num_mixed_decode_tokens "
            "priority_scheduling_preemption_threshold max_prefill_bs max_running_requests "
            "prefill_max_requests prefill_delayer_single_pass dllm_config waiting_queue_len "
            "prefill_tile_block_m"
        ),
        "add_one_req": "self req has_chunked_req truncation_align_size",
        "add_one_req_ignore_eos": "self req",
        "add_chunked_req": "self req",
        "preempt_to_schedule": "self req",
        "_select_prefill_admission": (
            "self req total_tokens host_hit_length swa_host_hit_length truncation_align_size "
            "has_chunked_req"
        ),
        "budget_state": "self",
        "_get_running_request_total_token_offset": "self req",
    },
    "managers.schedule_policy.SchedulePolicy": {
        "__init__": (
            "self policy tree_cache enable_hierarchical_cache enable_priority_scheduling "
            "schedule_low_priority_values_first"
        ),
        "calc_priority": "self waiting_queue running_batch processed_tokens",
    },
    "managers.schedule_batch.ScheduleBatch": {
        "init_new": (
            "reqs req_to_token_pool token_to_kv_pool_allocator tree_cache model_config "
            "enable_overlap spec_algorithm chunked_req dllm_config"
        ),
        "filter_batch": "self reqs_to_exclude keep_indices",
        "merge_batch": "self other",
        "check_decode_mem": "self selected_indices",
        "cumulate_penalty_output_tokens": "self",
        "is_empty": "self",
    },
    "managers.schedule_batch.Req": {
        "reset_for_retract": "self",
        "init_next_round_input": "self tree_cache cow_mamba",
        "finished": "self",
    },
    "sampling.sampling_batch_info.SamplingBatchInfo": {
        "from_schedule_batch": "batch vocab_size",
    },
    "sampling.penaltylib.orchestrator._BatchedPenalizer": {
        "is_prepared": "self",
    },
    "sampling.penaltylib.frequency_penalty.BatchedFrequencyPenalizer": {
        "_cumulate_output_tokens": "self output_ids",
    },
    "sampling.penaltylib.presence_penalty.BatchedPresencePenalizer": {
        "_cumulate_output_tokens": "self output_ids",
    },
    "sampling.penaltylib.repetition_penalty.BatchedRepetitionPenalizer": {
        "_cumulate_output_tokens": "self output_ids",
    },
    "sampling.penaltylib.min_new_tokens.BatchedMinNewTokensPenalizer": {
        "_cumulate_output_tokens": "self output_ids",
    },
    "managers.overlap_utils.FutureMap": {
        "stash": "self future_indices payload",
    },
    "mem_cache.common": {
        "release_kv_cache": "req tree_cache checkpoint",
        "match_kv_cache": "req tree_cache token_ids cow_mamba max_prefix_len",
    },
    "managers.scheduler_components.internal_state.SchedulerInternalStateController": {
        "__init__": "self scheduler record_step_time",
        "get_internal_state": "self recv_req",
    },
    "mem_cache.base_prefix_cache.BasePrefixCache": {
        "evictable_size": "self",
    },
    "plugins.hook_registry.HookRegistry": {
        "register": "target hook hook_type source",
    },
    "managers.overlap_utils": {
        "RelayPayload": (
            "bonus_tokens topk_p topk_index hidden_states draft_probs dsa_topk_indices "
            "accept_tokens accept_lens"
        ),
    },
}


def mismatches(
    signatures: dict[str, dict[str, str]] | None = None, *, expected_version: str = SGLANG_VERSION
) -> tuple[str, ...]:
    """What differs from the manifest; empty where nothing does.

    Args:
        signatures: The manifest to check; ours where None.
        expected_version: The pinned version.

    Returns:
        One sentence per name: what it is, what was expected.
    """
    found = _installed_version()
    if found != expected_version:
        return (
            f"sglang {found}, allowed is {expected_version}; "
            f"install sglang=={expected_version}, or a slacktide made for {found}",
        )
    problems = []
    for owner, names in (SIGNATURES if signatures is None else signatures).items():
        for name, parameters in names.items():
            problem = _difference(f"{_ROOT}.{owner}.{name}", parameters)
            if problem:
                problems.append(problem)
    return tuple(problems)


def _installed_version() -> str:
    try:
        return version("sglang")
    except PackageNotFoundError:
        return "not installed"


def _difference(path: str, parameters: str) -> str:
    try:
        found = " ".join(inspect.signature(pkgutil.resolve_name(path)).parameters)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        return f"{path}: {error}, expected a callable of ({parameters})"
    if found != parameters:
        return f"{path}: takes ({found}), expected ({parameters})"
    return ""
