"""What the engines of a test are asked, and what they answered."""

import random
from dataclasses import dataclass

from harness import Engine, Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """A running plugin engine, and what the stock engine answered to the same prompts."""

    engine: Engine
    prompts: tuple[Prompt, ...]
    pressing: tuple[Prompt, ...]
    stock: dict[str, list[int]]
    stock_has_state: bool
    refusal: str  # of an engine with options the plugin does not support


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
            extra={"frequency_penalty": 0.5} if i == 5 else {},
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
