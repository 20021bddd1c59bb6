"""What of a batch its duration depends on.

Owns the running sums from which a prediction is made in O(1). Sources: HyGen
(arXiv 2501.14808) for S_p, S_d, N_p, N_d and S_p^2; ConServe for the context terms;
the padded square is measured on SGLang's torch_native backend, which pads each query to
its whole KV length.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchShape:
    """Sums over the rows of one iteration. Tokens are counts, never negative."""

    prefill_tokens: int = 0  # S_p: uncached prompt tokens computed
    prefill_rows: int = 0  # N_p
    prefill_context_tokens: int = 0  # sum of cached prefix lengths c
    prefill_attention: float = 0.0  # sum of p*(c + p/2): query-key pairs
    prefill_padded_sq: float = 0.0  # sum of (c + p)^2: torch_native's work
    decode_rows: int = 0  # N_d (= S_d, one token a row)
    decode_context_tokens: int = 0  # sum of KV lengths read
    decode_max_context_tokens: int = 0

    def with_prefill(self, *, new_tokens: int, cached_tokens: int) -> "BatchShape":
        """Adds one prefill row of `new_tokens` after `cached_tokens`."""
        total = cached_tokens + new_tokens
        # Spelt out: `replace` takes three times as long, several times a pass.
        return BatchShape(
            prefill_tokens=self.prefill_tokens + new_tokens,
            prefill_rows=self.prefill_rows + 1,
            prefill_context_tokens=self.prefill_context_tokens + cached_tokens,
            prefill_attention=self.prefill_attention
            + new_tokens * (cached_tokens + new_tokens / 2.0),
            prefill_padded_sq=self.prefill_padded_sq + float(total * total),
            decode_rows=self.decode_rows,
            decode_context_tokens=self.decode_context_tokens,
            decode_max_context_tokens=self.decode_max_context_tokens,
        )

    def with_decode(self, *, context_tokens: int) -> "BatchShape":
        """Adds one decode row that reads `context_tokens` of KV."""
        return BatchShape(
            prefill_tokens=self.prefill_tokens,
            prefill_rows=self.prefill_rows,
            prefill_context_tokens=self.prefill_context_tokens,
            prefill_attention=self.prefill_attention,
            prefill_padded_sq=self.prefill_padded_sq,
            decode_rows=self.decode_rows + 1,
            decode_context_tokens=self.decode_context_tokens + context_tokens,
            decode_max_context_tokens=max(self.decode_max_context_tokens, context_tokens),
        )

    @property
    def is_decode_only(self) -> bool:
        """Whether no prompt token is computed."""
        return self.prefill_rows == 0
