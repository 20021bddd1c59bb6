"""Devices, as their vendor's sheet describes them.

Owns the figures. Refuses measurements: what a device reaches of them is `operators`' and
`derived`'s to say.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What a vendor's sheet says of a device.

    Attributes:
        name: As users write it; what precedes the first `-` names the family whose
            measured tables it shares.
        memory_bytes: Of one device.
        memory_bytes_per_s: Bandwidth to it.
        flops_per_s: Dense fp16 tensor peak.
        link_bytes_per_s: To the other devices of its node, one way.
    """

    name: str
    memory_bytes: float
    memory_bytes_per_s: float
    flops_per_s: float
    link_bytes_per_s: float

    def __post_init__(self) -> None:
        for field in ("memory_bytes", "memory_bytes_per_s", "flops_per_s", "link_bytes_per_s"):
            if not getattr(self, field) > 0.0:
                raise ValueError(f"device {self.name}: {field} is {getattr(self, field)}, not > 0")

    @property
    def family(self) -> str:
        """Devices of one family share arithmetic, and so their measured tables."""
        return self.name.partition("-")[0]


# Vendor sheets: A40 (PCIe Gen4 x16), A100-SXM4-40GB and -80GB (NVLink 3), H100-SXM5 (NVLink 4).
DEVICES = (
    Device(
        name="a40",
        memory_bytes=48e9,
        memory_bytes_per_s=0.696e12,
        flops_per_s=149.7e12,
        link_bytes_per_s=32e9,
    ),
    Device(
        name="a100-40gb",
        memory_bytes=40e9,
        memory_bytes_per_s=1.555e12,
        flops_per_s=312e12,
        link_bytes_per_s=300e9,
    ),
    Device(
        name="a100-80gb",
        memory_bytes=80e9,
        memory_bytes_per_s=2.039e12,
        flops_per_s=312e12,
        link_bytes_per_s=300e9,
    ),
    Device(
        name="h100",
        memory_bytes=80e9,
        memory_bytes_per_s=3.35e12,
        flops_per_s=989e12,
        link_bytes_per_s=450e9,
    ),
)


def device_named(name: str) -> Device:
    """The known device of that name.

    Raises:
        ValueError: None has it; says which are known.
    """
    for device in DEVICES:
        if device.name == name.lower():
            return device
    known = ", ".join(device.name for device in DEVICES)
    raise ValueError(f"hardware {name!r} is not known; known are {known}")
