"""Engine request bodies of online generations. Pure.

Owns the translation to SGLang's `/generate` and `/v1/chat/completions`. Invariants: every
body carries the labels of an online request and a request id of fixed length, since
SGLang aborts by prefix.
"""

import uuid
from typing import Any

from nodeagent.inference.generation import Generation
from nodeagent.plugin_contract import online_labels
from planner.model import Slo


def new_rid() -> str:
    """An engine request id: 32 hexadecimal digits, no id a prefix of another."""
    return uuid.uuid4().hex


def generate_body(generation: Generation, *, rid: str, slo: Slo) -> dict[str, Any]:
    """The body of `/generate` for text and token ids."""
    labels = _labels(slo)
    sampling: dict[str, Any] = {
        "max_new_tokens": generation.max_tokens,
        "temperature": generation.temperature,
        "ignore_eos": generation.ignore_eos,
        "custom_params": labels["custom_params"],
    } | _optional_sampling(generation, seed_key="sampling_seed")
    body: dict[str, Any] = {
        "rid": rid,
        "priority": labels["priority"],
        "sampling_params": sampling,
    }
    if generation.token_ids is not None:
        body["input_ids"] = list(generation.token_ids)
    else:
        body["text"] = generation.text
    return body


def chat_body(generation: Generation, *, rid: str, slo: Slo) -> dict[str, Any]:
    """The body of `/v1/chat/completions` for conversations."""
    return {
        "model": generation.deployment,
        "messages": [{"role": t.role, "content": t.content} for t in generation.turns or ()],
        "max_tokens": generation.max_tokens,
        "temperature": generation.temperature,
        "ignore_eos": generation.ignore_eos,
        "rid": rid,
        **_labels(slo),
        **_optional_sampling(generation, seed_key="seed"),
    }


def _labels(slo: Slo) -> dict[str, Any]:
    return online_labels(
        ttft_ms=slo.ttft_ms,
        itl_ms=slo.itl_ms,
        tpot_ms=slo.tpot_ms,
        max_gap_ms=slo.gap_ms if slo.tpot_ms is not None else None,
    )


def _optional_sampling(generation: Generation, *, seed_key: str) -> dict[str, Any]:
    chosen: dict[str, Any] = {
        "top_p": generation.top_p,
        "top_k": generation.top_k,
        seed_key: generation.seed,
        "stop": list(generation.stop) or None,
    }
    return {key: value for key, value in chosen.items() if value is not None}
