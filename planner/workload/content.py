"""Token ids of a workload's prompts.

Owns content that means nothing and repeats exactly: the same seed and request give the
same ids, and equal prefix blocks give equal prefixes. Refuses tokenizers.
"""

import random

from planner.workload.request import WorkloadRequest

BYTE_VOCAB_TOKENS = 256
"""Ids 0..255 exist in every byte-level vocabulary."""


def prompt_token_ids(
    request: WorkloadRequest, *, index: int, seed: int, vocab_tokens: int = BYTE_VOCAB_TOKENS
) -> list[int]:
    """The prompt of the workload's request `index`.

    Args:
        request: its length and prefix blocks.
        index: position in the workload; makes unshared prompts differ.
        seed: of the whole workload.
        vocab_tokens: ids lie in 0..vocab_tokens - 1.
    """
    ids: list[int] = []
    for block in request.blocks:
        ids.extend(_tokens(f"{seed}/block/{block}", request.block_tokens, vocab_tokens))
    missing = request.prompt_tokens - len(ids)
    if missing > 0:
        ids.extend(_tokens(f"{seed}/request/{index}", missing, vocab_tokens))
    return ids[: request.prompt_tokens]


def _tokens(name: str, count: int, vocab_tokens: int) -> list[int]:
    source = random.Random(name)
    if vocab_tokens == BYTE_VOCAB_TOKENS:
        return list(source.randbytes(count))  # 20 times as fast as choices
    return source.choices(range(vocab_tokens), k=count)
