"""A real SGLang on the CPU for tests: started, asked over HTTP, and killed as a group."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nodeagent.plugin_contract import (
    CPU_PLATFORM_NAME,
    PLUGIN_NAME,
    PluginState,
    offline_labels,
    online_labels,
    parse_plugin_state,
)

START_S = 240.0  # 25 s on quiet cores; two ranks on shared ones took over 150
ANSWER_S = 180.0
SETTLE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One request of a test."""

    rid: str  # of fixed length: SGLang aborts by prefix
    ids: tuple[int, ...]
    new_tokens: int
    offline: bool
    extra: dict[str, Any] = field(default_factory=dict)  # sampling parameters
    asks: dict[str, Any] = field(default_factory=dict)  # of the body's top level

    def body(self) -> dict[str, Any]:
        """The `/generate` body: greedy, full length."""
        labels = offline_labels() if self.offline else online_labels()
        return {
            "rid": self.rid,
            "input_ids": list(self.ids),
            "priority": labels["priority"],
            "sampling_params": {
                "temperature": 0.0,
                "max_new_tokens": self.new_tokens,
                "ignore_eos": True,
                "custom_params": labels["custom_params"],
                **self.extra,
            },
            **self.asks,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A running engine."""

    port: int
    log: Path

    def call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """GET, or POST where there is a body."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
                text = answer.read()
                is_json = answer.headers.get_content_type() == "application/json"
        except urllib.error.HTTPError as error:
            error.add_note(f"{path}: {error.read()[:500]!r}")
            raise
        return json.loads(text) if is_json else text.decode()

    def state(self) -> PluginState | None:
        """What the plugin says, or None."""
        return parse_plugin_state(self.call("/server_info"))

    def settings(self, values: dict[str, float | int]) -> bool:
        """Sets internal state. Returns whether the engine took it."""
        try:
            answer = self.call("/set_internal_state", {"server_args": values})
        except urllib.error.HTTPError:
            return False
        return all(answer)  # one boolean for each scheduler

    def answer(self, prompt: Prompt) -> Any:
        """The whole answer to one request."""
        return self.call("/generate", prompt.body())

    def generate(self, prompt: Prompt) -> list[int]:
        """Output ids of one request."""
        ids: list[int] = self.answer(prompt)["output_ids"]
        return ids

    def generate_all(
        self, prompts: Sequence[Prompt], *, stagger_s: float = 0.0
    ) -> dict[str, list[int]]:
        """Output ids of concurrent requests, by rid; started in order, `stagger_s` apart."""
        with ThreadPoolExecutor(max_workers=len(prompts)) as pool:
            futures = {}
            for prompt in prompts:
                futures[prompt.rid] = pool.submit(self.generate, prompt)
                time.sleep(stagger_s)
            return {rid: future.result() for rid, future in futures.items()}

    def tail(self, lines: int = 60) -> str:
        """The end of the engine's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def state_of(engine: Engine) -> PluginState:
    """What the plugin says; there must be one."""
    state = engine.state()
    assert state is not None, engine.tail()
    return state


def settled(engine: Engine) -> PluginState:
    """The state once nothing is left in the engine."""
    return wait_for(
        engine,
        lambda s: (
            not any(load.running or load.parked or load.waiting for load in (s.online, s.offline))
        ),
    )


def wait_for(engine: Engine, holds: Callable[[PluginState], bool]) -> PluginState:
    """The first state of which something holds."""
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        state = state_of(engine)
        if holds(state):
            return state
        time.sleep(0.02)
    raise AssertionError(f"not reached: {state_of(engine)}\n{engine.tail()}")


@contextmanager
def running_engine(
    model: Path,
    log: Path,
    *,
    flags: Sequence[str] = (),
    environment: dict[str, str] | None = None,
    start_s: float = START_S,
    device: str = "cpu",
) -> Iterator[Engine]:
    """Starts an engine, yields it ready, kills its whole process group."""
    port = _free_port()
    platform = {"SGLANG_PLATFORM": CPU_PLATFORM_NAME} if device == "cpu" else {}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "sglang.launch_server",
                f"--model-path={model}",
                f"--device={device}",
                "--dtype=float32",
                "--host=127.0.0.1",
                f"--port={port}",
                "--max-running-requests=32",
                "--skip-server-warmup",
                *flags,
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={
                **os.environ,
                **platform,
                "SGLANG_PLUGINS": PLUGIN_NAME,
                "OMP_NUM_THREADS": "1",
                "HF_HUB_OFFLINE": "1",
                "SGLANG_ENABLE_STRICT_MEM_CHECK_DURING_IDLE": "1",
                **(environment or {}),
            },
        )
    engine = Engine(port=port, log=log)
    try:
        _wait_ready(engine, process, start_s=start_s)
        yield engine
    finally:
        _kill_group(process)


def _wait_ready(
    engine: Engine, process: subprocess.Popen[bytes], *, start_s: float = START_S
) -> None:
    deadline = time.monotonic() + start_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"engine exited with {process.returncode}:\n{engine.tail()}")
        try:
            engine.call("/server_info")
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    raise TimeoutError(f"engine not ready in {start_s} s:\n{engine.tail()}")


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=20)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
