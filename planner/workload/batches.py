"""JSONL lines of an offline batch, for demos and benches.

Owns items of given prompt lengths, a share of which start with the same prefix. Refuses
files. The lines follow the OpenAI batch format (`custom_id`, `method`, `url`, `body`).
Invariant: equal arguments give equal lines; custom_ids are unique.
"""

import json
import random
from collections.abc import Iterator

_PROSE = (
    "time year people way day man thing woman life child world school state family student"
    " group country problem hand part place case week company system program question work"
    " government number night point home water room mother area money story fact month lot"
    " right study book eye job word business issue side kind head house service friend"
)
_WORDS = _PROSE.split()


def batch_lines(
    *,
    seed: int,
    count: int,
    model: str,
    prompt_tokens: tuple[int, int] = (64, 192),
    max_tokens: int = 32,
    shared_ratio: float = 0.5,
    prefix_groups: int = 4,
    characters_per_token: float = 1.0,
) -> Iterator[str]:
    """Draws the lines of a batch, without line ends.

    Args:
        seed: says everything that is drawn.
        count: lines, >= 0.
        model: deployment the items are for.
        prompt_tokens: least and most tokens of a prompt, by `characters_per_token`.
        max_tokens: to generate for each item.
        shared_ratio: share of items whose prompt starts with a group's prefix, half of
            the shortest prompt long.
        prefix_groups: different shared prefixes, >= 1.
        characters_per_token: of the model's tokenizer; 1 for byte-level ones, about 4
            for English under a large vocabulary.

    Raises:
        ValueError: lengths or ratio out of range.
    """
    low, high = prompt_tokens
    if not (1 <= low <= high and max_tokens >= 1 and prefix_groups >= 1):
        raise ValueError(
            f"prompt_tokens {prompt_tokens}, max_tokens {max_tokens}, prefix_groups"
            f" {prefix_groups}: need 1 <= least <= most and the others >= 1"
        )
    if not 0 <= shared_ratio <= 1:
        raise ValueError(f"shared_ratio {shared_ratio}: must lie in 0..1")
    prefixes = [
        _text(random.Random(f"{seed}/prefix/{group}"), int(low * characters_per_token / 2))
        for group in range(prefix_groups)
    ]
    for index in range(count):
        source = random.Random(f"{seed}/item/{index}")
        length = round(source.randint(low, high) * characters_per_token)
        prefix = source.choice(prefixes) if source.random() < shared_ratio else ""
        prompt = prefix + _text(source, length - len(prefix))
        yield json.dumps(
            {
                "custom_id": f"item-{index:06d}",
                "method": "POST",
                "url": "/v1/completions",
                "body": {
                    "model": model,
                    "prompt": prompt,
                    "max_tokens": max_tokens,
                    "temperature": 0,
                },
            }
        )


def _text(source: random.Random, length: int) -> str:
    words: list[str] = []
    size = 0
    while size < length:
        words.append(source.choice(_WORDS))
        size += len(words[-1]) + 1
    return " ".join(words)[: max(1, length)]
