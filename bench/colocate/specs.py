"""The engine of a run, by its options.

Owns sizes by device. Invariant: engines of one run differ in name and plugin alone.
"""

from bench.colocate.engines import EngineSpec
from bench.colocate.model import make_bench_model
from bench.colocate.options import Options

_KV_TOKENS, _CHUNK_TOKENS, _CPU_ROWS, _GPU_ROWS = 32768, 256, 48, 256
_GPU_MEMORY_RATIO = 0.4  # of what is free on the device, for each of two engines that share it


def engine_spec(options: Options, *, name: str, has_plugin: bool) -> EngineSpec:
    """An engine of the run; its model is made where none is given."""
    model = options.model_path
    if model is None:
        model = make_bench_model(options.output / "models", is_cpu=options.is_cpu)
    # By shares of what is free the second engine gets less than the first: by tokens, as much.
    is_shared = not options.is_cpu and not options.kv_tokens
    return EngineSpec(
        name=name,
        model_path=model.absolute(),
        device=options.device,
        has_plugin=has_plugin,
        dtype="" if options.is_cpu or options.model_path else "bfloat16",
        memory_ratio=_GPU_MEMORY_RATIO if is_shared else None,
        kv_cache_tokens=_KV_TOKENS if options.is_cpu else options.kv_tokens or None,
        chunked_prefill_size=_CHUNK_TOKENS if options.is_cpu else None,
        max_running_requests=_CPU_ROWS if options.is_cpu else _GPU_ROWS,
        flags=options.engine_flags,
    )
