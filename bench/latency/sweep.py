"""What an engine is asked so that its iterations cover the shapes that matter.

Owns the designed sweep: groups of requests sent at once. Refuses to send them. The parts:
decode rows x context, prefill chunk x cached prefix, several prompts in one pass. Contexts
come cheap by prefixes that are in the prefix cache already, at most `_ROWS_A_PREFIX` rows
on each, so that rows do not all read the same KV.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

DECODE_ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 28, 32)
CONTEXT_TOKENS = (16, 64, 128, 256, 512, 768, 1024, 1536, 2048)
CHUNK_TOKENS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
PREFIX_TOKENS = (0, 64, 128, 256, 512, 1024, 1536, 2048)
PROMPTS_A_PASS = (2, 3, 4, 6, 8)
_ROWS_A_PREFIX = 8
_DECODE_STEPS = 9
_VOCAB_TOKENS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRequest:
    """One request: its prompt and how many tokens it generates."""

    prompt: tuple[int, ...]
    new_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepGroup:
    """Requests sent at once; the next group starts when all have ended."""

    part: str
    requests: tuple[SweepRequest, ...]


def warm_prefixes(*, seed: int) -> Iterator[SweepGroup]:
    """Brings the prefixes into the cache; run before `sweep` of the same seed."""
    longest = max(*CONTEXT_TOKENS, *PREFIX_TOKENS)
    for index in range(-(-max(DECODE_ROWS) // _ROWS_A_PREFIX)):
        prompt = _prefix(seed, index, longest)
        yield SweepGroup(part="warm", requests=(SweepRequest(prompt=prompt, new_tokens=1),))


def sweep(*, seed: int, repeat: int) -> Iterator[SweepGroup]:
    """One repeat of the sweep, in an order drawn anew for each repeat."""
    source = random.Random(f"{seed}/sweep/{repeat}")
    groups = [*_decodes(source, seed=seed), *_chunks(source, seed=seed), *_several(source)]
    source.shuffle(groups)
    yield from groups


def _decodes(source: random.Random, *, seed: int) -> Iterator[SweepGroup]:
    for rows in DECODE_ROWS:
        for context in CONTEXT_TOKENS:
            suffix = min(context, 8)
            yield SweepGroup(
                part="decode",
                requests=tuple(
                    SweepRequest(
                        prompt=_prefix(seed, row // _ROWS_A_PREFIX, context - suffix)
                        + _draw(source, suffix),
                        new_tokens=_DECODE_STEPS,
                    )
                    for row in range(rows)
                ),
            )


def _chunks(source: random.Random, *, seed: int) -> Iterator[SweepGroup]:
    for chunk in CHUNK_TOKENS:
        for prefix in PREFIX_TOKENS:
            prompt = _prefix(seed, source.randrange(4), prefix) + _draw(source, chunk)
            yield SweepGroup(part="prefill", requests=(SweepRequest(prompt=prompt, new_tokens=1),))


def _several(source: random.Random) -> Iterator[SweepGroup]:
    for prompts in PROMPTS_A_PASS:
        for chunk in CHUNK_TOKENS:
            if prompts * chunk <= 1024:
                yield SweepGroup(
                    part="prefill",
                    requests=tuple(
                        SweepRequest(prompt=_draw(source, chunk), new_tokens=1)
                        for _ in range(prompts)
                    ),
                )


def _prefix(seed: int, index: int, tokens: int) -> tuple[int, ...]:
    """The first `tokens` of prefix `index`; shorter ones begin the longer ones."""
    return _draw(random.Random(f"{seed}/prefix/{index}"), tokens)


def _draw(source: random.Random, tokens: int) -> tuple[int, ...]:
    return tuple(source.randrange(_VOCAB_TOKENS) for _ in range(tokens))
