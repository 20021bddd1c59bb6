"""Which removals may begin."""

import pytest

from planner.model import Allocation, Desired, ReplicaState
from planner.reconcile.moves import releasable


def _allocation(name, state=ReplicaState.RUNNING, desired=Desired.RUNNING, after=()):
    return Allocation(
        replica=name,
        deployment="chat",
        node="n1",
        devices=(0,),
        state=state,
        desired=desired,
        after=after,
    )


OLD = _allocation("old", desired=Desired.STOPPED, after=("new",))


def test_removal_is_released_when_its_replacement_runs():
    """Add before drop: released by RUNNING and by nothing else."""
    assert releasable([OLD, _allocation("new")]) == ("old",)


@pytest.mark.parametrize("state", [s for s in ReplicaState if s is not ReplicaState.RUNNING])
def test_removal_waits_when_its_replacement_does_not_run(state):
    """Every state but RUNNING holds it back, FAILED and LOST as well."""
    assert releasable([OLD, _allocation("new", state)]) == ()


def test_removal_waits_when_its_replacement_is_unknown_or_going_itself():
    """A replacement that is gone, or is to go, replaces nothing."""
    assert releasable([OLD]) == ()
    assert releasable([OLD, _allocation("new", desired=Desired.STOPPED)]) == ("new",)


def test_removal_is_released_at_once_when_it_waits_for_nothing():
    """No condition, no wait; what stops already is not named again."""
    free = _allocation("free", desired=Desired.STOPPED)
    going = _allocation("going", ReplicaState.DRAINING, Desired.STOPPED)
    gone = _allocation("gone", ReplicaState.STOPPED, Desired.STOPPED)

    assert releasable([gone, going, free]) == ("free",)
