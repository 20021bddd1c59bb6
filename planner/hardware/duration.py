"""The time of an iteration with its effects, from sums.

Owns the composition. Formulation, with S_p prefill tokens over N_p rows, C cached tokens
before them, A = sum p(c + p/2), N_d decode rows that read K tokens of KV:

    time = matrices(tokens) + launches + (K + sqrt(half_d*N_d*K)) * read
         + max((A' + sqrt(half_p*N_p*A')) * pair, (C + S_p) * read)
    A'   = max(A, tile*(C + S_p/2))

`pair` is the time of a query-key pair at the peak that attention reaches, `read` that of
reading a token's KV. A' is A where each row fills a tile of queries. The roots make the
efficiency 1/(1 + sqrt(half_p/a)) of that peak at a = A'/N_p pairs a prompt, and likewise of
the bandwidth at K/N_d tokens a decode row. They rise in every sum, which a ratio of sums
would not.

Invariant: the time never falls as any sum grows, so a chunk within a budget is found by
bisection. For that a mixed iteration's tokens count as at least the captured batch that its
decodes alone would run as.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from math import ceil, sqrt

from planner.hardware.effects import (
    ATTENTION_HALF_PAIRS,
    ATTENTION_PEAK_RATIO,
    ATTENTION_TILE_QUERIES,
    DECODE_HALF_TOKENS,
    Effects,
)
from planner.hardware.machine import ATTENTION_RATIO, Machine
from planner.latency.features import BatchShape


class Duration:
    """How long iterations of one machine take; made once, cheap to ask."""

    __slots__ = (
        "_captured",
        "_half_pairs",
        "_half_tokens",
        "_launch_ms",
        "_matrices_ms",
        "_most_captured",
        "_pair_ms",
        "_read_ms",
        "_tile",
    )

    def __init__(self, machine: Machine, effects: Effects) -> None:
        ratio = ATTENTION_PEAK_RATIO if effects.ramps_attention else ATTENTION_RATIO
        self._pair_ms = machine.pair_ms / ratio
        self._read_ms = machine.read_ms
        self._tile = ATTENTION_TILE_QUERIES if effects.ramps_attention else 0
        self._half_pairs = ATTENTION_HALF_PAIRS if effects.ramps_attention else 0.0
        self._half_tokens = DECODE_HALF_TOKENS if effects.ramps_attention else 0.0
        layers = machine.model.layers if effects.launches_kernels else 0
        self._launch_ms = layers * effects.launch_layer_ms
        self._most_captured = effects.captured_rows[-1]
        self._captured = _captured(effects)
        # One entry for each number of tokens seen: as many as the largest batch, no more.
        self._matrices_ms = cache(_matrices(machine, effects))

    def __call__(self, shape: BatchShape) -> float:
        """Milliseconds of an iteration of `shape`."""
        return self.mean_ms(
            shape.prefill_rows,
            shape.prefill_tokens,
            shape.prefill_attention,
            shape.prefill_padded_sq,
            shape.decode_rows,
            shape.decode_context_tokens,
            shape.decode_max_context_tokens,
            shape.prefill_context_tokens,
        )

    def mean_ms(
        self,
        prefill_rows: int,
        prefill_tokens: int,
        prefill_attention: float,
        prefill_padded_sq: float,
        decode_rows: int,
        decode_context_tokens: int,
        decode_max_context_tokens: int,
        prefill_context_tokens: int = 0,
    ) -> float:
        """As `planner.latency.predictor.LatencyModel.mean_ms`, in milliseconds."""
        if not prefill_rows and not decode_rows:
            return 0.0
        is_captured = decode_rows <= self._most_captured
        tokens = self._captured[decode_rows] if is_captured else decode_rows
        short_tokens = sqrt(self._half_tokens * decode_rows * decode_context_tokens)
        total_ms = (decode_context_tokens + short_tokens) * self._read_ms
        if prefill_rows or not is_captured:
            total_ms += self._launch_ms
        if prefill_rows:
            if prefill_tokens + decode_rows > tokens:
                tokens = prefill_tokens + decode_rows
            pairs = prefill_attention
            filled = self._tile * (prefill_context_tokens + prefill_tokens / 2.0)
            if filled > pairs:
                pairs = filled
            pairs_ms = (pairs + sqrt(self._half_pairs * prefill_rows * pairs)) * self._pair_ms
            read_ms = (prefill_context_tokens + prefill_tokens) * self._read_ms
            total_ms += pairs_ms if pairs_ms > read_ms else read_ms
        return total_ms + self._matrices_ms(tokens)


def _captured(effects: Effects) -> list[int]:
    """By decode rows: how many run."""
    captured = effects.captured_rows
    rows = range(captured[-1] + 1)
    if not effects.pads_decodes:
        return list(rows)
    return [0, *(captured[bisect_left(captured, n)] for n in rows[1:])]


def _matrices(machine: Machine, effects: Effects) -> Callable[[int], float]:
    """Operators and all-reduces by tokens, never falling; in steps if asked."""
    operators_ms, all_reduce_ms = machine.operators_ms.monotone(), machine.all_reduce_ms
    if all_reduce_ms is not None:
        all_reduce_ms = all_reduce_ms.monotone()
    smooth = replace(machine, operators_ms=operators_ms, all_reduce_ms=all_reduce_ms)
    if not effects.steps_tables:
        return smooth.matrices_ms
    grid = operators_ms.at
    last, step = grid[-1], grid[-1] - grid[-2]

    def stepped_ms(tokens: int) -> float:
        if tokens <= last:
            return smooth.matrices_ms(grid[bisect_left(grid, tokens)])
        return smooth.matrices_ms(last + ceil((tokens - last) / step) * step)

    return stepped_ms
