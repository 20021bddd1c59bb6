"""Engines of a bench: started as a node agent starts them, pinned, stopped and woken.

Owns which core a process runs on and which engine may use the machine now. Invariants:
only the scheduler of an engine runs on the engine core, everything else on the other; a
paused engine takes no CPU (an idle SGLang scheduler spins); leaving `running_engines`, by
any way, leaves no process behind.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import aiohttp
import psutil

from nodeagent.engine.client import EngineClient
from nodeagent.engine.command import (
    CPU_DEVICE_TYPE,
    EngineCommand,
    EngineNeeds,
    engine_command,
)
from nodeagent.engine.errors import EngineUnavailableError
from nodeagent.engine.ports import free_port
from nodeagent.engine.process import EngineProcess
from nodeagent.plugin_contract import PluginState, parse_plugin_state, parse_refusal
from planner.model import Device

START_S = 300.0
_FLUSH_S = 60.0
_SCHEDULER_TITLE = "sglang::scheduler"


class BenchEngineError(RuntimeError):
    """An engine that did not start, did not empty, or runs without its plugin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """One engine of the bench; all of a run differ in `name` and `has_plugin` alone.

    Args:
        name: for logs and records.
        model_path: model folder.
        device: "cpu" or "cuda".
        has_plugin: False is stock SGLang, with the same flags.
        mixed_chunk: adds SGLang's flag on a CPU, where it is off by default.
        dtype: empty: float32 on a CPU, the model's own on a GPU.
        memory_ratio: `mem_fraction_static`; None leaves SGLang its own default.
        kv_cache_tokens: tokens of KV cache; None leaves SGLang its own default.
        chunked_prefill_size: None leaves SGLang its own default.
        max_running_requests: rows the engine may hold.
        flags: more of SGLang's own.
    """

    name: str
    model_path: Path
    device: str
    has_plugin: bool
    mixed_chunk: bool = False
    dtype: str = ""
    memory_ratio: float | None = None
    kv_cache_tokens: int | None = 32768
    chunked_prefill_size: int | None = 256
    max_running_requests: int = 48
    flags: tuple[str, ...] = ()


class BenchEngine:
    """A running engine and the only handle to its processes."""

    def __init__(self, spec: EngineSpec, process: EngineProcess, *, base_url: str) -> None:
        self.spec = spec
        self.client = EngineClient(base_url)
        self._process = process
        self._base_url = base_url
        self._is_paused = False

    @property
    def log_path(self) -> Path:
        """Where the engine writes."""
        return self._process.log_path

    def processes(self) -> list[psutil.Process]:
        """The engine's processes, the reaper left out: it must be able to kill."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self._process.pid).children(recursive=True)
        return []

    def cpu_s(self) -> float:
        """CPU seconds all processes of the engine have taken."""
        total = 0.0
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def scheduler_cpu_s(self) -> float:
        """CPU seconds its scheduler has taken."""
        times = [p.cpu_times() for p in self.processes() if _is_scheduler(p)]
        return sum(t.user + t.system for t in times)

    def pin(self, *, engine_core: int, other_core: int) -> None:
        """Puts the scheduler's threads on one core and everything else on the other."""
        for process in self.processes():
            core = engine_core if _is_scheduler(process) else other_core
            for thread in process.threads():
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(thread.id, {core})

    def pause(self) -> None:
        """Stops every process: it takes no CPU until `wake`."""
        self._signal(SIGSTOP)
        self._is_paused = True

    def wake(self) -> None:
        """Lets it run again."""
        self._signal(SIGCONT)
        self._is_paused = False

    @property
    def is_paused(self) -> bool:
        """Whether it was stopped."""
        return self._is_paused

    async def state(self) -> PluginState:
        """What the plugin says of itself; asked once more where no answer comes.

        Raises:
            BenchEngineError: there is no plugin.
        """
        try:
            info = await self.client.server_info()
        except EngineUnavailableError:
            info = await self.client.server_info()
        state = parse_plugin_state(info)
        if state is None:
            cause = parse_refusal(info) or f"no reason given, see {self.log_path}"
            raise BenchEngineError(f"engine {self.spec.name}: runs without the plugin: {cause}")
        if state.fault:
            raise BenchEngineError(f"engine {self.spec.name}: plugin fault: {state.fault}")
        return state

    async def set(self, values: Mapping[str, float | int]) -> None:
        """Changes live settings; safe to repeat, and repeated once.

        The engine closes connections that were idle for some seconds, and one may close
        as it is used.
        """
        try:
            await self.client.set_internal_state(values)
        except EngineUnavailableError:
            await self.client.set_internal_state(values)

    async def empty(self) -> None:
        """Aborts what is left and flushes the prefix cache.

        Raises:
            BenchEngineError: it did not become idle in time.
        """
        timeout = aiohttp.ClientTimeout(total=_FLUSH_S)
        said = ""
        async with aiohttp.ClientSession(self._base_url, timeout=timeout) as http:
            for _ in range(5):
                async with http.post("/abort_request", json={"abort_all": True}) as answer:
                    await answer.read()
                async with http.post("/flush_cache", params={"timeout": "10"}) as answer:
                    said = (await answer.text()).strip()
                    if answer.status == 200:
                        return
        raise BenchEngineError(f"engine {self.spec.name}: the cache was not flushed: {said}")

    async def wait_ready(self) -> None:
        """Waits until it serves.

        Raises:
            BenchEngineError: it ended, or did not serve in time.
        """
        waiter = asyncio.create_task(self._process.wait())
        try:
            async with asyncio.timeout(START_S):
                while not await self.client.is_healthy(timeout_s=20.0):
                    if waiter.done():
                        raise BenchEngineError(f"{self._ended(waiter.result())}")
                    await asyncio.sleep(0.5)
        except TimeoutError as error:
            raise BenchEngineError(
                f"engine {self.spec.name}: not ready after {START_S:.0f} s, see {self.log_path}"
            ) from error
        finally:
            waiter.cancel()

    async def close(self) -> None:
        """Kills the tree and waits until it is gone."""
        self.wake()
        with contextlib.suppress(EngineUnavailableError):
            await self.client.close()
        self._process.kill()
        await self._process.wait()

    def _ended(self, status: int) -> str:
        lines = self.log_path.read_text(errors="replace").splitlines()[-15:]
        text = "\n".join(lines)
        return f"engine {self.spec.name}: ended with status {status}, {self.log_path}:\n{text}"

    def _signal(self, number: int) -> None:
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)


@asynccontextmanager
async def running_engines(
    specs: Sequence[EngineSpec], *, logs: Path, cores: tuple[int, int] | None
) -> AsyncIterator[dict[str, BenchEngine]]:
    """Starts engines one after the other and yields them all awake and pinned, by name.

    Args:
        specs: what to start.
        logs: folder of their logs.
        cores: for schedulers and for all the rest; None pins nothing.

    Raises:
        BenchEngineError: one did not start.
    """
    await asyncio.to_thread(logs.mkdir, parents=True, exist_ok=True)
    engines: dict[str, BenchEngine] = {}
    try:
        for spec in specs:
            for other in engines.values():
                other.pause()
            engine = await _start(spec, logs=logs)
            engines[spec.name] = engine
            await engine.wait_ready()
            if spec.has_plugin:
                await engine.state()
            if cores is not None:
                engine.pin(engine_core=cores[0], other_core=cores[1])
        for engine in engines.values():
            engine.wake()
        yield engines
    finally:
        for engine in engines.values():
            await asyncio.shield(engine.close())


def command_of(spec: EngineSpec, *, port: int, environment: Mapping[str, str]) -> EngineCommand:
    """The command of an engine: the agent's, with what the bench changes.

    Args:
        spec: the engine.
        port: of 127.0.0.1.
        environment: this process's own.
    """
    command = engine_command(
        EngineNeeds(
            model_path=spec.model_path,
            served_name="bench",
            devices=(Device(index=0, device_type=_device_type(spec), memory_bytes=0),),
            kv_cache_tokens=spec.kv_cache_tokens or 0,
            max_running_requests=spec.max_running_requests,
            chunked_prefill_size=spec.chunked_prefill_size or 0,
            dtype=spec.dtype,
        ),
        port=port,
        python=sys.executable,
        environment=_environment(environment, has_plugin=spec.has_plugin),
    )
    return _bench_command(command, spec)


async def _start(spec: EngineSpec, *, logs: Path) -> BenchEngine:
    port = free_port()
    log = logs / f"{spec.name}.log"
    log.unlink(missing_ok=True)
    command = command_of(spec, port=port, environment=os.environ)
    process = await EngineProcess.start(command, log_path=log)
    return BenchEngine(spec, process, base_url=f"http://127.0.0.1:{port}")


def _device_type(spec: EngineSpec) -> str:
    return CPU_DEVICE_TYPE if spec.device == "cpu" else spec.device


def _environment(inherited: Mapping[str, str], *, has_plugin: bool) -> dict[str, str]:
    """The bench's own, with SGLang's general plugins off for a stock engine."""
    variables = {k: v for k, v in inherited.items() if k != "SGLANG_PLUGINS"}
    return variables if has_plugin else variables | {"SGLANG_PLUGINS": "none"}


def _bench_command(command: EngineCommand, spec: EngineSpec) -> EngineCommand:
    """The agent's command, with what the bench adds and what it leaves to SGLang."""
    dropped = []
    if spec.kv_cache_tokens is None:
        dropped.append("--max-total-tokens=")
    if spec.chunked_prefill_size is None:
        dropped.append("--chunked-prefill-size=")
    argv = [a for a in command.argv if not a.startswith(tuple(dropped))]
    if spec.mixed_chunk and "--enable-mixed-chunk" not in argv:
        argv.append("--enable-mixed-chunk")
    if spec.memory_ratio is not None:
        argv.append(f"--mem-fraction-static={spec.memory_ratio}")
    argv.append("--watchdog-timeout=86400")  # a paused engine is not a hung one
    argv += spec.flags
    return replace(command, argv=tuple(argv))


def _is_scheduler(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return _SCHEDULER_TITLE in " ".join(process.cmdline())
    return False
