"""One real engine, driven through a sweep and a workload, its iterations read without a gap.

Owns the engine's process and the reading of its ring of samples. Refuses to judge them.
All requests are online, so the plugin measures and changes nothing. Invariants: what left
the ring unread is counted, never guessed; the engine is gone when `collect` returns.
"""

import asyncio
import os
import random
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import aiohttp

from bench.harness import machine
from bench.latency.samples import EngineSamples
from bench.latency.sweep import SweepGroup, SweepRequest, sweep, warm_prefixes
from nodeagent.engine.command import EngineNeeds, engine_command
from nodeagent.engine.ports import free_port
from nodeagent.engine.process import EngineProcess
from nodeagent.models.tiny import TinyOptions, make_tiny
from nodeagent.plugin_contract import SGLANG_VERSION, online_labels, parse_plugin_state
from nodeagent.sglang_plugin.cpu_platform import declare_vision_operators
from planner.latency.predictor import identity_of
from planner.latency.sample import IterationSample
from planner.model import Device
from planner.workload.content import prompt_token_ids
from planner.workload.generate import generate
from planner.workload.shape import shape

_START_S = 180.0
_ANSWER_S = 120.0
_POLL_S = 1.0  # a pass of this model takes 4 ms or more, so at most half of the ring is new
_GRACE_S = 5.0
_OPTIONS = TinyOptions(hidden=512, layers=3, heads=8, kv_heads=4)  # as in the CPU baselines
_WORKLOAD_PARALLEL = 24
_LENGTH_SCALES = (1 / 8, 1 / 3)  # of Azure's lengths: contexts to about 500, and to 2,000


@dataclass(slots=True)
class _Reader:
    """What was read of the ring so far."""

    part: str = "start"
    seen: int = 0
    lost: int = 0
    samples: list[IterationSample] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)

    def take(self, server_info: dict[str, Any]) -> None:
        """Takes the iterations that are new."""
        state = parse_plugin_state(server_info)
        if state is None:
            raise RuntimeError("the engine runs without the plugin; see its log")
        if state.fault:
            raise RuntimeError(f"the plugin stopped: {state.fault}")
        for measured in state.samples_after(self.seen):
            self.lost += measured.sequence - self.seen - 1
            self.seen = measured.sequence
            self.samples.append(
                IterationSample(shape=measured.shape, measured_ms=measured.measured_ms)
            )
            self.parts.append(self.part)


async def collect(*, folder: Path, seed: int, limit_s: float, tell: Any) -> EngineSamples:
    """Starts an engine, sweeps it, puts a workload on it, and stops it.

    Args:
        folder: for the model and the engine's log.
        seed: of all that is drawn.
        limit_s: of the measuring, without the engine's start; two thirds are the sweep's,
            which is repeated until they are over. Its groups come in random order, so one
            cut short has left out no kind.
        tell: called with each line of progress.

    Raises:
        RuntimeError: the engine or its plugin does not run; the log's path is in it.
    """
    model = await asyncio.to_thread(_make_model, folder)
    port = free_port()
    needs = EngineNeeds(
        model_path=model,
        served_name="tiny",
        devices=(Device(index=0, device_type="cpu", memory_bytes=0),),
        kv_cache_tokens=65536,
        max_running_requests=32,
        chunked_prefill_size=512,
    )
    command = engine_command(needs, port=port, python=sys.executable, environment=os.environ)
    process = await EngineProcess.start(command, log_path=folder / "engine.log")
    reader = _Reader()
    sweeps = 0
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            await _wait_ready(http, process)
            tell("engine ready")
            began = time.monotonic()
            ends = began + limit_s * 2 / 3
            await _drive(http, warm_prefixes(seed=seed), reader=reader, ends=inf)
            while time.monotonic() < ends:
                groups = sweep(seed=seed, repeat=sweeps)
                await _drive(http, groups, reader=reader, ends=ends)
                sweeps += 1
                tell(f"sweep {sweeps}: {len(reader.samples)} iterations, {reader.lost} lost")
            for scale in _LENGTH_SCALES:
                left_s = max(15.0, (limit_s - (time.monotonic() - began)) / 2)
                await _work(http, seed=seed, scale=scale, duration_s=left_s, reader=reader)
                tell(f"workload: {len(reader.samples)} iterations, {reader.lost} lost")
    except (aiohttp.ClientError, TimeoutError) as error:
        raise RuntimeError(
            f"the engine stopped answering: {error!r}; see {process.log_path}"
        ) from error
    finally:
        await process.stop(grace_s=_GRACE_S)
    return EngineSamples(
        identity=identity_of(
            model=model.name,
            device_type="cpu",
            tensor_parallel_size=1,
            engine_build=f"sglang-{SGLANG_VERSION}",
        ),
        configuration={
            "model": asdict(_OPTIONS),
            "chunked_prefill_size": needs.chunked_prefill_size,
            "max_running_requests": needs.max_running_requests,
            "sweeps": sweeps,
            "seed": seed,
        },
        machine=machine(),
        lost=reader.lost,
        samples=tuple(reader.samples),
        parts=tuple(reader.parts),
    )


def _make_model(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    declare_vision_operators()  # transformers may import torchvision
    return make_tiny(folder.absolute() / "models", options=_OPTIONS, name="tiny-512x3")


async def _wait_ready(http: aiohttp.ClientSession, process: EngineProcess) -> None:
    deadline = time.monotonic() + _START_S
    ended = asyncio.ensure_future(process.wait())
    try:
        while time.monotonic() < deadline:
            if ended.done():
                raise RuntimeError(f"the engine ended at its start; see {process.log_path}")
            try:
                await _server_info(http)
                return
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(0.5)
    finally:
        ended.cancel()
    raise RuntimeError(f"the engine was not ready in {_START_S} s; see {process.log_path}")


async def _server_info(http: aiohttp.ClientSession) -> dict[str, Any]:
    async with http.get("/server_info", timeout=aiohttp.ClientTimeout(total=30)) as answer:
        answer.raise_for_status()
        values: dict[str, Any] = await answer.json()
        return values


async def _drive(
    http: aiohttp.ClientSession, groups: Iterable[SweepGroup], *, reader: _Reader, ends: float
) -> None:
    """Sends one group after the other until `ends`, reading the ring when it is time."""
    next_read = time.monotonic() + _POLL_S
    part = reader.part
    for group in groups:
        if time.monotonic() >= ends:
            break
        if group.part != part or time.monotonic() >= next_read:
            reader.part = part
            reader.take(await _server_info(http))
            part, next_read = group.part, time.monotonic() + _POLL_S
        await asyncio.gather(*(_generate(http, request) for request in group.requests))
    reader.part = part
    reader.take(await _server_info(http))


async def _work(
    http: aiohttp.ClientSession, *, seed: int, scale: float, duration_s: float, reader: _Reader
) -> None:
    """A closed loop over Azure-like requests: as many at once as keep the rows varied."""
    requests = shape(
        generate(seed=seed, duration_s=3600.0), length_scale=scale, max_context_tokens=2560
    )
    source = random.Random(f"{seed}/parallel/{scale}")
    waiting = iter(enumerate(requests))
    ends = time.monotonic() + duration_s
    reader.part = "workload"

    async def client(number: int) -> None:
        await asyncio.sleep(source.uniform(0.0, 2.0))
        for index, request in waiting:
            if time.monotonic() >= ends:
                return
            prompt = tuple(prompt_token_ids(request, index=index, seed=seed))
            await _generate(http, SweepRequest(prompt=prompt, new_tokens=request.output_tokens))
            # The higher its number, the longer a client rests: rows come and go.
            await asyncio.sleep(source.expovariate(1.0) * number * 0.05)

    clients = asyncio.gather(*(client(number) for number in range(_WORKLOAD_PARALLEL)))
    while not clients.done():
        await asyncio.wait([clients], timeout=_POLL_S)
        reader.take(await _server_info(http))
    await clients


async def _generate(http: aiohttp.ClientSession, request: SweepRequest) -> None:
    labels = online_labels()
    body = {
        "input_ids": list(request.prompt),
        "priority": labels["priority"],
        "sampling_params": {
            "temperature": 0.0,
            "max_new_tokens": request.new_tokens,
            "ignore_eos": True,
            "custom_params": labels["custom_params"],
        },
    }
    timeout = aiohttp.ClientTimeout(total=_ANSWER_S)
    async with http.post("/generate", json=body, timeout=timeout) as answer:
        if answer.status != 200:
            raise RuntimeError(f"the engine refused: {answer.status} {await answer.text()}")
        await answer.read()
