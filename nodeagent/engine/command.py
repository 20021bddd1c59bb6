"""The command line and environment of an engine.

Owns the spelling of SGLang's flags. Refuses to start anything or to look at the machine:
the same needs give the same command. Invariants: an engine listens on loopback only;
online is the default priority; what the operator set in the agent's own environment
(`SGLANG_PLUGINS=none`, say) wins over what is set here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nodeagent.plugin_contract import CPU_PLATFORM_NAME, ONLINE_PRIORITY, PLUGIN_NAME
from planner.model import Device

CPU_DEVICE_TYPE = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineNeeds:
    """What an engine is started with; see DeploymentSpec for the fields' meaning."""

    model_path: Path
    served_name: str
    devices: tuple[Device, ...]
    tensor_parallel_size: int = 1
    kv_cache_tokens: int = 32768
    max_context_tokens: int = 0
    max_running_requests: int = 32
    chunked_prefill_size: int = 512
    dtype: str = ""

    @property
    def is_cpu(self) -> bool:
        """Whether the engine runs on CPU slots."""
        return all(device.device_type == CPU_DEVICE_TYPE for device in self.devices)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCommand:
    """What to execute."""

    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]


_SCHEDULING_FLAGS = (
    "--enable-priority-scheduling",
    f"--default-priority-value={ONLINE_PRIORITY}",
    "--schedule-policy=fcfs",  # the only one priorities allow; the plugin orders offline work
    "--retraction-policy=priority",
    "--radix-eviction-policy=priority",
    "--load-snapshot-publish-interval=1",
    "--enable-metrics",
    "--incremental-streaming-output",  # deltas; cumulative text costs O(n^2) bytes a stream
    "--skip-server-warmup",
    "--log-level=info",
    "--log-level-http=warning",  # no line per request
)

_CPU_ENVIRONMENT = {
    "SGLANG_PLATFORM": CPU_PLATFORM_NAME,
    "OMP_NUM_THREADS": "1",  # spinning threads are 10x slower on shared cores, measured
    "CUDA_VISIBLE_DEVICES": "",
}

_COMMON_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "SGLANG_PLUGINS": PLUGIN_NAME,
    "PYTHONUNBUFFERED": "1",
}


def engine_command(
    needs: EngineNeeds, *, port: int, python: str, environment: Mapping[str, str]
) -> EngineCommand:
    """Spells the command that serves `needs` at 127.0.0.1:`port`.

    Args:
        needs: what to serve and on which devices.
        port: TCP port, 1 to 65535.
        python: path of the interpreter SGLang is installed for.
        environment: the agent's own; it is passed on, and its SGLANG_PLUGINS is kept.
    """
    argv = [
        python,
        "-m",
        "sglang.launch_server",
        f"--model-path={needs.model_path}",
        f"--served-model-name={needs.served_name}",
        "--host=127.0.0.1",
        f"--port={port}",
        f"--tp-size={needs.tensor_parallel_size}",
        f"--max-total-tokens={needs.kv_cache_tokens}",
        f"--max-running-requests={needs.max_running_requests}",
        f"--chunked-prefill-size={needs.chunked_prefill_size}",
        *_SCHEDULING_FLAGS,
    ]
    if needs.max_context_tokens:
        argv.append(f"--context-length={needs.max_context_tokens}")
    variables = dict(environment)
    for name, value in _COMMON_ENVIRONMENT.items():
        variables.setdefault(name, value)
    if needs.is_cpu:
        # auto would pick float16, 3-6x slower on a CPU; mixed chunk stays off, since
        # torch_native makes mixed batches 2-3x dearer than their halves (both measured).
        # An idle scheduler polls, which takes a core that engines beside it serve from.
        argv += ["--device=cpu", f"--dtype={needs.dtype or 'float32'}", "--sleep-on-idle"]
        variables |= _CPU_ENVIRONMENT
    else:
        argv += [f"--dtype={needs.dtype or 'auto'}", "--enable-mixed-chunk"]
        variables["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # the order nvidia-smi counts in
        variables["CUDA_VISIBLE_DEVICES"] = ",".join(str(d.index) for d in needs.devices)
    return EngineCommand(argv=tuple(argv), environment=tuple(sorted(variables.items())))
