"""Coefficients to start from, before an engine's own iterations were measured.

Owns stated, cautious defaults per device family. Refuses to be precise: each carries a
wide uncalibrated margin (coverage 0), so that offline work under a default yields more
than it needs to; the first accepted fit replaces it.
"""

from dataclasses import dataclass

from planner.latency.coefficients import CURVE_NUMBERS, TERMS, Coefficients

DEFAULT_MARGIN_RATIO = 0.5  # nothing measured: half as much again as the source says


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultCoefficients:
    """Both kinds of iteration, and the size of the model they were measured on."""

    decode: Coefficients
    prefill: Coefficients
    weights_bytes: int


def scaled(coefficients: Coefficients, *, ratio: float) -> Coefficients:
    """The same coefficients with every term multiplied by `ratio` (> 0)."""
    numbers = dict(coefficients.numbers())
    for name in (*TERMS, *CURVE_NUMBERS):
        numbers[name] *= ratio
    return Coefficients.from_numbers(numbers)


# SGLang 0.5.23 on 2 cores of an AMD EPYC, 9.4 M-parameter Llama in fp32: decode of
# 1/8/32 rows 7.5/14.8/28.7 ms; prompts of 128/256/512/1024 tokens 44/78/184/434 ms in
# chunks of 256, solved for constant, token and padded square. KV reads: 6 KiB a token
# at about 6 GB/s.
_CPU_DECODE = Coefficients(
    constant=7.0,
    decode_rows=0.7,
    decode_context=1e-3,
    margin_ratio=DEFAULT_MARGIN_RATIO,
    margin_ms=2.0,
)
# torch_native pads decode rows of a mixed batch to the longest KV: 33 rows took 255 ms
# where the halves took 70 + 42 ms.
_CPU_PREFILL = Coefficients(
    constant=4.0,
    prefill_rows=0.5,
    prefill_tokens=0.32,
    prefill_padded_sq=5e-5,
    decode_rows=2.0,
    decode_padded_context=1.4e-2,
    margin_ratio=DEFAULT_MARGIN_RATIO,
    margin_ms=2.0,
)

# Llama-2-7B in fp16 on one A100-40GB. Vidur's operator profiles without attention: flat
# at 9.5 ms up to 64 tokens, then 64 us a token. Attention by roofline: 524,288 B of KV a
# token over 1.555 TB/s (vendor sheet); 4*32*4096 FLOPs a query-key pair at half of
# 312 TFLOP/s (vendor sheet).
_A100 = Coefficients(
    constant=9.5,
    prefill_rows=0.05,
    prefill_attention=3.4e-6,
    decode_context=3.4e-4,
    tokens_over_knee=0.064,
    knee_tokens=64.0,
    margin_ratio=DEFAULT_MARGIN_RATIO,
    margin_ms=1.0,
)
# A40 against A100-40GB by the vendor's sheets: 0.696 of 1.555 TB/s, 150 of 312 TFLOP/s.
_A40 = scaled(_A100, ratio=2.25)

_LLAMA_2_7B_BYTES = 13_476_000_000

DEFAULT_COEFFICIENTS: dict[str, DefaultCoefficients] = {
    "cpu": DefaultCoefficients(decode=_CPU_DECODE, prefill=_CPU_PREFILL, weights_bytes=37_600_000),
    "a100": DefaultCoefficients(decode=_A100, prefill=_A100, weights_bytes=_LLAMA_2_7B_BYTES),
    # An H100 is at least as fast as an A100; nothing here claims how much.
    "h100": DefaultCoefficients(decode=_A100, prefill=_A100, weights_bytes=_LLAMA_2_7B_BYTES),
    "a40": DefaultCoefficients(decode=_A40, prefill=_A40, weights_bytes=_LLAMA_2_7B_BYTES),
}
"""By device family."""
