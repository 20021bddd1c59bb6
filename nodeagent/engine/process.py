"""One engine process, under its reaper.

Owns the reaper's stdin: as long as this process holds it the engine may live, and when it
closes, by any cause, the whole tree is killed. Refuses to decide when to start or stop.
Invariants: stdout and stderr of the tree go to one log file; `wait` answers once no
process of the tree is left.
"""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Mapping
from pathlib import Path

from nodeagent.engine.command import EngineCommand

_log = logging.getLogger(__name__)

_REAPER_EXTRA_S = 5.0
"""How much longer than the grace the reaper may take to kill and collect the tree."""


class EngineProcess:
    """A running engine. Make one with `start`."""

    def __init__(self, reaper: asyncio.subprocess.Process, *, log_path: Path) -> None:
        self._reaper = reaper
        self.log_path = log_path

    @classmethod
    async def start(cls, command: EngineCommand, *, log_path: Path) -> "EngineProcess":
        """Starts the engine's command under a new reaper, in a session of its own.

        Raises:
            OSError: the log cannot be opened, or no process can be started.
        """
        environment: Mapping[str, str] = dict(command.environment)
        with await asyncio.to_thread(log_path.open, "ab") as log:
            reaper = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "nodeagent.engine.reaper", "--", *command.argv),
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # a terminal's Ctrl-C is the agent's to handle
            )
        return cls(reaper, log_path=log_path)

    @property
    def pid(self) -> int:
        """The reaper's process id; the engine's processes are its descendants."""
        return self._reaper.pid

    async def wait(self) -> int:
        """Waits until the whole tree is gone.

        Returns:
            The launcher's exit status, 128 + n where signal n ended it.
        """
        return await self._reaper.wait()

    async def stop(self, *, grace_s: float) -> None:
        """Asks the engine to stop, kills what is left after the grace, and waits."""
        assert self._reaper.stdin is not None
        with contextlib.suppress(ConnectionError):
            self._reaper.stdin.write(f"stop {grace_s:.3f}\n".encode())
            await self._reaper.stdin.drain()
        try:
            async with asyncio.timeout(grace_s + _REAPER_EXTRA_S):
                await self._reaper.wait()
        except TimeoutError:
            # The tree holds on, e.g. in uninterruptible I/O. Closing stdin keeps the
            # reaper at it; it ends with the last process.
            _log.error("engine_stop_overdue pid=%d log=%s", self.pid, self.log_path)
            self._reaper.stdin.close()
            await self._reaper.wait()

    def kill(self) -> None:
        """Kills the tree at once, without waiting."""
        assert self._reaper.stdin is not None
        self._reaper.stdin.close()
