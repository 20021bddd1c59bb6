"""The parent's side of a solve: a killable process and the incumbent received last.

Owns the process, its deadline and its end. Refuses to trust it: a crash, a hang or a
line that is no plan ends the process, and what was received before stands. Invariant:
`solve` returns within the deadline plus `KILL_AFTER_S`, whatever the child does.
"""

import asyncio
import contextlib
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from planner.model import Plan, Snapshot
from storage.codecs import from_json, to_json

_log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "controlplane.rounds.solver_process")
START_S = 30.0
"""Loading OR-Tools on a busy machine; measured 1 to 6 s on two shared cores."""
KILL_AFTER_S = 2.0
"""Past the deadline: solvers' own limits overrun (OR-Tools issues #2604, #4743)."""
_LINE_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """The last incumbent, or None, and what went wrong, empty if nothing did."""

    plan: Plan | None
    failure: str
    solve_s: float


class Solver:
    """One warm solver process, started when first needed.

    Args:
        command: what to run; it speaks as `solver_process` does.
    """

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self._command = tuple(command)
        self._process: asyncio.subprocess.Process | None = None
        self._is_warm = False
        self._turn = asyncio.Lock()

    async def solve(self, snapshot: Snapshot, *, budget_s: float) -> Solved:
        """Solves one snapshot; never raises for what the child does."""
        async with self._turn:
            started_s = time.monotonic()
            plan: Plan | None = None
            failure = ""
            try:
                process = await self._running()
                wait_s = budget_s + KILL_AFTER_S + (0.0 if self._is_warm else START_S)
                async with asyncio.timeout(wait_s):
                    assert process.stdin is not None
                    assert process.stdout is not None
                    request = {"budget_s": budget_s, "snapshot": to_json(snapshot)}
                    process.stdin.write(json.dumps(request).encode() + b"\n")
                    await process.stdin.drain()
                    while True:
                        line = await process.stdout.readline()
                        if not line.endswith(b"\n"):
                            raise _BrokenSolverError("the process ended in the middle of a solve")
                        self._is_warm = True
                        document = json.loads(line)
                        if "plan" in document:
                            plan = from_json(Plan, document["plan"])
                        elif "error" in document:
                            failure = str(document["error"])
                            break
                        elif document.get("end") is True:
                            break
                        else:
                            raise _BrokenSolverError("a line is neither plan nor end")
            except TimeoutError:
                failure = f"no end within {budget_s:g} s; the process was killed"
                await self.close()
            except _FAILURES as error:
                failure = f"{type(error).__name__}: {error}"[:300]
                await self.close()
            except asyncio.CancelledError:
                await self.close()
                raise
            return Solved(plan=plan, failure=failure, solve_s=time.monotonic() - started_s)

    async def close(self) -> None:
        """Kills the process, if there is one."""
        process, self._process = self._process, None
        self._is_warm = False
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._is_warm = False
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=_LINE_BYTES,
                start_new_session=True,  # a Ctrl-C at the parent is the parent's to handle
            )
            _log.info("solver_started pid=%d", self._process.pid)
        return self._process


class _BrokenSolverError(Exception):
    """The child does not speak as it should."""


_FAILURES = (_BrokenSolverError, OSError, RuntimeError, ValueError, AttributeError, TypeError)
"""What a child, its pipes (RuntimeError: a closed transport) or its lines may raise."""
