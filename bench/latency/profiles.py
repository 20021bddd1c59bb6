"""Iterations of GPUs, composed from measured operator times.

Owns the composition: an iteration lasts the sum of the medians of all non-attention
operators at its number of tokens (Vidur's profiles, MLSys 2024; between measured numbers of
tokens by the line through their neighbours), times the layers; plus attention by a roofline;
plus two all-reduces a layer where there are several devices and they were measured. The
measured all-reduces of small messages jump between two levels, 10 and 60 microseconds say,
from one size to the next: launch jitter, not size. They are read through a monotone
regression unless asked for raw. Refuses to call it a measurement of iterations: attention
is computed, kernels do not overlap and the engine's own time is left out. Deterministic by
seed.
"""

import csv
import math
import os
import random
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from statistics import mean

from planner.latency.features import BatchShape
from planner.latency.sample import IterationSample

TRACES_VARIABLE = "SLACKTIDE_TRACES"
LONGEST_CONTEXT_TOKENS = 32_768
_LARGEST_BATCH_TOKENS = 4_096  # the profiles end there
_MOST_DECODES = 256
_PEAK_RATIO = 0.5  # of the tensor peak that attention reaches
_USABLE_MEMORY_RATIO = 0.9
_ELEMENT_BYTES = 2  # fp16


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """What a vendor's sheet says of a device."""

    name: str
    memory_bytes: float
    memory_bytes_per_s: float
    flops_per_s: float  # dense fp16 tensor peak


@dataclass(frozen=True, slots=True, kw_only=True)
class Llama:
    """A model of the profiles."""

    name: str
    layers: int
    hidden: int
    kv_heads: int
    weights_bytes: float

    @property
    def kv_bytes(self) -> int:
        """KV of one token, keys and values; heads are 128 wide."""
        return 2 * self.layers * self.kv_heads * 128 * _ELEMENT_BYTES


# A100-SXM4-80GB, H100-SXM5 and A40, vendor sheets.
GPUS = (
    Gpu(name="a40", memory_bytes=48e9, memory_bytes_per_s=0.696e12, flops_per_s=149.7e12),
    Gpu(name="a100", memory_bytes=80e9, memory_bytes_per_s=2.039e12, flops_per_s=312e12),
    Gpu(name="h100", memory_bytes=80e9, memory_bytes_per_s=3.35e12, flops_per_s=989e12),
)
LLAMAS = (
    Llama(name="7b", layers=32, hidden=4096, kv_heads=32, weights_bytes=13.5e9),
    Llama(name="70b", layers=80, hidden=8192, kv_heads=8, weights_bytes=138e9),
)
TENSOR_PARALLEL_SIZES = (1, 2, 4, 8)


class AllReduce(Enum):
    """How measured all-reduces are read."""

    MONOTONE = "monotone"
    RAW = "raw"


class Curve:
    """A line through measured points, level before the first, straight on after the last."""

    def __init__(self, points: Mapping[float, float]) -> None:
        self._at = sorted(points)
        self._value = [points[at] for at in self._at]

    def __call__(self, at: float) -> float:
        """The value at `at`."""
        after = min(max(bisect_right(self._at, at), 1), len(self._at) - 1)
        x0, x1, y0, y1 = *self._at[after - 1 : after + 1], *self._value[after - 1 : after + 1]
        return y0 + (y1 - y0) * (max(at, self._at[0]) - x0) / (x1 - x0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One model on one kind of device at one degree of tensor parallelism."""

    gpu: Gpu
    llama: Llama
    tensor_parallel_size: int
    operators_ms: Curve  # by tokens: all operators of all layers but attention
    all_reduce_ms: Curve | None  # by bytes, one; None where not measured

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.gpu.name} llama2-{self.llama.name} tp{self.tensor_parallel_size}"

    @property
    def kv_tokens(self) -> int:
        """What the KV cache holds beside the weights; 0 where the weights do not fit."""
        memory = self.gpu.memory_bytes * self.tensor_parallel_size * _USABLE_MEMORY_RATIO
        return max(0, int((memory - self.llama.weights_bytes) / self.llama.kv_bytes))

    def attention_ms(self, *, new_tokens: int, cached_tokens: int) -> float:
        """Of one row: the slower of its arithmetic and its reading of KV."""
        flops = 4.0 * self.llama.layers * self.llama.hidden * new_tokens
        flops *= cached_tokens + new_tokens / 2.0
        read = float(self.llama.kv_bytes) * (cached_tokens + new_tokens)
        seconds = max(
            flops / (_PEAK_RATIO * self.gpu.flops_per_s), read / self.gpu.memory_bytes_per_s
        )
        return 1e3 * seconds / self.tensor_parallel_size

    def iteration_ms(self, *, decodes: Sequence[int], prefills: Sequence[tuple[int, int]]) -> float:
        """Of decode rows by context, and prefill rows by (new, cached) tokens."""
        tokens = len(decodes) + sum(new for new, _ in prefills)
        total = self.operators_ms(tokens)
        total += sum(self.attention_ms(new_tokens=1, cached_tokens=c) for c in decodes)
        total += sum(self.attention_ms(new_tokens=n, cached_tokens=c) for n, c in prefills)
        if self.all_reduce_ms is not None:
            size_bytes = tokens * self.llama.hidden * _ELEMENT_BYTES
            total += 2 * self.llama.layers * self.all_reduce_ms(size_bytes)
        return total


def traces_folder() -> Path | None:
    """Where the public profiles lie, or None; see TRACES_VARIABLE."""
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "traces"
    folder = Path(os.environ.get(TRACES_VARIABLE, beside))
    return folder if any(folder.glob("vidur_*_mlp.csv")) else None


def read_profiles(folder: Path, *, all_reduce: AllReduce) -> Iterator[Profile]:
    """All there are whose model leaves room for two of the longest contexts."""
    for gpu in GPUS:
        for llama in LLAMAS:
            path = folder / f"vidur_{gpu.name}_llama2_{llama.name}_mlp.csv"
            if not path.is_file():
                continue
            for size, curve in _operators(path, layers=llama.layers).items():
                profile = Profile(
                    gpu=gpu,
                    llama=llama,
                    tensor_parallel_size=size,
                    operators_ms=curve,
                    all_reduce_ms=_all_reduce(folder, gpu=gpu, size=size, reading=all_reduce),
                )
                if profile.kv_tokens >= 2 * LONGEST_CONTEXT_TOKENS:
                    yield profile


def _operators(path: Path, *, layers: int) -> dict[int, Curve]:
    """By degree of tensor parallelism. Embedding is one lookup, not of a layer: left out."""
    points: dict[int, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            medians = [
                float(value or 0.0)
                for name, value in row.items()
                if name.endswith(".median") and ".emb." not in name
            ]
            size = int(row["num_tensor_parallel_workers"])
            points[size][float(row["num_tokens"])].append(layers * sum(medians))
    return {size: Curve(_means(points[size])) for size in TENSOR_PARALLEL_SIZES if size in points}


def _all_reduce(folder: Path, *, gpu: Gpu, size: int, reading: AllReduce) -> Curve | None:
    """Of `size` devices of one node."""
    path = folder / f"vidur_{gpu.name}_dgx_all_reduce.csv"
    if size == 1 or not path.is_file():
        return None
    points: dict[float, list[float]] = defaultdict(list)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if int(row["num_workers"]) == int(row["devices_per_node"]) == size:
                points[float(row["size"])].append(float(row["time_stats.all_reduce.median"]))
    if not points:
        return None
    means = _means(points)
    return Curve(_monotone(means) if reading is AllReduce.MONOTONE else means)


def _monotone(points: Mapping[float, float]) -> dict[float, float]:
    """The nearest points that never fall: pool adjacent violators, least squares."""
    pools: list[tuple[float, list[float]]] = []  # mean, and where
    for at in sorted(points):
        value, places = points[at], [at]
        while pools and pools[-1][0] > value:
            before, others = pools.pop()
            value = (before * len(others) + value * len(places)) / (len(others) + len(places))
            places = others + places
        pools.append((value, places))
    return {at: value for value, places in pools for at in places}


def _means(points: Mapping[float, Iterable[float]]) -> dict[float, float]:
    return {at: mean(values) for at, values in points.items()}


def draw_iterations(profile: Profile, *, seed: int, count: int) -> list[IterationSample]:
    """Iterations of a server: half decode only, a third mixed, the rest prefill only.

    Rows are up to 256 decodes, evenly by magnitude, and up to 4 prompts; contexts up to
    32k, evenly by magnitude from one iteration to the next, and within what KV holds.
    """
    source = random.Random(f"{seed}/{profile.name}")
    samples: list[IterationSample] = []
    while len(samples) < count:
        kind = source.random()
        decodes: list[int] = []
        prefills: list[tuple[int, int]] = []
        if kind < 5 / 6:
            decodes = _draw_decodes(source, kv_tokens=profile.kv_tokens)
        if kind >= 1 / 2:
            prefills = _draw_prefills(source, tokens=_LARGEST_BATCH_TOKENS - len(decodes))
        measured_ms = profile.iteration_ms(decodes=decodes, prefills=prefills)
        samples.append(IterationSample(shape=_shape(decodes, prefills), measured_ms=measured_ms))
    return samples


def _shape(decodes: Sequence[int], prefills: Sequence[tuple[int, int]]) -> BatchShape:
    shape = BatchShape(
        decode_rows=len(decodes),
        decode_context_tokens=sum(decodes),
        decode_max_context_tokens=max(decodes, default=0),
    )
    for new, cached in prefills:
        shape = shape.with_prefill(new_tokens=new, cached_tokens=cached)
    return shape


def _draw_decodes(source: random.Random, *, kv_tokens: int) -> list[int]:
    rows = round(_by_magnitude(source, 1, _MOST_DECODES))
    typical = _by_magnitude(source, 64, LONGEST_CONTEXT_TOKENS)
    contexts: list[int] = []
    left = kv_tokens
    for _ in range(rows):
        drawn = typical * math.exp(source.gauss(0.0, 0.7))
        context = min(LONGEST_CONTEXT_TOKENS, max(16, round(drawn)))
        if context > left:
            break
        contexts.append(context)
        left -= context
    return contexts


def _draw_prefills(source: random.Random, *, tokens: int) -> list[tuple[int, int]]:
    rows = source.randint(1, 4)
    total = round(_by_magnitude(source, 16 * rows, tokens))
    prefills = []
    for row in range(rows):
        new = max(
            1,
            total // (rows - row)
            if row == rows - 1
            else round(total * source.uniform(0.5, 1.0) / (rows - row)),
        )
        total -= new
        cached = 0
        if source.random() < 0.5:
            cached = round(_by_magnitude(source, 64, LONGEST_CONTEXT_TOKENS - new))
        prefills.append((new, cached))
    return prefills


def _by_magnitude(source: random.Random, low: float, high: float) -> float:
    return low * math.exp(math.log(high / low) * source.random())
