"""Rounds whose solver fails: what runs stays, ledger and log say why, the next is normal."""

import sys
from pathlib import Path

import pytest
from slacktide.v1 import placement_pb2

from controlplane.rounds.solver import Solver
from controlplane.rounds.solver_limits import SolverLimits
from tests.controlplane.server.agent_fake import FakeAgent
from tests.controlplane.server.conftest import Running, Start, deployment, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and limits of Linux")

MIB = 1024 * 1024

_CHILD = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
import controlplane.rounds.solver_process as child

mark, real, write = Path(sys.argv[1]), child.solve, child._write

def solve(snapshot, *, work_left):
    is_first = not mark.exists()
    mark.touch()
    for plan in real(snapshot, work_left=work_left):
        yield spoil(plan) if is_first else plan

def spoil(plan):
    CODE
    return plan

child.solve = solve
child.main()
"""
"""The real child, spoilt before it sends a plan of its first solve."""

_DOUBLED = """
    added = replace(plan.placements[0], replica=None)
    plan = replace(plan, placements=(*plan.placements, added))
"""


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed", "signal 9 (SIGKILL)"),
        ("os.kill(os.getpid(), signal.SIGSTOP)", "hung", "past its budget"),
        ("held = [b'x' * (8 << 20) for _ in range(1 << 20)]", "out_of_memory", "are allowed"),
        ("child._write = lambda out, what: (out.write('{'), out.flush())", "hung", "past its"),
        (_DOUBLED.strip(), "refused", "exclusive"),
    ],
)
async def test_what_runs_stays_and_the_next_round_is_normal_when_the_solver_fails(
    start: Start,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    code: str,
    kind: str,
    message: str,
) -> None:
    """Also where greedy's plan, which keeps what runs, stands in for the solver's."""
    running = await start(round_interval_s=600.0, solve_budget_s=2.0)
    script = _CHILD.replace("CODE", code)
    solver = Solver(
        (sys.executable, "-c", script, str(tmp_path / "mark")),
        limits=SolverLimits(memory_bytes=256 * MIB, kill_after_s=0.5, kill_after_ratio=0.0),
    )
    async with FakeAgent(node="n1", port=running.port):
        try:
            await running.apply(deployment())
            before = await running.running("chat", 1)
            running.plane._rounds._solver = solver
            failed = await _next_round(running, has_failure=True)
            assert failed.failure.startswith(f"{kind}: ")
            assert message in failed.failure
            told = [one for one in caplog.records if "solver_failed" in one.message]
            assert [one.levelname for one in told] == ["ERROR"]
            assert f"solver_failed kind={kind} revision={failed.base_revision} " in told[0].message
            assert await running.replicas("chat") == before
            normal = await _next_round(running)
            assert normal.failure == ""
            assert normal.solver != "greedy"
            assert await running.replicas("chat") == before
        finally:
            await solver.close()


async def _next_round(running: Running, *, has_failure: bool = False) -> placement_pb2.Plan:
    """The ledger's newest entry after a round is asked for now, or the newest failed since."""
    before = {one.name for one in await running.plans()}
    running.plane._rounds.request("drill")

    async def newer() -> placement_pb2.Plan | None:
        for one in await running.plans():
            if one.name not in before and (one.failure or not has_failure):
                return one
        return None

    found: placement_pb2.Plan = await until(newer, timeout_s=60.0)
    return found
