"""Coefficients of one kind of iteration.

Owns the terms of the time model and what a valid coefficient is. Refuses any that could
make a larger batch look cheaper.

Formulation. With S_p prefill tokens over N_p rows, N_d decode rows, context KV lengths:

    mean  = constant
          + prefill_rows*N_p + prefill_tokens*S_p + prefill_tokens_sq*S_p^2
          + prefill_context*sum c + prefill_attention*sum p(c + p/2)
          + prefill_padded_sq*sum (c + p)^2
          + decode_rows*N_d + decode_context*sum context
          + decode_padded_context*N_d*max context
          + tokens_over_knee*max(0, S_p + N_d - knee_tokens)
          + token_curve(S_p + N_d)
    bound = mean*(1 + margin_ratio) + margin_ms

token_curve is the line through (TOKEN_KNOTS, token_curve_ms), 0 before the first knot and
level after the last: what a hinge cannot say. Each tile of a matrix kernel that is started
costs as much as a full one, so the time steps up just past a multiple of the tile size.

Sources: HyGen (arXiv 2501.14808) for S_p, S_d, N_p, N_d and S_p^2, ConServe for the
context terms, Niyama/QoServe for the knee between memory-bound and compute-bound
batches, Vidur's operator profiles (MLSys 2024) for the steps; the padded terms are
measured on SGLang's torch_native backend.

Invariant: every coefficient is finite and >= 0 and the curve never falls, so mean and
bound never fall as a batch grows.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import pairwise

TERMS = (
    "constant",
    "prefill_rows",
    "prefill_tokens",
    "prefill_tokens_sq",
    "prefill_context",
    "prefill_attention",
    "prefill_padded_sq",
    "decode_rows",
    "decode_context",
    "decode_padded_context",
    "tokens_over_knee",
)
"""Names of the linear terms, in the order of the formulation."""

# Vidur's profiles of three GPUs, on a grid of 8 tokens, rise by up to 60 % within one grid
# step past these sizes, and little between.
_TILES_TOKENS = (64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
# The first rows cost more than the next: H100 TP2 decode errs by 7 % without these, 2 % with.
_FIRST_ROWS_TOKENS = (1, 4, 16)
TOKEN_KNOTS = _FIRST_ROWS_TOKENS + tuple(
    knot for tile in _TILES_TOKENS for knot in (tile, tile + 8)
)
"""Where the token curve may bend, in tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficients:
    """One kind of iteration: milliseconds per unit of each term, knee, curve and margin.

    `token_curve_ms` is the curve's height at each of TOKEN_KNOTS, from 0 on, never falling.
    `coverage_ratio` is the share of iterations the bound is calibrated to hold; 0 says
    that nothing calibrated it.
    """

    constant: float = 0.0
    prefill_rows: float = 0.0
    prefill_tokens: float = 0.0
    prefill_tokens_sq: float = 0.0
    prefill_context: float = 0.0
    prefill_attention: float = 0.0
    prefill_padded_sq: float = 0.0
    decode_rows: float = 0.0
    decode_context: float = 0.0
    decode_padded_context: float = 0.0
    tokens_over_knee: float = 0.0
    knee_tokens: float = 0.0
    token_curve_ms: tuple[float, ...] = (0.0,) * len(TOKEN_KNOTS)
    margin_ratio: float = 0.0
    margin_ms: float = 0.0
    coverage_ratio: float = 0.0

    def __post_init__(self) -> None:
        for name, value in self.numbers():
            if not math.isfinite(value) or value < 0.0:
                raise ValueError(
                    f"latency coefficient {name}: {value!r} is not allowed, "
                    "must be finite and >= 0; refit, or fall back to default_model()"
                )
        curve = self.token_curve_ms
        if len(curve) != len(TOKEN_KNOTS) or curve[0] != 0.0:
            raise ValueError(
                f"latency coefficient token_curve_ms: {curve!r} is not allowed, must have "
                f"{len(TOKEN_KNOTS)} values from 0 on; refit, or fall back to default_model()"
            )
        for low, high in pairwise(curve):
            if high < low:
                raise ValueError(
                    f"latency coefficient token_curve_ms: {high!r} after {low!r} is not "
                    "allowed, must never fall; refit, or fall back to default_model()"
                )
        if self.coverage_ratio >= 1.0:
            raise ValueError(
                f"latency coefficient coverage_ratio: {self.coverage_ratio!r} is not "
                "allowed, must be below 1: no finite sample promises every iteration"
            )

    def numbers(self) -> Iterator[tuple[str, float]]:
        """Every number by name, those of the curve one by one (`token_curve_ms_0`, …)."""
        for name in NUMBERS:
            yield name, getattr(self, name)
        for name, value in zip(CURVE_NUMBERS, self.token_curve_ms, strict=False):
            yield name, value

    @classmethod
    def from_numbers(cls, numbers: Mapping[str, float]) -> "Coefficients":
        """Reads what `numbers` gives.

        Raises:
            KeyError: A number is missing.
            ValueError: A number is not allowed.
        """
        return cls(
            **{name: float(numbers[name]) for name in NUMBERS},
            token_curve_ms=tuple(float(numbers[name]) for name in CURVE_NUMBERS),
        )


NUMBERS = tuple(f.name for f in fields(Coefficients) if f.name != "token_curve_ms")
CURVE_NUMBERS = tuple(f"token_curve_ms_{index}" for index in range(len(TOKEN_KNOTS)))
