"""GPU types and nodes of the generated fleets.

Owns the figures: vendor sheets, list prices, what splitting a model over devices costs.
Refuses models. Prices and efficiencies are claims and say so; no result of the bench is a
statement about a vendor's device.
"""

from collections.abc import Mapping
from dataclasses import dataclass

GIB = 2**30
GB = 10**9

DEVICES_PER_NODE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A device type.

    Attributes:
        name: As agents would report it.
        memory_bytes: Of one device.
        memory_bytes_per_s: Bandwidth to it.
        flops_per_s: Dense fp16 tensor peak.
        price: Of a device-hour, in dollars.
        host_memory_bytes: Of a node of this type, for replicas.
        split_efficiency: By tensor parallel size: rate per device, relative to one alone.
        share: Of the fleet's nodes.
    """

    name: str
    memory_bytes: int
    memory_bytes_per_s: float
    flops_per_s: float
    price: float
    host_memory_bytes: int
    split_efficiency: Mapping[int, float]
    share: float


# Claimed: all-reduces over NVLink hide less the more devices take part; over PCIe sooner.
_NVLINK = {1: 1.0, 2: 0.96, 3: 0.94, 4: 0.92, 6: 0.89, 8: 0.86}
_PCIE = {1: 1.0, 2: 0.90, 3: 0.85, 4: 0.80, 6: 0.72, 8: 0.65}

# Memory, bandwidth, FLOPS: vendor sheets (H100 SXM5, A100 SXM4 80 GB, L40S). Prices:
# on-demand list prices of GPU clouds, 2025, rounded. Host memory: usual configurations.
# Shares: claimed.
GPUS = (
    Gpu(
        name="h100",
        memory_bytes=80 * GB,
        memory_bytes_per_s=3.35e12,
        flops_per_s=989e12,
        price=3.2,
        host_memory_bytes=2000 * GB,
        split_efficiency=_NVLINK,
        share=0.3,
    ),
    Gpu(
        name="a100",
        memory_bytes=80 * GB,
        memory_bytes_per_s=2.039e12,
        flops_per_s=312e12,
        price=1.9,
        host_memory_bytes=1000 * GB,
        split_efficiency=_NVLINK,
        share=0.4,
    ),
    Gpu(
        name="l40s",
        memory_bytes=48 * GB,
        memory_bytes_per_s=0.864e12,
        flops_per_s=362e12,
        price=1.0,
        host_memory_bytes=1000 * GB,
        split_efficiency=_PCIE,
        share=0.3,
    ),
)

REFERENCE = GPUS[0]
"""Work counts on this type, at the deployment's own tensor parallel size."""
