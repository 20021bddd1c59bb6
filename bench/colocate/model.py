"""The models of the bench where none is given: random weights, made in place.

Owns their shapes. On a CPU 9.4 M parameters, small enough for a core, large enough that a
decode of 32 rows takes 29 ms and a prompt of 256 tokens 78 ms (measured), as GPUs' do with
real models. On a GPU 1.0 G parameters, served in bfloat16: iterations of milliseconds.
"""

from pathlib import Path

from nodeagent.models.tiny import TinyOptions, make_tiny
from nodeagent.sglang_plugin.cpu_platform import declare_vision_operators

CPU_NAME, GPU_NAME = "bench-9m", "bench-1b"
CPU_OPTIONS = TinyOptions(hidden=512, layers=3, heads=8, kv_heads=4, intermediate=1408)
GPU_OPTIONS = TinyOptions(hidden=2048, layers=16, heads=32, kv_heads=8, intermediate=8192)


def make_bench_model(models_dir: Path, *, is_cpu: bool) -> Path:
    """Makes the model's folder; an existing one is kept."""
    declare_vision_operators()  # transformers may import torchvision
    if is_cpu:
        return make_tiny(models_dir, name=CPU_NAME, options=CPU_OPTIONS)
    return make_tiny(models_dir, name=GPU_NAME, options=GPU_OPTIONS)
