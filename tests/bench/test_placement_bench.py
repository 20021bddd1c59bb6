"""The bench around the solver: watched, judged, drifting, reported; whatever the solver does."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import bench.harness
import bench.placement.run as run
from bench.placement.baselines import run_baseline
from bench.placement.board import Counts, lay_out, running
from bench.placement.contestants import committed, settled
from bench.placement.evaluate import Worth
from bench.placement.figures import chain_figures, group_of, session_figures, step_figures
from bench.placement.files import read_folder
from bench.placement.generate import generate
from bench.placement.instances import Instance
from bench.placement.linear import SHORTFALLS
from bench.placement.rounds import MOVED_RATIO, Chain, Round, run_chain
from bench.placement.sessions import Session, Step, run_session
from bench.placement.solving import solve_apart
from planner.model import Placement, Plan, PlanStatus, Snapshot

INSTANCE = Instance(size="10x3")


def plan_of(snapshot: Snapshot, counts: Counts) -> Plan:
    """Counts as a plan: what runs keeps its devices, the rest takes free ones."""
    board = lay_out(snapshot)
    left = counts.copy()
    placements = []
    free = {node.id: [d.index for d in node.devices] for node in snapshot.nodes}
    names = [node.id for node in snapshot.nodes]
    for allocation in running(snapshot):
        one = board.count([allocation])
        if (left - one >= 0).all():
            left -= one
            free[allocation.node] = [
                i for i in free[allocation.node] if i not in allocation.devices
            ]
            placements.append(_placement(allocation.replica, allocation))
    for node, choice in zip(*np.nonzero(left), strict=True):
        for _ in range(int(left[node, choice])):
            what = board.choices[int(choice)]
            own = free[names[node]]
            devices, free[names[node]] = own[: what.devices], own[what.devices :]
            placements.append(
                Placement(
                    replica=None,
                    deployment=board.deployments[what.deployment].id,
                    node=names[node],
                    devices=tuple(devices),
                )
            )
    return Plan(
        base_revision=snapshot.revision,
        status=PlanStatus.FEASIBLE,
        solver="test",
        objective=0.0,
        bound=0.0,
        terms=(),
        placements=tuple(placements),
        moves=(),
    )


def _placement(replica: str, of: object) -> Placement:
    return Placement(
        replica=replica,
        deployment=of.deployment,  # type: ignore[attr-defined]
        node=of.node,  # type: ignore[attr-defined]
        devices=of.devices,  # type: ignore[attr-defined]
    )


def two_greedy_plans(snapshot: Snapshot, *, work_left: Callable[[], float]) -> Iterator[Plan]:
    """A poor plan, then the sticky greedy's."""
    assert work_left() > 0.0
    board = lay_out(snapshot)
    before = board.count(running(snapshot))
    if not before.any():
        yield plan_of(snapshot, run_baseline(board, "ffd")[0])
    yield plan_of(snapshot, run_baseline(board, "sticky", before=before)[0])


def hanging(snapshot: Snapshot, *, work_left: Callable[[], float]) -> Iterator[Plan]:
    """One plan, then never again, whatever is left."""
    yield plan_of(snapshot, lay_out(snapshot).empty())
    time.sleep(600)


def dying(snapshot: Snapshot, *, work_left: Callable[[], float]) -> Iterator[Plan]:
    """Ends its process."""
    yield plan_of(snapshot, lay_out(snapshot).empty())
    os._exit(9)


def raising(snapshot: Snapshot, *, work_left: Callable[[], float]) -> Iterator[Plan]:
    """Fails in Python."""
    yield plan_of(snapshot, lay_out(snapshot).empty())
    raise ValueError("no such luck")


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    """A small instance."""
    return generate(INSTANCE)


@pytest.fixture(scope="module")
def session(snapshot: Snapshot) -> tuple[Session, Plan]:
    """Its session with a solver of greedy plans."""
    found, plan = run_session(
        INSTANCE.name, snapshot, seconds=10.0, bound_seconds=1.0, search=two_greedy_plans
    )
    assert plan is not None
    return found, plan


def test_solve_apart_times_plans_and_measures_memory(snapshot: Snapshot) -> None:
    """All plans come back, in order of time, with the child's memory."""
    solve = solve_apart(snapshot, seconds=10.0, search=two_greedy_plans)
    assert solve.failure == ""
    assert len(solve.incumbents) == 2
    assert 0.0 < solve.incumbents[0].wall_s <= solve.incumbents[1].wall_s <= solve.wall_s
    assert 20e6 < solve.peak_bytes < 2e9


@pytest.mark.parametrize(
    ("search", "failure"),
    [(hanging, "killed"), (dying, "exit code 9"), (raising, "no such luck")],
)
def test_solve_apart_keeps_what_came_when_the_solver_fails(
    snapshot: Snapshot, search: Callable[..., Iterator[Plan]], failure: str
) -> None:
    """A hang, a death and an error are told, and the plan before them counts."""
    solve = solve_apart(snapshot, seconds=0.2, search=search, grace_s=0.3)
    assert failure in solve.failure
    assert len(solve.incumbents) == 1


def test_session_judges_all_contestants_alike(session: tuple[Session, Plan]) -> None:
    """The sticky greedy as a solver is worth what it is as a baseline."""
    found, _ = session
    assert found.failure == ""
    assert found.last is not None
    assert found.compared is not None
    assert found.compared.offline == pytest.approx(found.rivals["sticky"].worth.offline)
    assert found.compared.short == pytest.approx(found.rivals["sticky"].worth.short)
    assert found.integral <= found.linear
    assert found.gap(found.last.offline, is_integral=True) <= found.gap(found.last.offline)


def test_session_tells_what_verifiers_object_to(snapshot: Snapshot) -> None:
    """A plan that gives devices twice is objected to."""
    found, _ = run_session(
        "x", snapshot, seconds=5.0, bound_seconds=0.5, baselines=(), search=_twice
    )
    assert any("given twice" in one for one in found.objections)
    assert any("of 8 devices" in one for one in found.objections)


def _twice(snapshot: Snapshot, *, work_left: Callable[[], float]) -> Iterator[Plan]:
    counts = lay_out(snapshot).empty()
    plan = plan_of(snapshot, run_baseline(lay_out(snapshot), "spread")[0])
    assert counts.sum() == 0
    yield Plan(
        base_revision=1,
        status=PlanStatus.FEASIBLE,
        solver="test",
        objective=0.0,
        bound=0.0,
        terms=(),
        placements=plan.placements + plan.placements,
        moves=(),
    )


def worth(offline: float, **short: float) -> Worth:
    """A worth."""
    return Worth(
        short=dict.fromkeys(SHORTFALLS, 0.0) | short,
        offline=offline,
        replicas=1,
        loads=1,
        moved_ratio=0.0,
        free_nodes=0,
    )


def session_of(*steps: Step, linear: float = 100.0, integral: float = 98.0) -> Session:
    """A session without rivals."""
    return Session(
        name="200x20-tight-dividing-s0",
        steps=steps,
        compared=steps[-1].worth if steps else None,
        linear=linear,
        integral=integral,
        least={},
        rivals={},
        objections=(),
        own_objective=0.0,
        own_bound=0.0,
        solve_s=30.0,
        peak_bytes=2**30,
        failure="",
    )


def test_times_to_gaps_count_only_plans_that_keep_the_earlier_tiers() -> None:
    """More offline work bought with a deadline is no smaller gap."""
    found = session_of(
        Step(wall_s=1.0, cpu_s=1.0, worth=worth(99.5, deadlines=3.0)),
        Step(wall_s=2.0, cpu_s=2.0, worth=worth(90.0)),
        Step(wall_s=5.0, cpu_s=5.0, worth=worth(97.5)),
        Step(wall_s=9.0, cpu_s=9.0, worth=worth(97.8)),
    )
    assert found.seconds_to(0.11) == 2.0
    assert found.seconds_to(0.02) == float("inf")
    assert found.seconds_to(0.02, is_integral=True) == 5.0
    assert found.gap_at(1.5) == float("inf")
    assert found.gap_at(6.0) == pytest.approx(0.025)
    assert found.gap_at(60.0, is_integral=True) == pytest.approx(0.2 / 98)


def test_figures_hold_targets_against_the_worst_seed() -> None:
    """One seed that misses is a target missed."""
    good = session_of(Step(wall_s=2.0, cpu_s=2.0, worth=worth(97.9)))
    poor = session_of(Step(wall_s=40.0, cpu_s=40.0, worth=worth(97.9)))
    named = {f.name: f for f in session_figures([good])}
    target = "200x20-tight-dividing: gap to the MIP bound at 30 s, worst seed"
    assert named[target].met is True
    assert {f.name: f for f in session_figures([good, poor])}[target].met is False


def test_first_plan_is_one_that_places_something() -> None:
    """A solver that keeps an empty fleet empty at once has not planned yet."""
    empty = Step(wall_s=0.1, cpu_s=0.1, worth=replace(worth(0.0), replicas=0))
    found = session_of(empty, Step(wall_s=3.0, cpu_s=3.0, worth=worth(50.0)))
    assert found.first_s == 3.0
    assert session_of(empty).first_s == float("inf")
    named = {f.name: f.value for f in session_figures([found])}
    assert named["200x20-tight-dividing: first verified plan"] == 3.0


def test_figures_say_when_there_was_no_plan() -> None:
    """An instance without a plan is a target missed, not a row left out."""
    figures = list(session_figures([session_of()]))
    assert [one.met for one in figures] == [False]


def test_chain_of_the_greedy_itself_gains_nothing(
    snapshot: Snapshot, session: tuple[Session, Plan]
) -> None:
    """Both chains alike when the solver is the sticky greedy; moves within the share."""
    chain = run_chain(
        INSTANCE.name,
        snapshot,
        session[1],
        seed=0,
        rounds=2,
        seconds=10.0,
        search=two_greedy_plans,
    )
    assert chain.offline_gain == pytest.approx(0.0, abs=1e-6)
    assert chain.loads_ratio in (0.0, 1.0)
    for one in chain.rounds:
        assert one.ours.loads <= max(2, MOVED_RATIO * 60)
        assert one.ours.offline >= 0.0
    assert {f.unit for f in chain_figures([chain], rounds=2)} == {"%", "device-eq.", "x", ""}
    assert len(list(step_figures([chain], seconds=20.0))) == 3


def round_of(*, ours: Worth, theirs: Worth) -> Round:
    return Round(
        ours=ours,
        theirs=theirs,
        published=ours,
        as_it_was=ours,
        gap=0.0,
        wall_s=1.0,
        objections=(),
    )


def test_rounds_are_told_apart_by_the_first_tier_that_differs() -> None:
    """Offline work is weighed where shortfalls are equal; elsewhere who is less short."""
    less = worth(90.0, deadlines=1.0, fair=9.0)
    more = worth(99.0, deadlines=2.0)
    assert round_of(ours=less, theirs=more).verdict == 1
    assert round_of(ours=more, theirs=less).verdict == -1
    rounds = (
        round_of(ours=worth(110.0), theirs=worth(100.0)),
        round_of(ours=less, theirs=more),
        round_of(ours=more, theirs=less),
        round_of(ours=less, theirs=worth(95.0)),
    )
    chain = Chain(name=INSTANCE.name, rounds=rounds)
    assert chain.like_gain == pytest.approx(0.1)
    assert Chain(name=INSTANCE.name, rounds=rounds[1:]).like_gain is None
    named = {f.name: f.value for f in chain_figures([chain], rounds=4)}
    title = "10x3-tight-dividing, 4 rounds"
    assert named[f"{title}: rounds with less shortfall than sticky"] == pytest.approx(25.0)
    assert named[f"{title}: rounds with more shortfall than sticky"] == pytest.approx(50.0)
    assert named[f"{title}: the same, rounds with equal shortfalls"] == pytest.approx(10.0)


def test_committed_runs_what_was_planned(snapshot: Snapshot, session: tuple[Session, Plan]) -> None:
    """The next round starts from the plan's placements, each with an id of its own."""
    after = committed(snapshot, session[1])
    board = lay_out(after)
    assert (board.count(running(after)) == board.count(settled(session[1]))).all()
    assert len({one.replica for one in after.allocations}) == len(after.allocations)


def test_main_writes_instances_and_runs_those_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, session: tuple[Session, Plan]
) -> None:
    """What is written is run by its name, and the report has its figures."""
    monkeypatch.setattr(bench.harness, "RESULTS", tmp_path / "results")
    flags = ["--sizes", "10x3", "--seeds", "1", "--write", str(tmp_path / "to")]
    assert run.main(flags) == 0
    assert [name for name, _ in read_folder(tmp_path / "to")] == [INSTANCE.name]
    seen = []

    def fake(name: str, snapshot: Snapshot, **_: object) -> tuple[Session, Plan]:
        seen.append((name, snapshot))
        return session

    monkeypatch.setattr(run, "run_session", fake)
    assert run.main(["--instances", str(tmp_path / "to"), "--rounds", "0"]) == 0
    assert seen == [(INSTANCE.name, generate(INSTANCE))]
    assert "weighted offline" in (tmp_path / "results" / "placement.json").read_text()


def test_main_refuses_a_folder_without_instances(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1, and the folder named."""
    assert run.main(["--instances", str(tmp_path)]) == 1
    assert str(tmp_path) in capsys.readouterr().err


def test_group_drops_the_seed_of_generated_names_only() -> None:
    """Seeds of an instance are one group; another's files are their own."""
    assert group_of("50x8-tight-odd-s3") == "50x8-tight-odd"
    assert group_of("their-fleet-7") == "their-fleet-7"
