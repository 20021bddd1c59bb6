"""Lengths and engines of a fleet file's deployments.

Owns which sets of lengths stand behind which word, and the simulated engine of a model on a
device. Refuses the other keys.
"""

import random
from functools import lru_cache
from itertools import islice

from controlplane.cli.replay_fleet_part import Part
from planner.hardware.device import device_named
from planner.hardware.machine import build_machine
from planner.hardware.model import ModelShape
from planner.hardware.simulated import simulated_engine
from planner.replay.scenario import engine_settings
from planner.simulation.kind import EngineKind
from planner.workload.generate import Lengths, azure_lengths
from planner.workload.offline import arxiv_summarization, cnn_dailymail

_MOST_CONTEXT = 8192
_DRAWN = 4000  # lengths of a set that is drawn from, over and over


def lengths_of(part: Part, key: str, default: str, *, model: ModelShape) -> Lengths:
    """Draws lengths that fit the model's context."""
    context = context_of(model)
    if part.is_mapping(key):
        given = part.part(key)
        prompt = given.whole("prompt", least=1, most=context - 2)
        output = given.whole("output", least=1, most=context - prompt - 1)
        given.close()
        return lambda _: (prompt, output)
    sets: dict[str, Lengths] = {
        "azure": azure_lengths,
        "arxiv": lambda source: source.choice(_drawn_set("arxiv")),
        "cnn": lambda source: source.choice(_drawn_set("cnn")),
    }
    return Fitted(sets[part.word(key, sets, default)], context)


def context_of(model: ModelShape) -> int:
    """Tokens a request may have: the model's context, within what an engine's KV holds many of."""
    return min(model.context_tokens, _MOST_CONTEXT)


class Fitted:
    """Lengths cut to a context: the output to half of it, the prompt to what is left."""

    def __init__(self, draw: Lengths, context: int) -> None:
        self._draw, self._context = draw, context

    def __call__(self, source: random.Random) -> tuple[int, int]:
        """Draws one request's tokens."""
        prompt_tokens, output_tokens = self._draw(source)
        output_tokens = min(output_tokens, self._context // 2)
        return min(prompt_tokens, self._context - output_tokens - 2), output_tokens


@lru_cache(maxsize=2)
def _drawn_set(name: str) -> tuple[tuple[int, int], ...]:
    draw = arxiv_summarization if name == "arxiv" else cnn_dailymail
    requests = islice(draw(seed=0), _DRAWN)
    return tuple((request.prompt_tokens, request.output_tokens) for request in requests)


def engine_of(
    part: Part, model: ModelShape, device: str, *, size: int, chunk: int
) -> EngineKind | None:
    """The engine of that model on that device; None where it does not fit."""
    try:
        machine = build_machine(device_named(device), model, tensor_parallel_size=size)
    except ValueError as error:
        part.refuse("tensor_parallel_size", str(error))
    if machine.kv_tokens <= context_of(model):
        return None
    return simulated_engine(machine, settings=engine_settings(machine, chunked_prefill_size=chunk))
