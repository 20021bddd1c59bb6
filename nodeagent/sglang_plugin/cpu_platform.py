"""An SGLang platform for plain CPUs: PyTorch only, no sgl-kernel, no AMX, no CUDA wheels.

Owns the entry point `activate` (group `sglang.srt.platforms`). Refuses machines with a
real accelerator: there it returns None and SGLang chooses for itself.
"""

import importlib
from typing import Any

_PLATFORM = f"{__name__}_class.NativeCpuPlatform"
_VISION_OPERATORS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_declared: list[Any] = []  # a torch.library.Library undeclares when it is collected


def activate() -> str | None:
    """The platform's dotted path, or None where CUDA is available."""
    import torch

    if torch.cuda.is_available():
        return None
    declare_vision_operators()
    return _PLATFORM


def declare_vision_operators() -> None:
    """Lets `import torchvision` succeed beside a CPU torch.

    PyPI's torchvision is a CUDA build whose library cannot load here, and importing it
    then fails on two operators nobody declared. Their schemas are all it asks for.
    """
    torch = importlib.import_module("torch")
    if torch.version.cuda is not None or _declared:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, schema in _VISION_OPERATORS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)
    _declared.append(library)
