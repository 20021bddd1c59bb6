"""Iterations as a server might run them, to fit and judge predictors on.

Owns the draw: half of the iterations decode only, a third are mixed, the rest prompts only.
Refuses times; and prompts are drawn whatever KV the decodes hold, since time does not depend
on it. Deterministic by the source handed in.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from planner.hardware.machine import Machine
from planner.latency.features import BatchShape

LARGEST_BATCH_TOKENS = 4_096  # the measured tables end there
MOST_DECODES = 256  # SGLang's default for the largest captured batch
LONGEST_CONTEXT_TOKENS = 32_768
_SHORTEST_PREFIX_TOKENS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class IterationRows:
    """The rows of one iteration: decodes by context, prompts by (new, cached) tokens."""

    decodes: tuple[int, ...]
    prefills: tuple[tuple[int, int], ...]

    @property
    def tokens(self) -> int:
        """Tokens computed."""
        return len(self.decodes) + sum(new for new, _ in self.prefills)

    @property
    def shape(self) -> BatchShape:
        """Their sums."""
        shape = BatchShape(
            decode_rows=len(self.decodes),
            decode_context_tokens=sum(self.decodes),
            decode_max_context_tokens=max(self.decodes, default=0),
        )
        for new, cached in self.prefills:
            shape = shape.with_prefill(new_tokens=new, cached_tokens=cached)
        return shape


def draw_shapes(
    machine: Machine,
    *,
    seed: int,
    count: int,
    most_decodes: int = MOST_DECODES,
    largest_batch_tokens: int = LARGEST_BATCH_TOKENS,
) -> list[BatchShape]:
    """Iterations that a machine can run, with contexts up to its model's.

    Args:
        machine: Says how much KV there is.
        seed: Equal seeds give equal draws.
        count: How many iterations.
        most_decodes: Rows that decode at most.
        largest_batch_tokens: Tokens of an iteration at most, > most_decodes.

    Raises:
        ValueError: The machine's KV does not hold one context.
    """
    longest = min(machine.model.context_tokens, LONGEST_CONTEXT_TOKENS)
    if machine.kv_tokens < longest:
        raise ValueError(
            f"{machine.name}: KV holds {machine.kv_tokens} tokens, a context has {longest}; use "
            "more devices, or a model of shorter context"
        )
    source = random.Random(f"{seed}/{machine.name}")
    rows = draw_rows(
        source,
        kv_tokens=machine.kv_tokens,
        longest_context_tokens=longest,
        most_decodes=most_decodes,
        largest_batch_tokens=largest_batch_tokens,
    )
    return [next(rows).shape for _ in range(count)]


def draw_rows(
    source: random.Random,
    *,
    kv_tokens: int,
    longest_context_tokens: int = LONGEST_CONTEXT_TOKENS,
    most_decodes: int = MOST_DECODES,
    largest_batch_tokens: int = LARGEST_BATCH_TOKENS,
) -> Iterator[IterationRows]:
    """Iterations without end.

    Rows are up to `most_decodes` decodes, evenly by magnitude, and up to 4 prompts; contexts
    are even by magnitude from one iteration to the next, and those of decodes together
    within what KV holds.
    """
    while True:
        kind = source.random()
        decodes: tuple[int, ...] = ()
        prefills: tuple[tuple[int, int], ...] = ()
        if kind < 5 / 6:
            decodes = _draw_decodes(
                source, most=most_decodes, kv_tokens=kv_tokens, longest=longest_context_tokens
            )
        if kind >= 1 / 2:
            prefills = _draw_prefills(
                source, tokens=largest_batch_tokens - len(decodes), longest=longest_context_tokens
            )
        yield IterationRows(decodes=decodes, prefills=prefills)


def _draw_decodes(
    source: random.Random, *, most: int, kv_tokens: int, longest: int
) -> tuple[int, ...]:
    rows = round(_by_magnitude(source, 1, most))
    typical = _by_magnitude(source, 64, longest)
    contexts: list[int] = []
    left = kv_tokens
    for _ in range(rows):
        drawn = typical * math.exp(source.gauss(0.0, 0.7))
        context = min(longest, max(16, round(drawn)))
        if context > left:
            break
        contexts.append(context)
        left -= context
    return tuple(contexts)


def _draw_prefills(
    source: random.Random, *, tokens: int, longest: int
) -> tuple[tuple[int, int], ...]:
    rows = source.randint(1, 4)
    total = round(_by_magnitude(source, 16 * rows, tokens))
    prefills = []
    for row in range(rows):
        share = total
        if row < rows - 1:
            share = round(total * source.uniform(0.5, 1.0) / (rows - row))
        new = min(max(1, share), longest)
        total -= new
        cached = 0
        if source.random() < 0.5 and longest - new > _SHORTEST_PREFIX_TOKENS:
            cached = round(_by_magnitude(source, _SHORTEST_PREFIX_TOKENS, longest - new))
        prefills.append((new, cached))
    return tuple(prefills)


def _by_magnitude(source: random.Random, low: float, high: float) -> float:
    return low * math.exp(math.log(high / low) * source.random())
