"""The model of the bench on a CPU.

Owns its shape: 9.4 M parameters, small enough for a core, large enough that a decode of 32
rows takes 29 ms and a prompt of 256 tokens 78 ms (measured), as GPUs' do with real models.
"""

from pathlib import Path

from nodeagent.models.tiny import TinyOptions, make_tiny

NAME = "bench-9m"
OPTIONS = TinyOptions(hidden=512, layers=3, heads=8, kv_heads=4, intermediate=1408)


def make_bench_model(models_dir: Path) -> Path:
    """Makes the model's folder; an existing one is kept."""
    return make_tiny(models_dir, name=NAME, options=OPTIONS)
