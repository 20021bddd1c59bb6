"""Engines of the session, one at a time: the stock answers first, then the plugin."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from engine_prompts import (
    Paired,
    choosy_prompts,
    mixed_prompts,
    pressing_prompts,
    single_sample,
)
from harness import running_engine

from nodeagent.models.tiny import TinyOptions, make_tiny
from nodeagent.plugin_contract import DISABLE_VARIABLE
from nodeagent.sglang_plugin.cpu_platform import declare_vision_operators

# Small enough that the prompts below cannot all hold KV at once.
FLAGS = ("--max-total-tokens=6144", "--chunked-prefill-size=256")


@pytest.fixture(scope="session")
def paired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paired]:
    """Stock answers, then a live plugin engine, strictly one after the other."""
    declare_vision_operators()
    folder = tmp_path_factory.mktemp("engine")
    model = make_tiny(folder, options=TinyOptions())
    prompts, pressing, choosy = mixed_prompts(), pressing_prompts(), choosy_prompts()
    off = {DISABLE_VARIABLE: "off"}
    with running_engine(model, folder / "stock.log", flags=FLAGS, environment=off) as stock:
        answers = stock.generate_all(prompts) | stock.generate_all(pressing)
        # One at a time: with overlap SGLang counts penalties by what else it ran between.
        alone = {p.rid: stock.answer(single_sample(p)) for p in choosy}
        stock_has_state = stock.state() is not None
    with running_engine(model, folder / "plugin.log", flags=FLAGS) as engine:
        yield Paired(
            engine=engine,
            prompts=prompts,
            pressing=pressing,
            stock=answers,
            choosy=choosy,
            stock_alone=alone,
            stock_has_state=stock_has_state,
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the session's engine come last, so that no other runs beside it: an idle
    SGLang takes a whole core.
    """
    items.sort(key=lambda item: "paired" in getattr(item, "fixturenames", ()))
