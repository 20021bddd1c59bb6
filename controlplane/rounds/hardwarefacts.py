"""What the control plane knows of hardware and models nobody profiled.

Pure. Owns the way from what agents report to the figures of `planner.hardware`: a device by
its name and memory, a model by its sizes. Refuses to guess: no agent reports a model's layers
or a device's bandwidth, so what is not a device of the sheets, or a model whose published
shape has these very sizes, is told apart with the reason.
"""

import re

from planner.hardware.device import Device, device_named
from planner.hardware.model import MODELS, ModelShape
from storage.records import EngineSpec

_NAMES = (
    (re.compile(r"h100"), "h100"),
    (re.compile(r"a100.*80 ?gb"), "a100-80gb"),
    (re.compile(r"a100.*40 ?gb"), "a100-40gb"),
    (re.compile(r"a40$"), "a40"),
)
_OTHERS = re.compile(r"pcie|nvl|mig|grid|vgpu|-\d+[cq]\b")
"""Of a family by name, of other bandwidth or only a slice of it."""
_WEIGHTS_RATIO = 0.02
"""Files of one model differ by as much: norms, biases, padded vocabularies."""


def device_of(device_type: str, *, memory_bytes: int) -> Device | str:
    """The device of the sheets that agents report by that name, or why none is known.

    Args:
        device_type: As the driver names it.
        memory_bytes: That engines may use of it: less than the sheet's, never more.
    """
    name = device_type.strip().lower()
    known = next((ours for pattern, ours in _NAMES if pattern.search(name)), None)
    if known is None or _OTHERS.search(name):
        return f"no figures of device type {device_type!r} are known"
    device = device_named(known)
    if memory_bytes > 1.1 * device.memory_bytes:
        return (
            f"device type {device_type!r} has {memory_bytes} bytes, {known} has"
            f" {device.memory_bytes:.0f}"
        )
    return device


def shape_of(engine: EngineSpec) -> ModelShape | str:
    """The published model whose KV and weights have the sizes of this one, or why none is known.

    Models of one shape take one time, whatever they are called.
    """
    near = [
        (abs(engine.weights_bytes / shape.weights_bytes - 1.0), shape.name, shape)
        for shape in MODELS
        if shape.kv_bytes == engine.kv_bytes_per_token
    ]
    off, _, shape = min(near, default=(1.0, "", None))
    if shape is None or off > _WEIGHTS_RATIO:
        return (
            f"the layers of model {engine.model!r} are not known: no published shape has"
            f" {engine.weights_bytes} bytes of weights and {engine.kv_bytes_per_token} of KV a"
            " token"
        )
    return shape
