"""The devices of a node.

Owns finding them, without importing torch: slots of a CPU as given, CUDA devices as the
driver's own tool lists them. Refuses a node without any device.
"""

import subprocess

from nodeagent.engine.command import CPU_DEVICE_TYPE
from nodeagent.settings import SettingsError
from planner.model import Device

_QUERY = ("nvidia-smi", "--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits")
_QUERY_TIMEOUT_S = 30.0
_USABLE_RATIO = 0.88  # SGLang's default mem_fraction_static on large GPUs; the rest is activations
_MIB = 2**20


def find_devices(spec: str, *, memory_bytes: int | None) -> tuple[Device, ...]:
    """Finds the devices `--devices` names. Blocks while nvidia-smi runs.

    Args:
        spec: "cpu:N" or "auto".
        memory_bytes: memory an engine may use per device; None: derived, CUDA only.

    Raises:
        SettingsError: the spec is malformed, or there is no such device.
    """
    kind, _, count = spec.partition(":")
    if kind == "cpu":
        return _cpu_slots(spec, count, memory_bytes=memory_bytes)
    if spec != "auto":
        raise SettingsError(f"--devices {spec!r}: allowed are cpu:N with N >= 1, and auto")
    return parse_query(_query(), memory_bytes=memory_bytes)


def parse_query(listing: str, *, memory_bytes: int | None) -> tuple[Device, ...]:
    """Reads nvidia-smi's CSV: index, name, total memory in MiB."""
    devices = []
    for line in listing.strip().splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != 3 or not fields[0].isdecimal() or not fields[2].isdecimal():
            raise SettingsError(
                f"--devices auto: nvidia-smi said {line!r}, expected index, name, MiB;"
                " name the devices by hand"
            )
        index, name, total_mib = fields
        usable = memory_bytes or int(int(total_mib) * _MIB * _USABLE_RATIO)
        devices.append(Device(index=int(index), device_type=name, memory_bytes=usable))
    if not devices:
        raise SettingsError("--devices auto: nvidia-smi lists no GPU; use --devices cpu:N")
    return tuple(devices)


def _cpu_slots(spec: str, count: str, *, memory_bytes: int | None) -> tuple[Device, ...]:
    if not count.isdecimal() or not 1 <= int(count) <= 1024:
        raise SettingsError(f"--devices {spec!r}: allowed are cpu:1 to cpu:1024")
    if memory_bytes is None:
        raise SettingsError(
            f"--devices {spec}: --device-memory is missing; say what an engine may use, e.g. 4GiB"
        )
    return tuple(
        Device(index=index, device_type=CPU_DEVICE_TYPE, memory_bytes=memory_bytes)
        for index in range(int(count))
    )


def _query() -> str:
    try:
        done = subprocess.run(
            _QUERY, capture_output=True, text=True, timeout=_QUERY_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SettingsError(
            f"--devices auto: nvidia-smi failed ({error});"
            " use --devices cpu:N where there is no GPU"
        ) from error
    return done.stdout
