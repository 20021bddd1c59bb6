"""Keeps one engine up.

Owns the life of a replica's engine: start, readiness, restart with backoff, crash loop,
stop. Refuses to know of requests or plans. Invariants: at most one engine process exists
per supervisor; `state` is RUNNING only between a passed readiness probe and the exit of
the process; a failure names the log file and what it says.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from nodeagent.engine.backoff import Restarts
from nodeagent.engine.client import EngineClient
from nodeagent.engine.command import EngineNeeds, engine_command
from nodeagent.engine.errors import EngineError
from nodeagent.engine.logs import cause_of_death, new_log_path, next_start
from nodeagent.engine.ports import free_port
from nodeagent.engine.process import EngineProcess

_log = logging.getLogger(__name__)

_PROBE_INTERVAL_S = 0.5
_CPU_STOP_GRACE_S = 0.5  # nothing to release; SGLang itself polls for SIGTERM every 5 s
_GPU_STOP_GRACE_S = 30.0  # a kill amid release leaves GPU memory held


class EngineState(Enum):
    """How an engine stands."""

    STARTING = "starting"
    RUNNING = "running"
    FAILED = "failed"  # a crash loop; still retried, seldom
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """A supervisor's public face."""

    state: EngineState = EngineState.STARTING
    message: str = ""
    starts: int = 0
    engine_version: str = ""


class Supervisor:
    """Supervises the engine of one replica; `run` it in a task of its own.

    Args:
        replica: id, for logs.
        needs: what to serve.
        log_folder: where the log files go.
        ready_timeout_s: a start that is not ready by then has failed.
        python: interpreter SGLang is installed for.
        environment: the agent's own.
        on_change: called after every change of `status` or `client`.
    """

    def __init__(
        self,
        *,
        replica: str,
        needs: EngineNeeds,
        log_folder: Path,
        ready_timeout_s: float,
        python: str,
        environment: Mapping[str, str],
        on_change: Callable[[], None],
    ) -> None:
        self._replica = replica
        self._needs = needs
        self._log_folder = log_folder
        self._ready_timeout_s = ready_timeout_s
        self._python = python
        self._environment = environment
        self._on_change = on_change
        self._restarts = Restarts()
        self._stop = asyncio.Event()
        self.status = EngineStatus()
        self.client: EngineClient | None = None
        """Set while the engine is RUNNING."""

    def request_stop(self) -> None:
        """Makes `run` stop the engine and return."""
        self._stop.set()

    async def run(self) -> None:
        """Keeps the engine up until `request_stop`; kills it when cancelled."""
        while not self._stop.is_set():
            failure, healthy_s = await self._run_once()
            if self._stop.is_set():
                break
            self._restarts = self._restarts.after_failure(healthy_s=healthy_s)
            delay_s = self._restarts.delay_s
            looping = self._restarts.is_crash_loop
            _log.error(
                "engine_failed replica=%s failures=%d restart_in_s=%.0f cause=%r",
                *(self._replica, self._restarts.failures, delay_s, failure),
            )
            self._set(
                EngineState.FAILED if looping else EngineState.STARTING,
                message=f"replica {self._replica}: {failure}; failure"
                f" {self._restarts.failures} in a row, next start in {delay_s:.0f} s",
            )
            await self._stopped_within(delay_s)
        self._set(EngineState.STOPPED, message="")

    async def _run_once(self) -> tuple[str, float]:
        """One start. Returns why it ended and for how many seconds it had been ready."""
        try:
            start = await asyncio.to_thread(next_start, self._log_folder)
            log_path = await asyncio.to_thread(new_log_path, self._log_folder, start=start)
            port = free_port()
            command = engine_command(
                self._needs, port=port, python=self._python, environment=self._environment
            )
            process = await EngineProcess.start(command, log_path=log_path)
        except OSError as error:
            return f"engine could not be started: {error}", 0.0
        is_looping = self.status.state is EngineState.FAILED
        self._set(
            EngineState.FAILED if is_looping else EngineState.STARTING,
            starts=self.status.starts + 1,
        )
        _log.info(
            "engine_started replica=%s pid=%d port=%d log=%s",
            *(self._replica, process.pid, port, log_path),
        )
        exited = asyncio.create_task(process.wait())
        client = EngineClient(f"http://127.0.0.1:{port}")
        ready_at: float | None = None
        try:
            ready_at = await self._become_ready(client, exited)
            if ready_at is not None:
                await self._first(exited, self._stop.wait())
            healthy_s = time.monotonic() - ready_at if ready_at is not None else 0.0
            if exited.done():
                failure = f"engine exited with status {exited.result()}"
            else:
                failure = f"engine was not ready within {self._ready_timeout_s:.0f} s"
        finally:
            self.client = None
            await client.close()
            grace_s = _CPU_STOP_GRACE_S if self._needs.is_cpu else _GPU_STOP_GRACE_S
            try:
                if not exited.done():
                    await process.stop(grace_s=grace_s)
            finally:
                process.kill()
                exited.cancel()
        cause = await asyncio.to_thread(cause_of_death, log_path)
        return f"{failure}{f' ({cause})' if cause else ''}, see {log_path}", healthy_s

    async def _become_ready(
        self, client: EngineClient, exited: "asyncio.Task[int]"
    ) -> float | None:
        """Probes until the engine answers; None if it exited, timed out or shall stop."""
        give_up_at = time.monotonic() + self._ready_timeout_s
        while time.monotonic() < give_up_at and not self._stop.is_set() and not exited.done():
            if await client.is_healthy():
                try:
                    version = await client.version()
                except EngineError:
                    continue
                self.client = client
                self._set(EngineState.RUNNING, message="", engine_version=version)
                _log.info("engine_ready replica=%s sglang=%s", self._replica, version)
                return time.monotonic()
            await self._first(exited, self._stop.wait(), timeout_s=_PROBE_INTERVAL_S)
        return None

    async def _stopped_within(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return

    @staticmethod
    async def _first(
        exited: "asyncio.Task[int]", other: Awaitable[object], *, timeout_s: float | None = None
    ) -> None:
        """Waits for the exit, the other event, or the timeout; leaves the exit running."""
        waiting = asyncio.ensure_future(other)
        try:
            await asyncio.wait(
                {exited, waiting}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            waiting.cancel()

    def _set(
        self,
        state: EngineState,
        *,
        message: str | None = None,
        starts: int | None = None,
        engine_version: str | None = None,
    ) -> None:
        old = self.status
        self.status = EngineStatus(
            state=state,
            message=old.message if message is None else message,
            starts=old.starts if starts is None else starts,
            engine_version=old.engine_version if engine_version is None else engine_version,
        )
        if self.status != old:
            self._on_change()
