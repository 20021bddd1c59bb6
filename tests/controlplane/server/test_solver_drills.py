"""Drills on the solver's process: killed, hung, out of memory, wrong; then a normal solve.

Each drill ends with `is_normal`: the very next solve has a plan and no fault.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.placement.generate import generate
from bench.placement.instances import Instance, instances
from controlplane.rounds.solver import Solved, Solver
from controlplane.rounds.solver_child import SolverChild
from controlplane.rounds.solver_fault import FaultKind
from controlplane.rounds.solver_limits import SolverLimits
from planner.model import Snapshot
from planner.placement.greedy import greedy
from planner.placement.verify import verify
from storage.codecs import to_json
from tests.controlplane.server.conftest import until
from tests.controlplane.server.test_solver_process import BUDGET_S, SNAPSHOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and limits of Linux")

MIB = 1024 * 1024
TIMEOUT_S = 60.0

_FAKE = """
import json, os, signal, sys, time
from pathlib import Path

mark, plan = Path(sys.argv[1]), json.loads(sys.argv[2])
if mark.exists():
    import controlplane.rounds.solver_process as child
    child.main()
mark.touch()

def say(document):
    print(json.dumps(document), flush=True)

say({"ready": True})
request = json.loads(sys.stdin.readline())
assert request["budget_s"] > 0 and request["snapshot"]["revision"] == 7
"""
"""A child that speaks the protocol, misbehaves once, and is the real one from then on."""

_PATCHED = """
import os, sys
from pathlib import Path
import controlplane.rounds.solver_process as child

mark, real = Path(sys.argv[1]), child.solve

def solve(snapshot, *, work_left):
    if mark.exists():
        yield from real(snapshot, work_left=work_left)
        return
    mark.touch()
    for plan in real(snapshot, work_left=work_left):
        yield plan
        spoil()

def spoil():
"""
"""The real child, which does something more after the first plan of its first solve."""


@asynccontextmanager
async def held(solver: Solver) -> AsyncIterator[Solver]:
    """A solver, closed in the end."""
    try:
        yield solver
    finally:
        await solver.close()


def fake(
    folder: Path, code: str, *, plan: Any = None, limits: SolverLimits | None = None
) -> Solver:
    """A solver with the fake child."""
    command = (sys.executable, "-c", _FAKE + code, str(folder / "mark"), json.dumps(plan))
    return Solver(command, limits=limits)


def patched(folder: Path, code: str, *, limits: SolverLimits | None = None) -> Solver:
    """A solver with the patched child."""
    script = _PATCHED + f"    {code}\n\nchild.solve = solve\nchild.main()\n"
    return Solver((sys.executable, "-c", script, str(folder / "mark")), limits=limits)


def large(size: str = "50x8") -> Snapshot:
    """A fleet that takes the real solver many seconds."""
    (one,) = (
        one for one in instances([size], loads=["tight"], shapes=["dividing"], seeds=1, largest=1)
    )
    assert isinstance(one, Instance)
    return generate(one)


async def is_normal(solver: Solver, snapshot: Snapshot = SNAPSHOT) -> bool:
    """Whether the next solve gives a plan that passes, and no fault."""
    before = solver.counts.faults_total
    solved = await solver.solve(snapshot, budget_s=BUDGET_S)
    assert solved.failure == ""
    assert solver.counts.faults_total == before
    return solved.plan is not None and verify(snapshot, solved.plan) == ()


async def during(solver: Solver, act: Callable[[int], None], *, budget_s: float) -> Solved:
    """A solve of the real child; `act` is done to its process once it has sent a plan."""
    snapshot = large()
    assert await is_normal(solver)
    sent = solver.counts.plans_total
    pid = (await solver._running()).pid
    solving = asyncio.create_task(solver.solve(snapshot, budget_s=budget_s))

    async def has_sent() -> bool:
        assert not solving.done(), "it sends a plan long before its end"
        return solver.counts.plans_total > sent

    await until(has_sent, timeout_s=TIMEOUT_S)
    act(pid)
    solved = await solving
    assert solved.plan is not None, "what it sent before stands"
    assert verify(snapshot, solved.plan) == ()
    assert (await solver._running()).pid != pid
    return solved


async def test_plan_stands_when_the_solver_is_killed_in_the_middle() -> None:
    """Sent `kill -9`, as the kernel does where memory is short."""
    async with held(Solver()) as solver:
        solved = await during(solver, lambda pid: os.kill(pid, signal.SIGKILL), budget_s=BUDGET_S)
        assert [one.kind for one in solved.faults] == [FaultKind.KILLED]
        assert "signal 9 (SIGKILL)" in solved.failure
        assert await is_normal(solver)


async def test_plan_stands_when_the_solver_hangs() -> None:
    """A stopped process sends nothing, not even its end, and is killed past its deadline."""
    async with held(Solver(limits=SolverLimits(kill_after_s=0.5, kill_after_ratio=0.0))) as solver:
        solved = await during(solver, lambda pid: os.kill(pid, signal.SIGSTOP), budget_s=5.0)
        assert [one.kind for one in solved.faults] == [FaultKind.HUNG]
        assert "no end 0.5 s past its budget of 5 s" in solved.failure
        assert solved.solve_s >= 5.0
        assert await is_normal(solver)


async def test_solver_is_replaced_unnoticed_when_killed_between_two_solves() -> None:
    """Nothing was asked of it, so nothing failed."""
    async with held(Solver()) as solver:
        assert await is_normal(solver)
        child = await solver._running()
        os.kill(child.pid, signal.SIGKILL)
        await child._process.wait()
        assert await is_normal(solver)
        assert solver.counts.starts_total == 2


async def test_plan_stands_when_memory_grows_over_the_limit(tmp_path: Path) -> None:
    """Memory that is touched is seen and the process killed, long before the machine is full."""
    plan = to_json(greedy(SNAPSHOT))
    code = """
say({"plan": plan})
held = []
while True:
    held.append(b"x" * (8 << 20))
"""
    limits = SolverLimits(memory_bytes=256 * MIB)
    async with held(fake(tmp_path, code, plan=plan, limits=limits)) as solver:
        solved = await solver.solve(SNAPSHOT, budget_s=TIMEOUT_S)
        assert [one.kind for one in solved.faults] == [FaultKind.OUT_OF_MEMORY]
        assert f"{256 * MIB} are allowed" in solved.failure
        assert solved.plan is not None
        assert solver.counts.peak_bytes > 256 * MIB
        assert await is_normal(solver)


async def test_plan_stands_when_one_allocation_is_over_the_limit(tmp_path: Path) -> None:
    """Memory that is asked for at once is refused by the kernel, and the process says so."""
    limits = SolverLimits(memory_bytes=256 * MIB)
    async with held(patched(tmp_path, "bytearray(8 << 30)", limits=limits)) as solver:
        solved = await solver.solve(SNAPSHOT, budget_s=BUDGET_S)
        assert [one.kind for one in solved.faults] == [FaultKind.OUT_OF_MEMORY]
        assert "MemoryError" in solved.failure
        assert solved.plan is not None
        assert await is_normal(solver)


async def test_solver_is_killed_when_the_real_one_has_a_tiny_limit() -> None:
    """Loading alone takes more; with the usual limit the next solve is normal."""
    async with held(Solver(limits=SolverLimits(memory_bytes=24 * MIB))) as solver:
        solved = await solver.solve(SNAPSHOT, budget_s=BUDGET_S)
        assert [one.kind for one in solved.faults] == [FaultKind.OUT_OF_MEMORY]
        assert solved.plan is None
        solver._limits = SolverLimits()
        assert await is_normal(solver)


async def test_solver_is_killed_when_it_computes_and_nobody_looks(tmp_path: Path) -> None:
    """The kernel ends what computes for longer than a solve may."""
    async with held(fake(tmp_path, "while True: pass")) as solver:
        usual = solver._limits
        solver._limits = replace(usual, cpu_per_s=0)
        solved = await solver.solve(SNAPSHOT, budget_s=TIMEOUT_S)
        assert [one.kind for one in solved.faults] == [FaultKind.OUT_OF_CPU]
        await solver.close()  # one started ahead has the limit, too
        solver._limits = usual
        assert await is_normal(solver)


async def test_solver_is_killed_when_it_closes_its_output_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An end of lines is no end of a process."""
    monkeypatch.setattr("controlplane.rounds.solver_child._REAP_S", 0.5)
    async with held(fake(tmp_path, "os.close(1); time.sleep(600)")) as solver:
        solved = await solver.solve(SNAPSHOT, budget_s=TIMEOUT_S)
        assert [one.kind for one in solved.faults] == [FaultKind.GARBLED]
        assert "closed its output and went on" in solved.failure
        assert await is_normal(solver)


async def test_solve_is_normal_when_libraries_print(tmp_path: Path) -> None:
    """What is written to the process's standard output is no line of the protocol."""
    code = "print('noise'); sys.stdout.flush(); __import__('os').write(1, b'more noise')"
    async with held(patched(tmp_path, code)) as solver:
        assert await is_normal(solver)


async def test_solver_is_replaced_when_it_holds_much_memory_after_a_solve(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What leaks from round to round does not end a later one in its middle."""
    async with held(Solver()) as solver:
        monkeypatch.setattr("controlplane.rounds.solver._RECYCLE_AT_RATIO", 0.0)
        assert await is_normal(solver)
        assert solver.counts.starts_total == 2
        monkeypatch.undo()
        assert await is_normal(solver)
        assert solver.counts.starts_total == 2


async def test_solve_leaves_no_process_when_cancelled(tmp_path: Path) -> None:
    """A control plane that stops does not wait for its solver."""
    async with held(fake(tmp_path, "time.sleep(600)")) as solver:
        solving = asyncio.create_task(solver.solve(SNAPSHOT, budget_s=600.0))

        async def started() -> SolverChild | None:
            return solver._child if solver._child and solver._child.is_ready else None

        child = await until(started, timeout_s=TIMEOUT_S)
        solving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await solving
        assert child.returncode == -signal.SIGKILL
        assert await is_normal(solver)
