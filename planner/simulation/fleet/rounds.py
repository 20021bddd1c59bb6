"""Rounds of a replayed fleet, by the very code of `planner.placement`.

Owns the seam to the solver: everything that calls it stands here. Refuses state and time.
"""

from typing import Protocol

from planner.model import Placement, Plan, Snapshot
from planner.placement.counts.limits import Limits as SearchLimits
from planner.placement.fleet import survey
from planner.placement.greedy import greedy
from planner.placement.shares import with_shares
from planner.placement.solve import Limits, Policy, solve

SEARCH_PARTS, MERGED_PARTS, PRICES = 24, 3, 5
"""Parts of a large fleet's counts that a round frees, in cells and merged by device type, each
at its own node limit, and prices it tries. A replay has hundreds of rounds, each warm from the
last; a round of production may do more."""


class Rounds(Protocol):
    """Decides placements, as a round of the control plane does."""

    def plan(self, snapshot: Snapshot) -> Plan | None:
        """The plan to commit; None keeps what runs."""

    def resplit(self, snapshot: Snapshot) -> tuple[Placement, ...]:
        """Placement fixed: what each replica that is wanted shall carry now."""


class SolverRounds:
    """The whole pipeline each round; deterministic, as its limits count parts and nodes.

    Where the pipeline has no plan the greedy's is taken, as the control plane does.

    Args:
        parts: How much a search in counts may do.
        policy: What counts as better; None: as the control plane has it.
    """

    def __init__(self, *, parts: int = SEARCH_PARTS, policy: Policy | None = None) -> None:
        self._policy = policy or Policy()
        self._limits = Limits(
            nodes=(50, 500),
            counts=SearchLimits(parts=parts, merged_parts=MERGED_PARTS, prices=PRICES),
        )

    def plan(self, snapshot: Snapshot) -> Plan | None:
        """The last incumbent within the limits."""
        last: Plan | None = None
        for plan in solve(
            snapshot, work_left=lambda: 1.0, policy=self._policy, limits=self._limits
        ):
            last = plan
        return last or greedy(snapshot)

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
