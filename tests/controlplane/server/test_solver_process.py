"""The solver's process: killable, mistrusted, and warm."""

import sys

import pytest

from controlplane.rounds.solver import Solver
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


def scripted(code: str) -> Solver:
    """A solver whose child is a script."""
    return Solver((sys.executable, "-c", code))


async def test_solver_streams_a_verified_plan_when_asked() -> None:
    """The real child places the replica, twice from one process."""
    solver = Solver()
    try:
        for _ in range(2):
            solved = await solver.solve(SNAPSHOT, budget_s=10.0)
            assert solved.failure == ""
            assert solved.plan is not None
            assert [one.node for one in solved.plan.placements] == ["n1"]
            assert solved.plan.base_revision == 7
            assert verify(SNAPSHOT, solved.plan) == ()
    finally:
        await solver.close()


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("import sys; sys.stdin.readline(); sys.exit(3)", "ended in the middle"),
        ("print('no json', flush=True); input(); input()", "Error"),
        ("print('[1, 2]', flush=True); input(); input()", "Error"),
        ('print(\'{"plan": {"status": 1}}\', flush=True); input(); input()', "no Plan"),
        ('print(\'{"error": "out of ideas"}\', flush=True); input(); input()', "out of ideas"),
        ("print('{', end='', flush=True)", "ended in the middle"),
    ],
)
async def test_solver_gives_no_plan_when_its_child_misbehaves(code: str, failure: str) -> None:
    """A crash, garbage or an error is a failure in words, never an exception."""
    solver = scripted(code)
    try:
        solved = await solver.solve(SNAPSHOT, budget_s=5.0)
        assert solved.plan is None
        assert failure in solved.failure
    finally:
        await solver.close()


async def test_solver_is_killed_when_it_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the deadline the process is gone and the incumbent it sent first stands."""
    monkeypatch.setattr("controlplane.rounds.solver.KILL_AFTER_S", 0.2)
    monkeypatch.setattr("controlplane.rounds.solver.START_S", 0.0)
    solver = scripted("import time; time.sleep(600)")
    process = await solver._running()
    solved = await solver.solve(SNAPSHOT, budget_s=0.1)
    assert solved.plan is None
    assert "killed" in solved.failure
    assert process.returncode is not None


async def test_solver_starts_anew_when_its_child_died() -> None:
    """One crash costs one round."""
    solver = scripted("import sys; sys.stdin.readline(); sys.exit(3)")
    await solver.solve(SNAPSHOT, budget_s=1.0)
    solver._command = Solver()._command
    try:
        assert (await solver.solve(SNAPSHOT, budget_s=10.0)).plan is not None
    finally:
        await solver.close()
