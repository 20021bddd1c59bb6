"""Coefficients of one kind of iteration.

Owns the terms of the time model and what a valid coefficient is. Refuses any that could
make a larger batch look cheaper.

Formulation. With S_p prefill tokens over N_p rows, N_d decode rows, context KV lengths:

    mean  = constant
          + prefill_rows*N_p + prefill_tokens*S_p + prefill_tokens_sq*S_p^2
          + prefill_attention*sum p(c + p/2) + prefill_padded_sq*sum (c + p)^2
          + decode_rows*N_d + decode_context*sum context
          + decode_padded_context*N_d*max context
          + tokens_over_knee*max(0, S_p + N_d - knee_tokens)
    bound = mean*(1 + margin_ratio) + margin_ms

Sources: HyGen (arXiv 2501.14808) for S_p, S_d, N_p, N_d and S_p^2, ConServe for the
context terms, Niyama/QoServe for the knee between memory-bound and compute-bound
batches; the padded terms are measured on SGLang's torch_native backend.

Invariant: every coefficient is finite and >= 0, so mean and bound never fall as a batch
grows.
"""

import math
from dataclasses import dataclass, fields

TERMS = (
    "constant",
    "prefill_rows",
    "prefill_tokens",
    "prefill_tokens_sq",
    "prefill_attention",
    "prefill_padded_sq",
    "decode_rows",
    "decode_context",
    "decode_padded_context",
    "tokens_over_knee",
)
"""Names of the linear terms, in the order of the formulation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficients:
    """One kind of iteration: milliseconds per unit of each term, knee and margin.

    `coverage_ratio` is the share of iterations the bound is calibrated to hold; 0 says
    that nothing calibrated it.
    """

    constant: float = 0.0
    prefill_rows: float = 0.0
    prefill_tokens: float = 0.0
    prefill_tokens_sq: float = 0.0
    prefill_attention: float = 0.0
    prefill_padded_sq: float = 0.0
    decode_rows: float = 0.0
    decode_context: float = 0.0
    decode_padded_context: float = 0.0
    tokens_over_knee: float = 0.0
    knee_tokens: float = 0.0
    margin_ratio: float = 0.0
    margin_ms: float = 0.0
    coverage_ratio: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not math.isfinite(value) or value < 0.0:
                raise ValueError(
                    f"latency coefficient {field.name}: {value!r} is not allowed, "
                    "must be finite and >= 0; refit, or fall back to default_model()"
                )
        if self.coverage_ratio >= 1.0:
            raise ValueError(
                f"latency coefficient coverage_ratio: {self.coverage_ratio!r} is not "
                "allowed, must be below 1: no finite sample promises every iteration"
            )
