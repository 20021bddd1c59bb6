"""What the engines of a test are asked, and what they answered."""

import random
from dataclasses import dataclass, replace
from typing import Any

from harness import Engine, Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """A running plugin engine, and what the stock engine answered to the same prompts."""

    engine: Engine
    prompts: tuple[Prompt, ...]
    pressing: tuple[Prompt, ...]
    stock: dict[str, list[int]]
    choosy: tuple[Prompt, ...]
    stock_alone: dict[str, Any]  # whole answers to the choosy ones, one sample at a time
    stock_has_state: bool


def mixed_prompts() -> tuple[Prompt, ...]:
    """Twelve offline prompts, some longer than a chunk, and twelve online ones."""
    draw = random.Random(7)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(draw.randrange(250) for _ in range(count))

    shared = ids(120)
    offline = [
        Prompt(
            rid=f"off-{i:03d}",
            ids=shared[: 60 * (i % 3)] + ids((40, 420, 180)[i % 3]),
            new_tokens=48,
            offline=True,
        )
        for i in range(12)
    ]
    online = [
        Prompt(rid=f"onl-{i:03d}", ids=ids((24, 300)[i % 2]), new_tokens=24, offline=False)
        for i in range(12)
    ]
    return tuple(prompt for pair in zip(offline, online, strict=True) for prompt in pair)


def pressing_prompts() -> tuple[Prompt, ...]:
    """Offline rows that fill the KV pool, then online prompts that need it."""
    draw = random.Random(11)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(draw.randrange(250) for _ in range(count))

    offline = [
        Prompt(rid=f"big-{i:03d}", ids=ids(500), new_tokens=300, offline=True) for i in range(7)
    ]
    online = [
        Prompt(rid=f"urg-{i:03d}", ids=ids(700), new_tokens=40, offline=False) for i in range(5)
    ]
    return (*offline, *online)


_PICKY: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    ({"frequency_penalty": 0.7}, {}),
    ({"presence_penalty": 1.1}, {}),
    ({"repetition_penalty": 1.4}, {}),
    # Half of all tokens would stop it, were it not held to a length first.
    ({"min_new_tokens": 50, "stop_token_ids": list(range(128))}, {}),
    ({"frequency_penalty": 0.4, "presence_penalty": -0.6, "repetition_penalty": 1.2}, {}),
    ({}, {"return_logprob": True, "top_logprobs_num": 3, "logprob_start_len": 0}),
    ({"frequency_penalty": 0.7}, {"return_logprob": True, "top_logprobs_num": 2}),
    ({}, {"return_logprob": True, "token_ids_logprob": [1, 2, 3]}),
    ({"stop": ["aQ", "7"], "ignore_eos": False}, {}),
    ({"regex": "[a-f0-9]{150}"}, {}),
    ({"logit_bias": {"7": 3.5, "19": -2.0}}, {}),
    ({"temperature": 1.0, "top_k": 1}, {}),
    ({"n": 2, "presence_penalty": 0.9}, {}),
)
"""Sampling parameters and what else is asked, each of which SGLang keeps state for."""


def choosy_prompts() -> tuple[Prompt, ...]:
    """Every kind of request that carries state of its own, offline and online."""
    draw = random.Random(13)
    return tuple(
        Prompt(
            rid=f"{'cho' if offline else 'pic'}-{i:03d}",
            ids=tuple(draw.randrange(250) for _ in range((60, 300)[i % 2])),
            new_tokens=200 if offline else 64,
            offline=offline,
            extra=extra,
            asks=asks,
        )
        for offline in (True, False)
        for i, (extra, asks) in enumerate(_PICKY)
    )


def single_sample(prompt: Prompt) -> Prompt:
    """The prompt asked for one sample: greedy ones are all that one."""
    return replace(prompt, extra={k: v for k, v in prompt.extra.items() if k != "n"})
