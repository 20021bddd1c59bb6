"""One request of a workload.

Owns when it arrives, how long it is and which prefix blocks it shares. Refuses content:
`content` makes it, deterministically. Invariant: `blocks` holds at most as many ids as the
prompt has blocks, the last one possibly cut, and what follows them is the prompt's own;
equal leading ids are equal prefixes.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadRequest:
    """When a request arrives and what it asks for.

    Args:
        at_s: seconds after the start of the workload.
        prompt_tokens: length of the prompt, >= 1.
        output_tokens: tokens to generate, >= 1.
        blocks: ids, >= 0, of the prompt's leading blocks; empty: its prompt is its own.
        block_tokens: tokens a block stands for; 0 without blocks.
    """

    at_s: float
    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()
    block_tokens: int = 0
