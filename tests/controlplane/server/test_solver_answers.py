"""Plans from a process that is not trusted: what counts, and what is told of the rest."""

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.rounds.solver_answers import read_plan
from controlplane.rounds.solver_fault import FaultKind, SolverFault
from controlplane.rounds.solver_limits import SolverLimits
from planner.model import Plan
from planner.placement.greedy import greedy
from planner.placement.verify import verify
from storage.codecs import to_json
from tests.controlplane.server.test_solver_drills import TIMEOUT_S, fake, held, is_normal
from tests.controlplane.server.test_solver_process import SNAPSHOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="drills of Linux")

_TWICE = replace(
    SNAPSHOT,
    nodes=(
        replace(
            SNAPSHOT.nodes[0],
            devices=tuple(replace(SNAPSHOT.nodes[0].devices[0], index=i) for i in range(2)),
        ),
    ),
    deployments=(replace(SNAPSHOT.deployments[0], min_replicas=2, max_replicas=2),),
)
"""Two replicas on two devices."""

_GOOD = "say({'plan': plan['good']}); "


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ('print(\'{"plan": {"placem\', flush=True); say({"end": True})', "garbled", "no plan"),
        ('print(\'{"plan": {"placem\', end="", flush=True); os.abort()', "killed", "signal 6"),
        ("print('\\x00\\x01', flush=True); time.sleep(600)", "garbled", "neither plan nor"),
        ("print('{\"plan\": ' + '[' * 50000); say({'end': True})", "garbled", "Recursion"),
        ("print('{\"plan\": NaN}'); say({'end': True})", "garbled", "NaN is no number"),
        ("print('x' * (1 << 20), flush=True); time.sleep(600)", "too_large", "65536 bytes"),
        ("say({'plan': plan['bad']}); say({'end': True})", "refused", "exclusive (new:1)"),
        ("say({'plan': plan['old']}); say({'end': True})", "refused", "6, asked for 7"),
        ("print(plan['vast']); say({'end': True})", "refused", "objective: inf"),
    ],
)
@pytest.mark.parametrize("has_good", [True, False])
async def test_only_verified_plans_stand_when_the_solver_answers_wrongly(
    tmp_path: Path, code: str, kind: str, message: str, has_good: bool
) -> None:
    """A corrupted line, a cut one, or a plan that breaks a rule never counts."""
    good = greedy(_TWICE)
    plans = {
        "good": to_json(good),
        "bad": to_json(
            replace(good, placements=tuple(replace(one, devices=(0,)) for one in good.placements))
        ),
        "old": to_json(replace(good, base_revision=6)),
        "vast": json.dumps({"plan": {**to_json(good), "objective": "?"}}).replace('"?"', "1e999"),
    }
    limits = SolverLimits(line_bytes=1 << 16)
    start = _GOOD if has_good else ""
    async with held(fake(tmp_path, start + code, plan=plans, limits=limits)) as solver:
        solved = await solver.solve(_TWICE, budget_s=TIMEOUT_S)
        assert [one.kind.value for one in solved.faults] == [kind]
        assert message in solved.failure
        assert solved.plan == (good if has_good else None)
        if has_good:  # what went before makes no difference to what comes after
            assert await is_normal(solver, _TWICE)


async def test_both_faults_are_told_when_a_killed_solver_had_sent_a_wrong_plan(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One line each; the plan before both stands."""
    good = greedy(_TWICE)
    plans = {"good": to_json(good), "old": to_json(replace(good, base_revision=6))}
    code = _GOOD + "say({'plan': plan['old']}); os.kill(os.getpid(), signal.SIGKILL)"
    async with held(fake(tmp_path, code, plan=plans)) as solver:
        solved = await solver.solve(_TWICE, budget_s=TIMEOUT_S)
        assert [one.kind for one in solved.faults] == [FaultKind.KILLED, FaultKind.REFUSED]
        assert solved.plan == good
        told = [one.message for one in caplog.records if "solver_failed" in one.message]
        assert ["has_plan=True" in one for one in told] == [True, True]
        assert await is_normal(solver, _TWICE)


async def test_newest_plan_that_passes_stands_when_many_are_sent(tmp_path: Path) -> None:
    """Of many plans the first and the newest are kept; the newest that passes is the plan."""
    good = greedy(_TWICE)
    bad = to_json(replace(good, base_revision=6))
    sent = [to_json(replace(good, objective=good.objective - i)) for i in range(20)]
    code = "[say({'plan': one}) for one in plan]; say({'end': True})"
    for last, expected in (([], 19.0), ([bad], 19.0), ([bad, bad, bad], 0.0)):
        folder = tmp_path / str(len(last))
        await asyncio.to_thread(folder.mkdir)
        async with held(fake(folder, code, plan=sent + last)) as solver:
            solved = await solver.solve(_TWICE, budget_s=TIMEOUT_S)
            assert solved.plan == replace(good, objective=good.objective - expected)
            assert [one.kind for one in solved.faults] == [FaultKind.REFUSED][: len(last)]


def paths(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Ways to every value of a document."""
    match document:
        case dict():
            inner = list(document.items())
        case list():
            inner = list(enumerate(document))
        case _:
            inner = []
    return [path, *(one for key, value in inner for one in paths(value, (*path, key)))]


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats()
    | st.sampled_from(["", "n1", "n2", "chat", "new:0", "new:9", "add", "optimal"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_no_spoilt_plan_is_read_when_values_are_replaced(data: st.DataObject) -> None:
    """Whatever stands in a plan's place: it is a plan that passes, or a fault; never an error."""
    document = {"plan": to_json(greedy(_TWICE))}
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(paths(document)[1:]))
        inner: Any = document
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = data.draw(VALUES)
    found = read_plan(json.dumps(document).encode(), _TWICE)
    if isinstance(found, Plan):
        assert verify(_TWICE, found) == ()
        assert found.base_revision == _TWICE.revision
        assert json.dumps(to_json(found), allow_nan=False), "the ledger can hold it"
    else:
        assert isinstance(found, SolverFault)
        assert found.kind in (FaultKind.GARBLED, FaultKind.REFUSED)


@given(
    cut=st.integers(0, 4000), noise=st.binary(max_size=20).filter(lambda noise: b"}" not in noise)
)
def test_no_spoilt_line_is_read_when_bytes_are_lost(cut: int, noise: bytes) -> None:
    """A line that was cut, or that something else was written into, is no plan."""
    line = json.dumps({"plan": to_json(greedy(_TWICE))}).encode()
    cut = cut % len(line)
    found = read_plan(line[:cut] + noise, _TWICE)
    assert isinstance(found, SolverFault)
    assert found.kind is FaultKind.GARBLED


def test_first_rules_are_told_when_a_plan_breaks_many() -> None:
    """Three in full, and how many more."""
    wide = replace(_TWICE.deployments[0], max_replicas=9)
    snapshot = replace(_TWICE, deployments=(wide,))
    good = greedy(snapshot)
    lost = replace(
        good, placements=tuple(replace(good.placements[0], node=f"x{i}") for i in range(9))
    )
    found = read_plan(json.dumps({"plan": to_json(lost)}).encode(), snapshot)
    assert isinstance(found, SolverFault)
    assert found.kind is FaultKind.REFUSED
    assert "node (new:0): x0 is not in the fleet" in found.message
    assert found.message.endswith("; and 6 more")
