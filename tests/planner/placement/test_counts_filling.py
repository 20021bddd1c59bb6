"""Free slots filled with offline work: what first, on which devices, and within what."""

from dataclasses import replace

from hypothesis import HealthCheck, given, settings

from planner.placement.counts.filling import filled
from planner.placement.counts.problem import Entitlement, Mode, OfflineDemand
from planner.placement.counts.repair import repaired
from planner.placement.counts.standing import standing_of
from tests.planner.placement.drawn_counts import (
    CELL,
    SHAPE,
    WANTED,
    is_feasible,
    moves,
    problem_of,
    problems,
)

_QUICK = settings(
    max_examples=80,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
_QUIET = replace(WANTED, classes=())
_WORK = OfflineDemand(deployment=0, tenant=0, weight=1.0, least=0.0, most=9.0)


def _bearing(offline, **fields):
    """A shape whose replicas bear so much offline work and no online work."""
    mode = Mode(served=0, max_online=0.0, segments=((1.0, 1.0, offline),))
    return replace(SHAPE, modes=(mode,), **fields)


def _problem(**fields):
    fields.setdefault("tenants", (Entitlement(most=None, fair=0.0),))
    return problem_of(**fields)


@_QUICK
@given(problems(spare=True))
def test_filled_keeps_every_limit_and_takes_nothing_away(problem):
    """Devices, host memory, max_replicas, moves; every count is at least what it was."""
    held = dict(problem.held)
    found = filled(problem, held, standing_of(problem, held).offline)

    assert is_feasible(problem, found)
    assert all(found.get(key, 0) >= count for key, count in held.items())
    if problem.max_moves is not None:
        assert moves(problem, found) <= problem.max_moves
    assert filled(problem, held, standing_of(problem, held).offline) == found


def test_deadline_is_filled_first_though_its_work_weighs_less():
    """Two free slots: one for what a deadline rests on, the other for what weighs most."""
    problem = _problem(
        shapes=(_bearing(1.0), _bearing(1.0, deployment=1)),
        wanted=(_QUIET, _QUIET),
        offline=(
            replace(_WORK, weight=0.1, least=1.0),
            replace(_WORK, deployment=1, weight=2.0),
        ),
    )

    assert filled(problem, {}, {}) == {(0, 0): 1, (0, 1): 1}


def test_devices_go_to_whom_they_bear_most_for_what_they_bear_of_others():
    """One deployment bears alike on both types, the other half as much on the second."""
    cells = (replace(CELL, slots=1), replace(CELL, slots=1, kind=1))
    problem = _problem(
        cells=cells,
        shapes=(
            _bearing(1.0),
            _bearing(1.0, kind=1),
            _bearing(1.0, deployment=1),
            _bearing(0.5, deployment=1, kind=1),
        ),
        wanted=(_QUIET, _QUIET),
        offline=(replace(_WORK, most=1.0), replace(_WORK, deployment=1)),
    )

    assert filled(problem, {}, {}) == {(0, 2): 1, (1, 1): 1}


def test_nothing_is_filled_when_work_is_done_or_not_worth_a_load():
    """Neither for work that replicas do already, nor for less than a load costs."""
    problem = _problem(shapes=(_bearing(1.0),), wanted=(_QUIET,), offline=(_WORK,))
    dear = replace(problem, shapes=(_bearing(1.0, load_cost=11.0),))

    assert filled(problem, {}, {0: 9.0}) == {}
    assert filled(dear, {}, {}) == {}
    assert filled(problem, {}, {}) == {(0, 0): 2}


def test_offline_replica_yields_to_a_deadline_unless_one_rests_on_it():
    """Where no slot is free: weighted work alone yields, work due in time does not."""
    fields = {
        "shapes": (_bearing(1.0), _bearing(1.0, deployment=1)),
        "wanted": (_QUIET, _QUIET),
        "held": {(0, 0): 2},
    }
    due = replace(_WORK, deployment=1, least=1.0)
    problem = _problem(**fields, offline=(_WORK, due))
    both_due = _problem(**fields, offline=(replace(_WORK, least=2.0), due))

    assert repaired(problem, problem.held, {0: 2.0}) == {(0, 0): 1, (0, 1): 1}
    assert repaired(both_due, both_due.held, {0: 2.0}) == {(0, 0): 2}
