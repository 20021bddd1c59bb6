"""What real iterations do beyond the smooth sum of operators and attention.

Owns which effects there are and how large. None is a feature of any predictor here or in
the literature this project compares with, so that predictors err on them as on an engine.

Calibration. ConServe reports 51 ms for 2,048 new tokens at context 0 and 124 ms at 40K. An
A100 with Llama-2-7B takes 133 ms for these tokens before any attention (Vidur's table), so
the point cannot be of one; the H100's table has 40.4 ms. On top of that table the
difference between the two contexts sets ATTENTION_PEAK_RATIO, and LAUNCH_LAYER_MS covers
most of what is left at context 0: 49.4 and 124.1 ms, 3 % under and 0.1 % over. The model is
taken for one of 7-8B with 32 layers of width 4,096; Llama-2-7B's own context ends at 4,096.
"""

from dataclasses import dataclass

# SGLang 0.5.23's captured decode batches without speculation, up to its default of 256 rows
# for devices of 60-160 GB and fewer than 4 of them (arg_groups/cuda_graph_hook.py). One of
# 40 GB starts with 32 rows unless told otherwise; here it is told otherwise.
CAPTURED_ROWS = (1, 2, 4, 8, 12, *range(16, 257, 8))

# Host time that the device waits for where kernels are launched one by one: a dozen a
# layer. Stated; see the calibration above.
LAUNCH_LAYER_MS = 0.2

# Of the tensor peak that attention reaches over long contexts; calibrated, see above.
ATTENTION_PEAK_RATIO = 0.63
# Queries that a kernel computes at once, used or not (FlashAttention 2 and 3, head 128).
ATTENTION_TILE_QUERIES = 128
# Query-key pairs a row needs to reach half the peak; 2,048 new tokens reach 70 % of it, near
# what FlashAttention 3 reports for causal attention at that length. Stated, not measured.
ATTENTION_HALF_PAIRS = 400_000.0
# Context a decode row needs to read at half the sheet's bandwidth; 1,000 tokens reach 80 % of
# it, 16K 94 %. Stated, not measured.
DECODE_HALF_TOKENS = 64.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """Each on unless said otherwise.

    Attributes:
        pads_decodes: A decode-only iteration runs as the next larger captured batch.
        steps_tables: Matrices take as long as for the next larger measured number of tokens,
            instead of the line between: a tile that is started costs as much as a full one.
            The tables' own steps, at multiples of 64 and 128 tokens, keep their full height.
        launches_kernels: An iteration with prompts, or with more rows than any captured
            batch, launches its kernels one by one.
        ramps_attention: Prompts with few queries fill a tile all the same, and few
            query-key pairs a row reach less of the peak; else all reach half of it. Decode
            rows of short contexts reach less of the bandwidth; else all reach all of it.
        captured_rows: Sizes of captured batches, rising.
        launch_layer_ms: Host time of a layer whose kernels are launched one by one, >= 0.
    """

    pads_decodes: bool = True
    steps_tables: bool = True
    launches_kernels: bool = True
    ramps_attention: bool = True
    captured_rows: tuple[int, ...] = CAPTURED_ROWS
    launch_layer_ms: float = LAUNCH_LAYER_MS

    def __post_init__(self) -> None:
        rows = self.captured_rows
        if not rows or rows[0] < 1 or list(rows) != sorted(set(rows)):
            raise ValueError(f"effects: captured_rows {rows} must be >= 1 and rise")
        if not 0.0 <= self.launch_layer_ms < float("inf"):
            raise ValueError(
                f"effects: launch_layer_ms is {self.launch_layer_ms}, must be finite and >= 0"
            )


NO_EFFECTS = Effects(
    pads_decodes=False, steps_tables=False, launches_kernels=False, ramps_attention=False
)
"""The smooth sum, but for tables that fall: those never do."""
