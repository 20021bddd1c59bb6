"""The platform class itself; apart from `cpu_platform` because it imports SGLang."""

from typing import Any

from sglang.srt.platforms.cpu import CpuDeviceMixin
from sglang.srt.platforms.device_mixin import PlatformEnum
from sglang.srt.platforms.interface import PlatformCapabilities, SRTPlatform


class NativeCpuPlatform(CpuDeviceMixin, SRTPlatform):  # type: ignore[misc]
    """SGLang on a CPU, every layer in its `forward_native` form."""

    _enum = PlatformEnum.OOT  # what makes layers dispatch to forward_native
    device_name = "cpu"
    device_type = "cpu"
    capabilities = PlatformCapabilities()  # no triton, no graph capture

    def get_default_attention_backend(self) -> str:
        """The backend that needs no kernels."""
        return "torch_native"

    def get_dispatch_key_name(self) -> str:
        """SGLang's name for the fallback operators."""
        return "native"

    def is_pin_memory_available(self, device: Any = None) -> bool:
        """There is no device to copy to."""
        return False
