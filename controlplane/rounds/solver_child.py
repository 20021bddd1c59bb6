"""One solver process, as its parent holds it.

Owns its pipes, its limits and why it ended. Refuses to read meaning into its lines.
Invariant: after `kill` nothing more is waited for than `_REAP_S`.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Sequence

from controlplane.rounds.solver_fault import FaultKind, SolverFault
from controlplane.rounds.solver_limits import SolverLimits, allow_cpu, lay_on, resident_bytes

_log = logging.getLogger(__name__)

_REAP_S = 5.0
"""A process inside the kernel, on a dead disk say, cannot be killed until it comes back."""


class SolverChild:
    """A process that was started; `is_ready` once it said so."""

    def __init__(self, process: asyncio.subprocess.Process, limits: SolverLimits) -> None:
        self._process = process
        self._limits = limits
        self._has_burst = False
        self.is_ready = False
        self.peak_bytes = 0

    @classmethod
    async def start(cls, command: Sequence[str], limits: SolverLimits) -> "SolverChild":
        """Starts one.

        Raises:
            OSError: the system could not.
        """
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=limits.line_bytes,
            # A Ctrl-C at the parent is the parent's to handle. Not a session of its own:
            # where the kernel groups by session, its niceness would weigh nothing.
            process_group=0,
        )
        lay_on(process.pid, limits)
        _log.info("solver_started pid=%d", process.pid)
        return cls(process, limits)

    @property
    def pid(self) -> int:
        """Of the process, also after its end."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative a signal's number; None while it runs."""
        return self._process.returncode

    @property
    def resident_bytes(self) -> int:
        """Memory it holds now."""
        return resident_bytes(self.pid)

    def allow_cpu(self, wall_s: float) -> None:
        """Lets it compute for a solve of so long, from now."""
        allow_cpu(self.pid, wall_s, cpu_per_s=self._limits.cpu_per_s)

    async def send(self, line: bytes) -> None:
        """Writes one line.

        Raises:
            OSError, RuntimeError: its input is closed.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(line + b"\n")
        await self._process.stdin.drain()

    async def line(self) -> bytes:
        """The next line with its end; without one, or empty, where the process ended.

        Raises:
            ValueError: it is longer than the limit.
        """
        assert self._process.stdout is not None
        return await self._process.stdout.readline()

    async def watch(self) -> None:
        """Kills the process once it holds more memory than it may; until cancelled."""
        while self._process.returncode is None:
            held_bytes = self.resident_bytes
            self.peak_bytes = max(self.peak_bytes, held_bytes)
            if held_bytes > self._limits.memory_bytes:
                self._has_burst = True
                self._signal_kill()
                return
            await asyncio.sleep(self._limits.watch_every_s)

    async def kill(self) -> None:
        """Ends it, if it runs."""
        if self._process.returncode is not None:
            return
        self._signal_kill()
        try:
            async with asyncio.timeout(_REAP_S):
                await self._process.wait()
        except TimeoutError:
            _log.error("solver_left_behind pid=%d waited_s=%g", self.pid, _REAP_S)

    async def ending(self) -> SolverFault:
        """Why its output ended; a process that only closed its output is killed."""
        try:
            async with asyncio.timeout(_REAP_S):
                status = await self._process.wait()
        except TimeoutError:
            await self.kill()
            return self._fault(FaultKind.GARBLED, "it closed its output and went on")
        if self._has_burst:
            return self._fault(
                FaultKind.OUT_OF_MEMORY,
                f"it held {self.peak_bytes} bytes, {self._limits.memory_bytes} are allowed",
            )
        if status >= 0:
            return self._fault(FaultKind.EXITED, f"exit status {status}")
        kind = FaultKind.OUT_OF_CPU if status == -signal.SIGXCPU else FaultKind.KILLED
        return self._fault(kind, f"signal {-status} ({_signal_name(-status)})")

    def _fault(self, kind: FaultKind, why: str) -> SolverFault:
        what = "a solve" if self.is_ready else "its start"
        message = f"solver process {self.pid} ended in the middle of {what}: {why}"
        return SolverFault(kind=kind, message=message)

    def _signal_kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unnamed"  # real-time signals but the first and last
