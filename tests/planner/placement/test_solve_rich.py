"""Fleets with all that a fleet may have: what holds of every plan, and of rounds in a row."""

import itertools
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

import planner.placement.cells as cells_module
from planner.model import Desired, MoveKind
from planner.placement.counting import counting_of
from planner.placement.counts.limits import Limits as SearchLimits
from planner.placement.fleet import Standing, survey
from planner.placement.seating import seated
from planner.placement.solve import Limits, solve
from planner.placement.verify import verify
from tests.planner.placement.fleets import commit, settle
from tests.planner.placement.rich_fleets import rich_fleets

_LIMITS = Limits(
    nodes=(20,), counts=SearchLimits(parts=6, merged_parts=1, prices=4, repairs=2, last_nodes=40)
)
_SOME = settings(
    max_examples=50,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True)
def _nothing_refused(caplog):
    yield
    assert "placement_plan_refused" not in caplog.text
    assert "placement_solver_failed" not in caplog.text


def _plans(snapshot):
    return list(solve(snapshot, work_left=lambda: 1.0, limits=_LIMITS))


@_SOME
@given(rich_fleets())
def test_plans_are_verified_and_closed_nodes_gain_nothing(snapshot):
    """Every plan of every fleet passes; what lasts unmet has a remedy."""
    plans = _plans(snapshot)
    open_nodes = {n.id for n in snapshot.nodes if n.takes_new}

    assert plans
    for plan in plans:
        assert verify(snapshot, plan) == ()
        assert {p.node for p in plan.placements if p.replica is None} <= open_nodes
        assert {p.node for p in plan.waiting} <= open_nodes
        assert plan.bound <= plan.objective + 1e-6
        assert all(";" in m.message for m in plan.misfits)


@settings(parent=_SOME, max_examples=30)
@given(rich_fleets(nodes=6))
def test_plans_are_verified_when_nodes_alike_share_a_cell(snapshot):
    """As in large fleets: counts of nodes alike find seats, or are left out, lawfully."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cells_module, "OWN_CELL_UP_TO", 0)
        patched.setattr(cells_module, "ODD_OWN_CELL_UP_TO", 0)
        plans = _plans(snapshot)

    assert plans
    for plan in plans:
        assert verify(snapshot, plan) == ()


@settings(parent=_SOME, max_examples=20)
@given(rich_fleets())
def test_plans_are_the_same_when_solved_again(snapshot):
    """Same snapshot, same plans, whatever the order of its parts."""
    shuffled = replace(
        snapshot,
        nodes=snapshot.nodes[::-1],
        deployments=snapshot.deployments[::-1],
        allocations=snapshot.allocations[::-1],
    )
    first = _plans(snapshot)

    assert first == _plans(snapshot)
    assert [p.placements for p in first] == [p.placements for p in _plans(shuffled)]


@settings(parent=_SOME, max_examples=25)
@given(rich_fleets(nodes=3))
def test_rounds_come_to_rest_when_nothing_else_changes(snapshot):
    """Solve, commit, settle: nothing is placed or removed any more within some rounds."""
    for _ in range(16):
        plan = _plans(snapshot)[-1]
        assert verify(snapshot, plan) == ()
        if not any(move.kind is not MoveKind.ADJUST for move in plan.moves):
            return
        snapshot = settle(commit(snapshot, plan))
    raise AssertionError(plan.moves)


@_SOME
@given(rich_fleets())
def test_seating_what_runs_changes_nothing_and_counts_what_it_seats(snapshot):
    """A fixed point: all that is good stays, nothing is new, but what a limit takes away."""
    fleet = survey(snapshot)
    counting = counting_of(fleet)
    draft = seated(fleet, counting, counting.problem.held)
    good = {r for r, standing in fleet.standing.items() if standing is Standing.GOOD}
    known = {
        r
        for r in good
        if counting.key(
            fleet,
            fleet.allocations[r].deployment,
            fleet.allocations[r].node,
            fleet.allocations[r].devices,
        )
    }
    surplus = Counter(fleet.allocations[r].deployment for r in known)
    over = {d for d, n in surplus.items() if n > fleet.deployments[d].max_replicas}

    assert (draft.new, draft.waiting) == ((), ())
    assert {r for r in known if fleet.allocations[r].deployment not in over} <= draft.kept
    if not over:
        assert counting.count(fleet, draft) == counting.problem.held


@_SOME
@given(rich_fleets())
def test_seats_are_taken_once_and_never_more_than_counted(snapshot):
    """As many replicas as fit are asked for: devices, host memory, neighbours, moves hold."""
    fleet = survey(snapshot)
    counting = counting_of(fleet)
    problem = counting.problem
    asked = {
        (c, q): problem.fits(c, q) + 1
        for c in range(len(problem.cells))
        for q in range(len(problem.shapes))
        if problem.fits(c, q)
    }
    draft = seated(fleet, counting, asked)
    seats = (*draft.new, *draft.waiting)

    assert problem.max_moves is None or len(seats) <= problem.max_moves
    for key, count in counting.count(fleet, draft).items():
        assert count <= max(problem.fits(*key), problem.held.get(key, 0))
    held = [
        (fleet.allocations[r].node, d) for r in draft.kept for d in fleet.allocations[r].devices
    ]
    held += [(seat.node, d) for seat in seats for d in seat.devices]
    assert len(held) == len(set(held))
    _assert_neighbours(fleet, draft, seats)


def _assert_neighbours(fleet, draft, seats):
    """Nodes that gain keep host memory and anti-affinity among all that stays or comes."""
    together = Counter((seat.node, seat.deployment) for seat in seats)
    together += Counter(
        (fleet.allocations[r].node, fleet.allocations[r].deployment) for r in draft.kept
    )
    for node in {seat.node for seat in seats}:
        own = {d: n for (of, d), n in together.items() if of == node}
        limit = fleet.nodes[node].host_memory_bytes
        used = sum(fleet.deployments[d].host_memory_bytes * n for d, n in own.items())
        came = {seat.deployment for seat in seats if seat.node == node}
        if any(fleet.deployments[d].host_memory_bytes for d in came):
            assert not limit or used <= limit
        for d, other in itertools.product(came, own):
            if other in fleet.deployments[d].anti_affinity:
                assert own[d] == 1 if other == d else False


@settings(parent=_SOME, max_examples=25)
@given(rich_fleets())
def test_no_replica_moves_twice_or_for_nothing(snapshot):
    """Constant load: what a round committed, the next leaves where it is."""
    first = _plans(snapshot)[-1]
    after = settle(commit(snapshot, first))
    again = _plans(after)[-1]
    new = {a.replica for a in after.allocations} - {a.replica for a in snapshot.allocations}
    wanted = {a.replica for a in after.allocations if a.desired is Desired.RUNNING}
    gone = {m.replica for m in again.moves if m.kind is MoveKind.REMOVE}

    assert len(gone & new & wanted) <= len(new) // 2
