"""Rounds of a replayed fleet, by the very code of `planner.placement`.

Owns the seam to the solver: everything that calls it stands here. Refuses state and time.
"""

from collections.abc import Callable
from typing import Protocol

from planner.model import Placement, Plan, Snapshot
from planner.placement.fleet import survey
from planner.placement.greedy import greedy
from planner.placement.shares import with_shares
from planner.placement.solve import solve

SOLVE_STEPS = 8
"""Between how many steps a solve may go on; its own node limits bound each."""


class Rounds(Protocol):
    """Decides placements, as a round of the control plane does."""

    def plan(self, snapshot: Snapshot) -> Plan | None:
        """The plan to commit; None keeps what runs."""

    def resplit(self, snapshot: Snapshot) -> tuple[Placement, ...]:
        """Placement fixed: what each replica that is wanted shall carry now."""


class SolverRounds:
    """The whole pipeline each round; deterministic, as its limits count steps, not seconds."""

    def __init__(self, *, steps: int = SOLVE_STEPS) -> None:
        self._steps = steps

    def plan(self, snapshot: Snapshot) -> Plan | None:
        """The last incumbent within the steps."""
        last: Plan | None = None
        for plan in solve(snapshot, work_left=_steps(self._steps)):
            last = plan
        return last

    def resplit(self, snapshot: Snapshot) -> tuple[Placement, ...]:
        """Shares by `placement.shares`."""
        return resplit(snapshot)


class GreedyRounds:
    """The greedy alone: baseline and fallback."""

    def plan(self, snapshot: Snapshot) -> Plan | None:
        """The greedy's plan."""
        return greedy(snapshot)

    def resplit(self, snapshot: Snapshot) -> tuple[Placement, ...]:
        """Shares by `placement.shares`."""
        return resplit(snapshot)


def resplit(snapshot: Snapshot) -> tuple[Placement, ...]:
    """The replicas that are wanted, with shares for the demand of the snapshot."""
    fleet = survey(snapshot)
    placements = [
        Placement(
            replica=one.replica,
            deployment=one.deployment,
            node=one.node,
            devices=one.devices,
            slo_class=one.slo_class,
        )
        for one in fleet.allocations.values()
        if fleet.standing[one.replica].is_keepable and one.deployment in fleet.deployments
    ]
    return with_shares(fleet, placements)


def _steps(count: int) -> Callable[[], float]:
    left = count

    def work_left() -> float:
        nonlocal left
        left -= 1
        return float(left + 1)

    return work_left
