"""Engines of the module, one at a time: the stock answers first, then the plugin."""

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import Engine, Prompt, running_engine

from nodeagent.models.tiny import TinyOptions, make_tiny
from nodeagent.plugin_contract import DISABLE_VARIABLE, parse_refusal
from nodeagent.sglang_plugin.cpu_platform import declare_vision_operators

# Small enough that the prompts below cannot all hold KV at once.
FLAGS = ("--max-total-tokens=6144", "--chunked-prefill-size=256")


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


@pytest.fixture(scope="module")
def paired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paired]:
    """Stock answers, then a live plugin engine, strictly one after the other."""
    declare_vision_operators()
    folder = tmp_path_factory.mktemp("engine")
    model = make_tiny(folder, options=TinyOptions())
    prompts, pressing = mixed_prompts(), pressing_prompts()
    off = {DISABLE_VARIABLE: "off"}
    with running_engine(model, folder / "stock.log", flags=FLAGS, environment=off) as stock:
        answers = stock.generate_all(prompts) | stock.generate_all(pressing)
        stock_has_state = stock.state() is not None
    unsupported = ("--max-total-tokens=6144", "--prefill-decode-interval=4")
    with running_engine(model, folder / "refused.log", flags=unsupported) as refused:
        refused.generate(prompts[1])
        refusal = parse_refusal(refused.call("/server_info"))
    with running_engine(model, folder / "plugin.log", flags=FLAGS) as engine:
        yield Paired(
            engine=engine,
            prompts=prompts,
            pressing=pressing,
            stock=answers,
            stock_has_state=stock_has_state,
            refusal=refusal,
        )
