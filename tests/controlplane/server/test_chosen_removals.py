"""Why a replica goes that a chosen plan leaves out."""

import pytest

from controlplane.rounds.drafted import OPERATOR, ROLLBACK, drafted
from planner.model import MoveKind, Placement
from tests.planner.placement.fleets import deployment, fleet, node, running


def _reasons(solver: str, *, spread: bool = False, draining: bool = False) -> dict[str, str]:
    """Of removals, by replica, where a plan keeps r1 of r1 and r2."""
    snapshot = fleet(
        [node("n1"), node("n2", is_cordoned=draining, is_draining=draining)],
        [deployment("chat", max_replicas=3, spread=spread)],
        [running("r1", "chat", "n1", 0), running("r2", "chat", "n2", 0)],
    )
    kept = Placement(replica="r1", deployment="chat", node="n1", devices=(0,))
    plan = drafted(snapshot, [kept], solver=solver)
    return {one.replica: one.reason for one in plan.moves if one.kind is MoveKind.REMOVE}


@pytest.mark.parametrize("spread", [False, True])
@pytest.mark.parametrize(
    ("solver", "reason"),
    [
        (OPERATOR, "the applied plan has no place for it"),
        (ROLLBACK, "the plan that is returned to has no place for it"),
    ],
)
def test_removal_names_the_plan_when_somebody_chose_it(
    solver: str, reason: str, spread: bool
) -> None:
    """Neither max_replicas nor a lack of work removes it."""
    assert _reasons(solver, spread=spread) == {"r2": reason}


def test_removal_names_the_state_when_that_removes_it_anyway() -> None:
    """A drain is the reason, whoever plans."""
    assert _reasons(OPERATOR, draining=True) == {"r2": "node n2 is draining"}


def test_removal_is_surplus_when_a_round_decided() -> None:
    """As solved, so told; what fits of a round's plan is told alike."""
    assert _reasons("GSCIP")["r2"].startswith("surplus: max_replicas 3")
