"""Times of operators and all-reduces from the sheet, where none was measured.

Owns the estimate. Refuses to be taken for a measurement: a machine made of it says so.

An operator either waits for its weights or for its arithmetic, and never hides one behind
the other entirely: a layer takes the root of the sum of both squared, plus its launches.
Tokens count in tiles of 64 past the first. The shares of the sheet's peaks below are those
that come nearest Vidur's tables of A40, A100 and H100 with Llama-2 7B and 70B (MLSys 2024):
8 % off in the mean of all, 11 % in that of the worst table, a third at most, where a small
model is split over eight devices or a large batch just starts a tile.
"""

from math import ceil, hypot

from planner.hardware.curve import Curve
from planner.hardware.device import Device
from planner.hardware.model import ModelShape

_COMPUTE_RATIO = 0.64  # of the tensor peak; fitted, see above
_MEMORY_RATIO = 0.74  # of the bandwidth; likewise
_LAUNCH_MS = 0.025  # a layer's kernels; likewise
_TILE_TOKENS = 64
_LARGEST_TOKENS = 4096

_LINK_RATIO = 0.7  # of the link's bandwidth that a ring reaches; stated, not measured
_HOP_MS = 0.005  # of each of a ring's steps; stated, not measured


def derive_operators(device: Device, model: ModelShape, *, tensor_parallel_size: int) -> Curve:
    """Milliseconds of all operators of all layers but attention, by tokens."""
    layer_bytes = model.layer_bytes / tensor_parallel_size
    read_ms = 1e3 * layer_bytes / (_MEMORY_RATIO * device.memory_bytes_per_s)
    # Each weight is one multiply and one add a token.
    token_flops = 2.0 * layer_bytes / model.element_bytes
    token_ms = 1e3 * token_flops / (_COMPUTE_RATIO * device.flops_per_s)

    def layer_ms(tokens: int) -> float:
        counted = tokens
        if tokens > _TILE_TOKENS:
            counted = ceil(tokens / _TILE_TOKENS) * _TILE_TOKENS
        return hypot(read_ms, counted * token_ms) + _LAUNCH_MS

    grid = (1, 2, 4, *range(8, _LARGEST_TOKENS + 1, 8))
    return Curve.through({float(tokens): model.layers * layer_ms(tokens) for tokens in grid})


def derive_all_reduces(device: Device, *, tensor_parallel_size: int) -> Curve:
    """Milliseconds of one ring all-reduce, by bytes; each device sends 2(n-1)/n of them."""
    hops = 2 * (tensor_parallel_size - 1)
    byte_ms = 1e3 * hops / tensor_parallel_size / (_LINK_RATIO * device.link_bytes_per_s)
    return Curve.through({size: hops * _HOP_MS + size * byte_ms for size in (2048.0, 2.0**26)})
