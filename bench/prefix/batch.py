"""A batch of groups of items, each group sharing a long prefix, in random order.

Owns its size against the KV cache: all prefixes together are several times what the cache
holds, so an order that wanders over the groups computes a prefix again and again. Refuses
clocks. Invariant: equal arguments give equal items.
"""

import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPrefixBatch:
    """An endless batch in the manner of a benchmark with few-shot prompts (MMLU, say).

    Args:
        groups: different prefixes.
        prefix_tokens: length of each.
        suffix_tokens: of an item's own.
        output_tokens: few, as for a choice among answers.
    """

    seed: int
    groups: int = 40
    prefix_tokens: int = 512
    suffix_tokens: int = 24
    output_tokens: int = 4

    def lengths(self, index: int) -> tuple[int, int]:
        """Prompt and output tokens of an item; all are alike."""
        return self.prefix_tokens + self.suffix_tokens, self.output_tokens

    @property
    def all_prefix_tokens(self) -> int:
        """What all prefixes take of KV at once."""
        return self.groups * self.prefix_tokens

    def group(self, index: int) -> int:
        """The group of item `index`: every `groups` items hold each group once, shuffled."""
        turn, place = divmod(index, self.groups)
        return _shuffled(self.seed, turn, self.groups)[place]

    def ids(self, index: int) -> list[int]:
        """Token ids of an item's prompt."""
        prefix = random.Random(f"{self.seed}/prefix/{self.group(index)}")
        own = random.Random(f"{self.seed}/suffix/{index}")
        return [*prefix.randbytes(self.prefix_tokens), *own.randbytes(self.suffix_tokens)]

    def as_values(self) -> dict[str, Any]:
        """What the report says of it."""
        return {
            "groups": self.groups,
            "prefix_tokens": self.prefix_tokens,
            "suffix_tokens": self.suffix_tokens,
            "output_tokens": self.output_tokens,
            "all_prefix_tokens": self.all_prefix_tokens,
        }


@lru_cache(maxsize=64)
def _shuffled(seed: int, turn: int, groups: int) -> tuple[int, ...]:
    order = list(range(groups))
    random.Random(f"{seed}/turn/{turn}").shuffle(order)
    return tuple(order)
