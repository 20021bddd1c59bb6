"""Engine options the plugin does not support, each with the reason.

Refuses rather than guesses: parking and eviction rest on one KV pool per scheduler, one
batch in the running state, and SGLang's own recompute of a released request.
"""

from typing import Any

from sglang.srt.runtime_context import (
    get_disagg,
    get_exec,
    get_memory,
    get_parallel,
    get_schedule,
)


def unsupported_options(scheduler: Any) -> tuple[str, ...]:
    """Why this engine cannot be co-located; empty where it can."""
    parallel, schedule, memory = get_parallel(), get_schedule(), get_memory()
    checks = (
        (parallel.pp_size > 1, "pipeline parallelism: batches of several stages are in flight"),
        (parallel.dp_size > 1, "data parallelism in one engine: run one engine per replica"),
        (parallel.attn_dp_enabled, "attention data parallelism: ranks batch differently"),
        (parallel.attn_cp_size > 1, "context parallelism: ranks hold parts of a prompt"),
        (parallel.attn_dcp_size > 1, "decode context parallelism: ranks hold parts of a row's KV"),
        (get_disagg().disaggregation_mode != "null", "prefill-decode disaggregation"),
        (scheduler.enable_pdmux, "prefill-decode multiplexing"),
        (not scheduler.spec_algorithm.is_none(), "speculative decoding: rows hold draft state"),
        (scheduler.enable_hisparse, "HiSparse: rows are staged elsewhere"),
        (scheduler.is_hybrid_swa, "sliding-window KV pools: parked KV would fall out of window"),
        (scheduler.is_hybrid_ssm, "state-space layers: their state is not in the KV pool"),
        (scheduler.enable_hierarchical_cache, "hierarchical cache"),
        (scheduler.enable_lmcache, "LMCache"),
        (
            scheduler.enable_unified_cache_external_linker,
            "an external cache linker: KV moves under parked rows",
        ),
        (
            scheduler.enable_lora,
            "LoRA: adapters of running rows only hold their slot, a parked row's may be taken",
        ),
        (
            get_exec().deterministic.enable_deterministic_inference,
            "deterministic inference: its prefill tiles, not the plan, size chunks",
        ),
        (scheduler.enable_unified_memory, "unified memory: KV moves under parked rows"),
        (scheduler.server_args.dllm_algorithm is not None, "diffusion language models"),
        (
            scheduler.schedule_low_priority_values_first,
            "--schedule-low-priority-values-first: SGLang would retract online before offline",
        ),
        (scheduler.enable_overlap_mlx, "the MLX loop"),
        (memory.enable_flexkv, "FlexKV"),
        (not scheduler.is_generation, "embedding and reward models: nothing to park"),
        (scheduler.model_config.is_encoder_decoder, "encoder-decoder models"),
        (
            (schedule.chunked_prefill_size or 0) <= 0,
            "no chunked prefill: set --chunked-prefill-size above 0",
        ),
        (
            (schedule.prefill_decode_interval or 0) > 0,
            "--prefill-decode-interval: it skips passes the plugin plans",
        ),
        (
            schedule.enable_prefill_delayer or schedule.min_free_slots_delay is not None,
            "a prefill delayer: it holds back admission the plugin plans",
        ),
    )
    return tuple(reason for is_set, reason in checks if is_set)
