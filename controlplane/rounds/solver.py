"""The parent's side of a solve: a killable process and the best plan received.

Owns the process from round to round, the deadline of a solve and what is told of a fault.
Refuses to trust the process: a crash, a hang, too much memory or a line that is no plan ends
it, what was received before stands, and the next solve has a fresh one. Invariants: a plan
that `solve` gives has passed the verifier here; `solve` waits for the process no longer than
the budget, its allowed overrun and, for a cold one, `start_s`, whatever the process does;
every fault is logged once, as `solver_failed`, and counted.
"""

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from sys import executable

from controlplane.rounds.solver_answers import PREFIX, Answers
from controlplane.rounds.solver_child import SolverChild
from controlplane.rounds.solver_fault import FaultKind, SolverFault
from controlplane.rounds.solver_limits import SolverLimits
from planner.model import Plan, Snapshot
from storage.codecs import to_json

_log = logging.getLogger(__name__)

COMMAND = (executable, "-m", "controlplane.rounds.solver_process")
_FIRST_WAIT_S = 1.0
"""After the second process in a row that died at its start; doubles from there."""
_SHORT_LINE_BYTES = 64 * 1024  # of a line that is no plan
_RECYCLE_AT_RATIO = 0.5  # of the memory limit, held between two solves


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """The best verified plan, or None, and what went wrong: nothing, or one fault or two.

    A plan stands though the process failed after it.
    """

    plan: Plan | None
    faults: tuple[SolverFault, ...] = ()
    solve_s: float = 0.0

    @property
    def failure(self) -> str:
        """What went wrong in words, empty if nothing did."""
        return "; ".join(str(one) for one in self.faults)


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverCounts:
    """What a solver did since it was made, for metrics."""

    solves_total: int = 0
    plans_total: int = 0
    starts_total: int = 0
    faults_total: Mapping[FaultKind, int] = field(default_factory=dict)
    peak_bytes: int = 0  # resident, of any of its processes


class _Word(Enum):
    READY = "ready"
    END = "end"


class Solver:
    """One warm solver process, started when first needed or by `warm`.

    Args:
        command: what to run; it speaks as `solver_process` does.
        limits: what it may take.
    """

    def __init__(
        self, command: Sequence[str] = COMMAND, *, limits: SolverLimits | None = None
    ) -> None:
        self._command = tuple(command)
        self._limits = limits or SolverLimits()
        self._child: SolverChild | None = None
        self._turn = asyncio.Lock()
        self._dead_starts = 0
        self._last_dead_start = ""
        self._not_before_s = 0.0
        self._solves = self._plans = self._starts = self._peak_bytes = 0
        self._faults: Counter[FaultKind] = Counter()

    @property
    def counts(self) -> SolverCounts:
        """What it did until now; during a solve, too."""
        child = self._child
        return SolverCounts(
            solves_total=self._solves,
            plans_total=self._plans,
            starts_total=self._starts,
            faults_total=dict(self._faults),
            peak_bytes=max(self._peak_bytes, child.peak_bytes if child else 0),
        )

    async def warm(self) -> None:
        """Starts the process ahead of the first solve; a failure shows there."""
        async with self._turn:
            await self._start_ahead()

    async def solve(self, snapshot: Snapshot, *, budget_s: float) -> Solved:
        """Solves one snapshot; never raises for what the process does."""
        async with self._turn:
            started_s = time.monotonic()
            self._solves += 1
            answers = Answers()
            try:
                fault = await self._converse(snapshot, answers, budget_s)
                plan, refused = await asyncio.to_thread(answers.best, snapshot)
                faults = tuple(one for one in (fault, refused) if one)
                await self._after(faults)
            except asyncio.CancelledError:
                await self.close()
                raise
            for one in faults:
                self._tell(one, snapshot=snapshot, plan=plan)
            return Solved(plan=plan, faults=faults, solve_s=time.monotonic() - started_s)

    async def close(self) -> None:
        """Kills the process, if there is one."""
        child, self._child = self._child, None
        if child is not None:
            self._peak_bytes = max(self._peak_bytes, child.peak_bytes)
            await child.kill()

    async def _converse(
        self, snapshot: Snapshot, answers: Answers, budget_s: float
    ) -> SolverFault | None:
        """One question and its answers; what went wrong with the process."""
        child = await self._running()
        if isinstance(child, SolverFault):
            return child
        watch = asyncio.create_task(child.watch())
        try:
            fault = await self._ask(child, snapshot, answers, budget_s)
        finally:
            watch.cancel()
            await asyncio.wait((watch,))
        if fault is not None:
            await child.kill()
        if child.is_ready:
            self._dead_starts = 0
        elif fault is not None:
            self._note_dead_start(fault, at_most_s=budget_s)
        return fault

    async def _ask(
        self, child: SolverChild, snapshot: Snapshot, answers: Answers, budget_s: float
    ) -> SolverFault | None:
        allowed_s = budget_s + self._limits.overrun_s(budget_s)
        start_s = 0.0 if child.is_ready else self._limits.start_s
        child.allow_cpu(start_s + allowed_s)
        try:
            async with asyncio.timeout(start_s + allowed_s) as deadline:
                question = await asyncio.to_thread(_question, snapshot, budget_s)
                await child.send(question)
                while True:
                    line = await child.line()
                    if not line.endswith(b"\n"):
                        break
                    if line.startswith(PREFIX):
                        self._plans += 1
                        answers.add(line)
                        continue
                    told = _told(line)
                    if isinstance(told, SolverFault):
                        return told
                    if told is _Word.END:
                        return None
                    if child.is_ready:  # again, it would put off the deadline for ever
                        return SolverFault(kind=FaultKind.GARBLED, message="it was ready twice")
                    child.is_ready = True
                    deadline.reschedule(asyncio.get_running_loop().time() + allowed_s)
        except TimeoutError:
            return self._late(child, budget_s)
        except ValueError:
            return SolverFault(
                kind=FaultKind.TOO_LARGE,
                message=f"a line has more than {self._limits.line_bytes} bytes",
            )
        except (OSError, RuntimeError):  # RuntimeError: a transport that is closed
            pass
        return await child.ending()

    def _late(self, child: SolverChild, budget_s: float) -> SolverFault:
        where = (
            f"no end {self._limits.overrun_s(budget_s):g} s past its budget of {budget_s:g} s"
            if child.is_ready
            else f"not ready within {self._limits.start_s:g} s"
        )
        return SolverFault(
            kind=FaultKind.HUNG, message=f"solver process {child.pid}: {where}; it was killed"
        )

    async def _running(self) -> SolverChild | SolverFault:
        """The process, a new one if need be; a fault where none can be had now."""
        if self._child is not None and self._child.returncode is not None:
            _log.warning(
                "solver_gone pid=%d returncode=%d", self._child.pid, self._child.returncode
            )
            await self.close()
        if self._child is None:
            wait_s = self._not_before_s - time.monotonic()
            if wait_s > 0.0:
                message = (
                    f"{self._dead_starts} solver processes in a row died at their start; the next"
                    f" is tried in {wait_s:.1f} s; the last: {self._last_dead_start}"
                )
                return SolverFault(kind=FaultKind.NOT_STARTED, message=message)
            try:
                self._child = await SolverChild.start(self._command, self._limits)
            except OSError as error:
                return SolverFault(
                    kind=FaultKind.NOT_STARTED, message=f"{self._command[0]}: {error}"
                )
            self._starts += 1
        return self._child

    def _note_dead_start(self, fault: SolverFault, *, at_most_s: float) -> None:
        """Sets when the next may start: never later than a solve lasts, and so than a round."""
        self._dead_starts += 1
        self._last_dead_start = str(fault)
        if self._dead_starts > 1:
            doublings = min(self._dead_starts - 2, 10)
            wait_s = min(_FIRST_WAIT_S * 2.0**doublings, at_most_s)
            self._not_before_s = time.monotonic() + wait_s

    async def _after(self, faults: Sequence[SolverFault]) -> None:
        """Leaves a process for the next solve: the same, or a fresh one, which loads meanwhile."""
        child = self._child
        if child is None:
            return
        if not faults:
            held_bytes = child.resident_bytes
            if held_bytes <= _RECYCLE_AT_RATIO * self._limits.memory_bytes:
                return
            _log.info("solver_recycled pid=%d held_bytes=%d", child.pid, held_bytes)
        await self.close()
        if self._dead_starts == 0:
            await self._start_ahead()

    async def _start_ahead(self) -> None:
        child = await self._running()
        if isinstance(child, SolverFault):
            _log.warning("solver_not_ahead kind=%s message=%r", child.kind.value, child.message)

    def _tell(self, fault: SolverFault, *, snapshot: Snapshot, plan: Plan | None) -> None:
        self._faults[fault.kind] += 1
        _log.error(
            "solver_failed kind=%s revision=%d has_plan=%s message=%r remedy=%r",
            fault.kind.value,
            snapshot.revision,
            plan is not None,
            fault.message,
            fault.remedy,
        )


def _question(snapshot: Snapshot, budget_s: float) -> bytes:
    return json.dumps({"budget_s": budget_s, "snapshot": to_json(snapshot)}).encode()


def _told(line: bytes) -> "_Word | SolverFault":
    """What a line says that is no plan."""
    if len(line) <= _SHORT_LINE_BYTES:
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            document = None
        match document:
            case {"ready": True}:
                return _Word.READY
            case {"end": True}:
                return _Word.END
            case {"error": str(error), "is_of_memory": True}:
                return SolverFault(kind=FaultKind.OUT_OF_MEMORY, message=error[:300])
            case {"error": str(error)}:
                return SolverFault(kind=FaultKind.RAISED, message=error[:300])
    return SolverFault(
        kind=FaultKind.GARBLED,
        message=f"a line of {len(line)} bytes is neither plan nor end: {line[:60]!r}",
    )
