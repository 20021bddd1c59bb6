"""The solver's process: what it answers, what is laid on it, and when it starts."""

import asyncio
import os
import resource
import signal
import sys
import time
from pathlib import Path

import pytest

from controlplane.rounds.solver import Solver
from controlplane.rounds.solver_fault import REMEDIES, FaultKind
from controlplane.rounds.solver_limits import SolverLimits
from planner.model import Deployment, Device, Node, Slo, Snapshot
from planner.placement.verify import verify

SNAPSHOT = Snapshot(
    revision=7,
    nodes=(
        Node(
            id="n1",
            devices=(Device(index=0, device_type="cpu", memory_bytes=1 << 30),),
            failure_domain="n1",
        ),
    ),
    deployments=(
        Deployment(
            id="chat",
            model="tiny",
            slo=Slo(ttft_ms=500.0, itl_ms=100.0),
            min_replicas=1,
            max_replicas=1,
            weights_bytes=1000,
            kv_cache_bytes=1000,
        ),
    ),
    allocations=(),
)
BUDGET_S = 20.0
"""Far more than a small fleet needs; a slow machine may take it."""


def scripted(code: str, *, limits: SolverLimits | None = None) -> Solver:
    """A solver whose child is a script."""
    return Solver((sys.executable, "-c", code), limits=limits)


def kinds(solver: Solver) -> dict[str, int]:
    """Faults until now, by kind."""
    return {kind.value: count for kind, count in solver.counts.faults_total.items()}


async def ended_wait(solver: Solver) -> None:
    """Lets the wait before the next start pass."""
    await asyncio.sleep(max(0.0, solver._not_before_s - time.monotonic()) + 0.01)


async def test_solver_streams_a_verified_plan_when_asked() -> None:
    """The real child places the replica, twice from one process."""
    solver = Solver()
    try:
        for _ in range(2):
            solved = await solver.solve(SNAPSHOT, budget_s=BUDGET_S)
            assert solved.failure == ""
            assert solved.plan is not None
            assert [one.node for one in solved.plan.placements] == ["n1"]
            assert solved.plan.base_revision == 7
            assert verify(SNAPSHOT, solved.plan) == ()
        assert solver.counts.starts_total == 1, "it stays warm"
        assert solver.counts.solves_total == 2
        assert solver.counts.plans_total >= 2
        assert solver.counts.peak_bytes > 10 * 1024 * 1024
        assert kinds(solver) == {}
    finally:
        await solver.close()


READY = "print('{\"ready\": true}', flush=True); input(); "


@pytest.mark.parametrize(
    ("code", "kind", "failure"),
    [
        ("import sys; sys.exit(3)", FaultKind.EXITED, "its start: exit status 3"),
        (READY + "raise SystemExit(4)", FaultKind.EXITED, "a solve: exit status 4"),
        (READY + "print('no json', flush=True); input()", FaultKind.GARBLED, "no json"),
        (READY + "print('[1, 2]', flush=True); input()", FaultKind.GARBLED, "neither plan nor"),
        (READY + "print('[' * 60000, flush=True); input()", FaultKind.GARBLED, "neither plan nor"),
        (READY + READY, FaultKind.GARBLED, "ready twice"),
        (
            READY + 'print(\'{"plan": {"status": 1}}\\n{"end": true}\', flush=True); input()',
            FaultKind.GARBLED,
            "no Plan",
        ),
        (
            READY + 'print(\'{"error": "out of ideas"}\', flush=True); input()',
            FaultKind.RAISED,
            "out of ideas",
        ),
        (READY + 'print(\'{"plan": {\', end="", flush=True)', FaultKind.EXITED, "exit status 0"),
        (READY + "import os; os.abort()", FaultKind.KILLED, "signal 6 (SIGABRT)"),
    ],
)
async def test_solver_gives_no_plan_when_its_child_misbehaves(
    code: str, kind: FaultKind, failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A crash, garbage or an error is a fault with its kind, told once, never an exception."""
    solver = scripted(code)
    try:
        solved = await solver.solve(SNAPSHOT, budget_s=BUDGET_S)
        assert solved.plan is None
        assert [one.kind for one in solved.faults] == [kind]
        assert failure in solved.failure
        assert kinds(solver) == {kind.value: 1}
        (told,) = [one for one in caplog.records if "solver_failed" in one.message]
        assert told.levelname == "ERROR"
        assert f"kind={kind.value} revision=7 has_plan=False" in told.message
        assert told.message.endswith(f"remedy={REMEDIES[kind]!r}")
    finally:
        await solver.close()


async def test_solver_is_killed_when_it_hangs() -> None:
    """Past the deadline the process is gone, also one that never said it was ready."""
    limits = SolverLimits(start_s=0.3, kill_after_s=0.2)
    solver = scripted("import time; time.sleep(600)", limits=limits)
    try:
        process = await solver._running()
        solved = await solver.solve(SNAPSHOT, budget_s=0.1)
        assert solved.plan is None
        assert [one.kind for one in solved.faults] == [FaultKind.HUNG]
        assert "not ready within 0.3 s" in solved.failure
        assert process.returncode == -signal.SIGKILL
    finally:
        await solver.close()


async def test_solver_starts_anew_when_its_child_died() -> None:
    """One crash costs one round."""
    solver = scripted("import sys; sys.stdin.readline(); sys.exit(3)")
    await solver.solve(SNAPSHOT, budget_s=1.0)
    solver._command = Solver()._command
    await solver.close()
    try:
        assert (await solver.solve(SNAPSHOT, budget_s=BUDGET_S)).plan is not None
    finally:
        await solver.close()


async def test_solver_waits_between_starts_when_each_dies_at_once() -> None:
    """The second death in a row sets a wait, which no solve's budget is shorter than."""
    solver = scripted("raise SystemExit(3)")
    budget_s = 0.2
    try:
        for _ in range(2):
            solved = await solver.solve(SNAPSHOT, budget_s=budget_s)
            assert [one.kind for one in solved.faults] == [FaultKind.EXITED]
        solver._not_before_s += 3600.0  # that no slow machine lets the wait pass before it is seen
        starts = solver.counts.starts_total
        solved = await solver.solve(SNAPSHOT, budget_s=budget_s)
        assert [one.kind for one in solved.faults] == [FaultKind.NOT_STARTED]
        assert "2 solver processes in a row" in solved.failure
        assert "exit status 3" in solved.failure, "it says why"
        assert solver.counts.starts_total == starts
        solver._not_before_s -= 3600.0
        for deaths in range(3, 8):
            await ended_wait(solver)
            await solver.solve(SNAPSHOT, budget_s=budget_s)
            assert solver._dead_starts == deaths, "each wait ended and another was tried"
            assert solver._not_before_s - time.monotonic() <= budget_s
        solver._command = Solver()._command
        await ended_wait(solver)
        solved = await solver.solve(SNAPSHOT, budget_s=BUDGET_S)
        assert solved.plan is not None
        assert solver._dead_starts == 0
    finally:
        await solver.close()


async def test_solver_names_the_command_when_it_cannot_be_run() -> None:
    """A missing program is a fault like others."""
    solver = Solver(("/nowhere/solver",))
    solved = await solver.solve(SNAPSHOT, budget_s=1.0)
    assert [one.kind for one in solved.faults] == [FaultKind.NOT_STARTED]
    assert "/nowhere/solver" in solved.failure


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
async def test_solver_has_limits_and_yields_to_servers_when_started() -> None:
    """Memory, niceness and the kernel's choice of victim are laid on from outside."""
    limits = SolverLimits(memory_bytes=1 << 31, niceness=3)
    solver = scripted("input()", limits=limits)
    try:
        await solver.warm()
        child = await solver._running()
        assert solver.counts.starts_total == 1
        assert os.getpriority(os.PRIO_PROCESS, child.pid) == min(
            19, os.getpriority(os.PRIO_PROCESS, 0) + 3
        )
        assert resource.prlimit(child.pid, resource.RLIMIT_DATA) == (1 << 32, 1 << 32)
        assert _victim_score(child.pid) == 500
        assert os.getpgid(child.pid) == child.pid, "a Ctrl-C does not reach it"
        assert os.getsid(child.pid) == os.getsid(0), "where niceness would not count"
    finally:
        await solver.close()


def _victim_score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def test_overrun_grows_with_the_budget_when_a_fleet_is_large() -> None:
    """A part of the budget, and never less than the constant."""
    limits = SolverLimits(kill_after_s=2.0, kill_after_ratio=0.5)
    assert limits.overrun_s(0.0) == 2.0
    assert limits.overrun_s(60.0) == 32.0
