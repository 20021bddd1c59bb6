"""A model on devices that share its layers.

Owns what it holds and how long an iteration takes when nothing but operators, attention
and all-reduces counts: operators and all-reduces from tables, attention by the roofline,
the slower of its arithmetic and its reading of KV. Refuses to call that a measurement of
iterations: kernels do not overlap; sampling, the output projection and the engine's own
time are left out. `effects` adds what real iterations do.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from planner.hardware.curve import Curve
from planner.hardware.derived import derive_all_reduces, derive_operators
from planner.hardware.device import Device
from planner.hardware.model import ModelShape
from planner.hardware.operators import read_all_reduces, read_operators
from planner.latency.features import BatchShape

ATTENTION_RATIO = 0.5  # of the tensor peak that attention reaches, whatever its length
_USABLE_MEMORY_RATIO = 0.9  # the rest is activations and graphs; SGLang's default is near


class Source(Enum):
    """Where a machine's tables are from."""

    MEASURED = "measured"
    DERIVED = "derived"  # at least one of them from the vendor's sheet


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One model on `tensor_parallel_size` devices of one node.

    Attributes:
        device: Each of them.
        model: What they run.
        tensor_parallel_size: How many; divides the model's heads.
        operators_ms: By tokens: all operators of all layers but attention.
        all_reduce_ms: One, by bytes; None on one device, or to leave them out.
        source: Where these two are from.
    """

    device: Device
    model: ModelShape
    tensor_parallel_size: int
    operators_ms: Curve
    all_reduce_ms: Curve | None
    source: Source

    def __post_init__(self) -> None:
        size = self.tensor_parallel_size
        if size < 1 or self.model.heads % size:
            raise ValueError(
                f"{self.model.name}: tensor parallel size {size} does not divide its "
                f"{self.model.heads} heads"
            )

    @property
    def name(self) -> str:
        """For tables and reports; says so where it is derived."""
        name = f"{self.device.name} {self.model.name} tp{self.tensor_parallel_size}"
        return name if self.source is Source.MEASURED else f"{name} ({self.source.value})"

    @property
    def kv_tokens(self) -> int:
        """What the KV cache holds beside the weights; 0 where the weights do not fit."""
        weights_bytes = self.model.weights_bytes / self.tensor_parallel_size
        left_bytes = _USABLE_MEMORY_RATIO * self.device.memory_bytes - weights_bytes
        return max(0, int(left_bytes * self._kv_shards / self.model.kv_bytes))

    @property
    def pair_ms(self) -> float:
        """Attention's arithmetic of one query with one key, at the peak of all devices."""
        return 1e3 * self.model.pair_flops / (self.device.flops_per_s * self.tensor_parallel_size)

    @property
    def read_ms(self) -> float:
        """Reading the KV of one token once."""
        return 1e3 * self.model.kv_bytes / (self.device.memory_bytes_per_s * self._kv_shards)

    @property
    def _kv_shards(self) -> int:
        """A KV head lies on one device, or on several where there are too few."""
        return min(self.tensor_parallel_size, self.model.kv_heads)

    def matrices_ms(self, tokens: float) -> float:
        """Operators of all layers, and two all-reduces a layer, of an iteration's tokens."""
        total_ms = self.operators_ms(tokens)
        if self.all_reduce_ms is not None:
            size_bytes = tokens * self.model.hidden * self.model.element_bytes
            total_ms += 2 * self.model.layers * self.all_reduce_ms(size_bytes)
        return total_ms

    def attention_ms(self, *, pairs: float, read_tokens: float) -> float:
        """Of rows with so many query-key pairs over so many tokens in KV."""
        return max(pairs * self.pair_ms / ATTENTION_RATIO, read_tokens * self.read_ms)

    def iteration_ms(self, shape: BatchShape) -> float:
        """Milliseconds of an iteration from its sums alone; 0 for an empty one.

        Decode rows read their KV; prompts do together what their sums say, so a short
        chunk's reading may hide behind another's arithmetic.
        """
        if not shape.prefill_rows and not shape.decode_rows:
            return 0.0
        return (
            self.matrices_ms(shape.prefill_tokens + shape.decode_rows)
            + shape.decode_context_tokens * self.read_ms
            + self.attention_ms(
                pairs=shape.prefill_attention,
                read_tokens=shape.prefill_context_tokens + shape.prefill_tokens,
            )
        )


def build_machine(
    device: Device,
    model: ModelShape,
    *,
    tensor_parallel_size: int = 1,
    operators: Iterable[str] | None = None,
    all_reduces: Iterable[str] | None = None,
) -> Machine:
    """A machine from its measured tables, and from the sheet where one is missing.

    Tables are read through a monotone regression: they jitter by up to 13 % between
    neighbours, and no iteration is shorter for a token more.

    Args:
        device: What it runs on.
        model: What it runs.
        tensor_parallel_size: On how many devices.
        operators: The measured table's lines; see `operators.table_names`.
        all_reduces: Likewise; not read for one device.

    Raises:
        TableError: A table cannot be read.
        ValueError: A table lacks this size; or it does not divide the model's heads.
    """
    size = tensor_parallel_size
    all_reduce_ms = None
    if operators is None:
        operators_ms = derive_operators(device, model, tensor_parallel_size=size)
    else:
        operators_ms = _of_size(read_operators(operators, model=model), size, of="operators")
    if size > 1 and all_reduces is None:
        all_reduce_ms = derive_all_reduces(device, tensor_parallel_size=size)
    elif size > 1 and all_reduces is not None:
        all_reduce_ms = _of_size(read_all_reduces(all_reduces), size, of="all-reduces")
    is_measured = operators is not None and (size == 1 or all_reduces is not None)
    return Machine(
        device=device,
        model=model,
        tensor_parallel_size=size,
        operators_ms=operators_ms,
        all_reduce_ms=all_reduce_ms,
        source=Source.MEASURED if is_measured else Source.DERIVED,
    )


def _of_size(curves: dict[int, Curve], size: int, *, of: str) -> Curve:
    if size not in curves:
        raise ValueError(
            f"{of} were measured on {', '.join(map(str, curves))} devices, not on {size}; choose "
            "such a tensor parallel size, or give no table"
        )
    return curves[size].monotone()
