"""What an engine is started with."""

from dataclasses import replace
from pathlib import Path

import pytest

from nodeagent.engine.backoff import HEALTHY_S, LONGEST_DELAY_S, Restarts
from nodeagent.engine.command import EngineNeeds, engine_command
from nodeagent.engine.logs import KEPT_LOGS, cause_of_death, new_log_path, next_start
from planner.model import Device

CPU = EngineNeeds(
    model_path=Path("/models/tiny"),
    served_name="chat",
    devices=(Device(index=0, device_type="cpu", memory_bytes=2**30),),
    kv_cache_tokens=4096,
)
GPU = replace(
    CPU,
    devices=tuple(
        Device(index=i, device_type="NVIDIA H100 80GB HBM3", memory_bytes=2**36) for i in (2, 3)
    ),
    tensor_parallel_size=2,
)


def _command(needs: EngineNeeds, **environment: str) -> tuple[tuple[str, ...], dict[str, str]]:
    command = engine_command(needs, port=20001, python="/py", environment=environment)
    return command.argv, dict(command.environment)


def test_command_serves_a_cpu_slot_with_the_measured_settings() -> None:
    """Float32, one OpenMP thread, asleep when idle, our plugin, no mixed chunk, loopback only."""
    argv, environment = _command(CPU, PATH="/bin")
    assert argv[:3] == ("/py", "-m", "sglang.launch_server")
    assert {"--device=cpu", "--dtype=float32", "--host=127.0.0.1", "--port=20001"} <= set(argv)
    assert {"--max-total-tokens=4096", "--enable-priority-scheduling"} <= set(argv)
    assert "--sleep-on-idle" in argv
    assert "--enable-mixed-chunk" not in argv
    assert environment["SGLANG_PLATFORM"] == "slacktide_cpu"
    assert environment["SGLANG_PLUGINS"] == "slacktide"
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment["PATH"] == "/bin"


def test_command_starts_a_stock_gpu_engine_on_its_devices_when_they_are_gpus() -> None:
    """Auto dtype, mixed chunk, TP size, and only the assigned devices visible."""
    argv, environment = _command(GPU)
    assert {"--dtype=auto", "--enable-mixed-chunk", "--tp-size=2"} <= set(argv)
    assert not {"--device=cpu", "--sleep-on-idle"} & set(argv)
    assert environment["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert "SGLANG_PLATFORM" not in environment


def test_command_keeps_what_the_operator_set_when_it_disables_plugins() -> None:
    """SGLANG_PLUGINS=none in the agent's environment reaches the engine."""
    _, environment = _command(CPU, SGLANG_PLUGINS="none")
    assert environment["SGLANG_PLUGINS"] == "none"


def test_context_length_is_the_models_own_when_not_asked_for() -> None:
    """0 leaves the flag out."""
    assert not any(a.startswith("--context-length") for a in _command(CPU)[0])
    argv, _ = _command(replace(CPU, max_context_tokens=512))
    assert "--context-length=512" in argv


def test_restarts_back_off_to_a_bound_and_report_a_loop() -> None:
    """1, 2, 4 … 60 s; three failures in a row are a crash loop; a long run forgets them."""
    restarts, delays = Restarts(), []
    for _ in range(9):
        restarts = restarts.after_failure(healthy_s=0.0)
        delays.append(restarts.delay_s)
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert max(delays) == LONGEST_DELAY_S
    assert restarts.is_crash_loop
    assert restarts.after_failure(healthy_s=HEALTHY_S) == Restarts(failures=1)


def test_logs_keep_the_newest_starts_and_count_on_when_the_agent_restarts(tmp_path: Path) -> None:
    """One file a start; the oldest go; numbering continues from what lies there."""
    for _ in range(8):
        new_log_path(tmp_path, start=next_start(tmp_path)).write_text("x")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == KEPT_LOGS
    assert names[-1] == "engine-000008.log"


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ("loading\nTraceback:\n  x\nValueError: no such weights\nbye\n", "ValueError: no such"),
        ("torch.OutOfMemoryError: CUDA\n", "torch.OutOfMemoryError: CUDA"),
        ("all is well\n", ""),
    ],
)
def test_cause_of_death_is_the_last_line_that_names_an_exception(
    tmp_path: Path, log: str, cause: str
) -> None:
    """Quoted from the tail of the log; empty where it says nothing."""
    path = tmp_path / "log"
    path.write_text(log)
    assert cause_of_death(path).startswith(cause)
    assert bool(cause) == bool(cause_of_death(path))
