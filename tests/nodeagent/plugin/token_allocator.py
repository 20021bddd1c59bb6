"""KV as a number of free tokens, for tests that run no model."""

from typing import Any


class TokenAllocator:
    """As much of SGLang's allocator as admission asks: a number of free tokens."""

    page_size = 1

    def __init__(self, free_tokens: int) -> None:
        self.free_tokens = free_tokens

    def available_size(self) -> int:
        return self.free_tokens

    def request_slot_reserve(self, **_: Any) -> int:
        return 0

    def create_prefill_budget(self, tree: Any, num_mixed_decode_tokens: int = 0) -> Any:
        from sglang.srt.mem_cache.prefill_budget import PrefillBudget

        return PrefillBudget(self, tree, num_mixed_decode_tokens=num_mixed_decode_tokens)
