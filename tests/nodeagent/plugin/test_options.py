"""Engine options that parking and eviction cannot live with are refused, each by name."""

from types import SimpleNamespace
from typing import Any

import pytest

from nodeagent.sglang_plugin import options

PARTS: dict[str, dict[str, Any]] = {
    "parallel": {
        "pp_size": 1,
        "dp_size": 1,
        "attn_dp_enabled": False,
        "attn_cp_size": 1,
        "attn_dcp_size": 1,
    },
    "disagg": {"disaggregation_mode": "null"},
    "memory": {"enable_flexkv": False},
    "schedule": {
        "chunked_prefill_size": 512,
        "prefill_decode_interval": 0,
        "enable_prefill_delayer": False,
        "min_free_slots_delay": None,
    },
    "exec": {"deterministic": SimpleNamespace(enable_deterministic_inference=False)},
    "scheduler": {
        "enable_pdmux": False,
        "spec_algorithm": SimpleNamespace(is_none=lambda: True),
        "enable_hisparse": False,
        "is_hybrid_swa": False,
        "is_hybrid_ssm": False,
        "enable_hierarchical_cache": False,
        "enable_lmcache": False,
        "enable_lora": False,
        "enable_unified_cache_external_linker": False,
        "enable_unified_memory": False,
        "enable_overlap_mlx": False,
        "is_generation": True,
        "model_config": SimpleNamespace(is_encoder_decoder=False),
        "server_args": SimpleNamespace(dllm_algorithm=None),
        "schedule_low_priority_values_first": False,
    },
}

CONFIGURATION = ("parallel", "disagg", "memory", "schedule", "exec")
"""What SGLang keeps outside the scheduler."""


def reasons(monkeypatch: pytest.MonkeyPatch, part: str = "", **changed: Any) -> tuple[str, ...]:
    values = {name: SimpleNamespace(**known) for name, known in PARTS.items()}
    for name, value in changed.items():
        assert hasattr(values[part], name), name
        setattr(values[part], name, value)
    for name in CONFIGURATION:
        monkeypatch.setattr(options, f"get_{name}", lambda name=name: values[name])
    return options.unsupported_options(values["scheduler"])


def test_engine_is_taken_when_nothing_unsupported_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The base every case below differs from in one option."""
    assert reasons(monkeypatch) == ()


@pytest.mark.parametrize(
    ("part", "name", "value", "reason"),
    [
        ("parallel", "pp_size", 2, "pipeline parallelism"),
        ("parallel", "dp_size", 2, "one engine per replica"),
        ("parallel", "attn_dp_enabled", True, "attention data parallelism"),
        ("parallel", "attn_cp_size", 2, "context parallelism"),
        ("parallel", "attn_dcp_size", 2, "decode context parallelism"),
        ("disagg", "disaggregation_mode", "prefill", "disaggregation"),
        ("disagg", "disaggregation_mode", "decode", "disaggregation"),
        ("memory", "enable_flexkv", True, "FlexKV"),
        ("schedule", "chunked_prefill_size", -1, "--chunked-prefill-size"),
        ("schedule", "chunked_prefill_size", None, "--chunked-prefill-size"),
        ("schedule", "prefill_decode_interval", 4, "--prefill-decode-interval"),
        ("schedule", "enable_prefill_delayer", True, "prefill delayer"),
        ("schedule", "min_free_slots_delay", 2, "prefill delayer"),
        (
            "exec",
            "deterministic",
            SimpleNamespace(enable_deterministic_inference=True),
            "deterministic inference",
        ),
        ("scheduler", "enable_lora", True, "LoRA"),
        ("scheduler", "enable_unified_cache_external_linker", True, "external cache linker"),
        ("scheduler", "enable_pdmux", True, "multiplexing"),
        (
            "scheduler",
            "spec_algorithm",
            SimpleNamespace(is_none=lambda: False),
            "speculative decoding",
        ),
        ("scheduler", "enable_hisparse", True, "HiSparse"),
        ("scheduler", "is_hybrid_swa", True, "sliding-window"),
        ("scheduler", "is_hybrid_ssm", True, "state-space"),
        ("scheduler", "enable_hierarchical_cache", True, "hierarchical cache"),
        ("scheduler", "enable_lmcache", True, "LMCache"),
        ("scheduler", "enable_unified_memory", True, "unified memory"),
        ("scheduler", "enable_overlap_mlx", True, "MLX"),
        ("scheduler", "is_generation", False, "embedding"),
        (
            "scheduler",
            "model_config",
            SimpleNamespace(is_encoder_decoder=True),
            "encoder-decoder",
        ),
        ("scheduler", "server_args", SimpleNamespace(dllm_algorithm="x"), "diffusion"),
        ("scheduler", "schedule_low_priority_values_first", True, "low-priority-values-first"),
    ],
)
def test_engine_is_refused_with_the_reason_when_an_option_is_unsupported(
    monkeypatch: pytest.MonkeyPatch, part: str, name: str, value: Any, reason: str
) -> None:
    """One sentence for each, and no other."""
    (found,) = reasons(monkeypatch, part, **{name: value})
    assert reason in found


def test_options_are_read_where_sglang_keeps_them(sglang_context: None) -> None:
    """The names above exist in the pinned SGLang's own configuration."""
    from sglang.srt import runtime_context

    for part in CONFIGURATION:
        found = getattr(runtime_context, f"get_{part}")()
        for name in PARTS[part]:
            assert hasattr(found, name), f"{part}.{name}"
