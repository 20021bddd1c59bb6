"""Solves that are not applied: plans to look at, and whether a node can be drained.

Owns a solver process of its own, so that a question never delays a round.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import grpc
from slacktide.wire.errors import Refusal

from controlplane.rounds.loop import RoundLoop
from controlplane.rounds.snapshot import Demand, PlacementSettings, build_snapshot
from controlplane.rounds.solver import Solver
from planner.model import Desired, Plan, Snapshot
from storage.records import DeploymentRecord, FleetView

BUDGET_S = 3.0
"""At least; a fleet whose rounds are given longer needs longer here, too."""


class DryRun:
    """Plans against states that are not there.

    Args:
        solver: its own process.
        rounds: knows the demand.
    """

    def __init__(self, *, solver: Solver, rounds: RoundLoop) -> None:
        self._solver = solver
        self._rounds = rounds

    @property
    def settings(self) -> PlacementSettings:
        """What placement depends on beside the state."""
        return self._rounds.settings

    async def demand(self, view: FleetView) -> Demand:
        """What is wanted now."""
        return await self._rounds.demand(view)

    async def snapshot(self, view: FleetView) -> Snapshot:
        """What a round would decide from, were that the state."""
        return build_snapshot(view, await self._rounds.demand(view), self._rounds.settings)

    async def plan(self, view: FleetView) -> Plan:
        """The plan that state would get.

        Raises:
            Refusal: UNAVAILABLE, the solver gave no plan.
        """
        return (await self.solve(view))[1]

    async def solve(
        self, view: FleetView, *, change: Callable[[Snapshot], Snapshot] = lambda same: same
    ) -> tuple[Snapshot, Plan]:
        """The snapshot of that state, changed, and the plan it would get.

        Raises:
            Refusal: UNAVAILABLE, the solver gave no plan.
        """
        snapshot = change(await self.snapshot(view))
        budget_s = max(BUDGET_S, self._rounds.budget_s)
        solved = await self._solver.solve(snapshot, budget_s=budget_s)
        if solved.plan is None:
            raise Refusal(
                code=grpc.StatusCode.UNAVAILABLE,
                reason="NO_PLAN",
                message=f"dry run at revision {snapshot.revision}: the solver gave no plan"
                f" ({solved.failure or 'no incumbent in time'}); try again",
                retry_after_s=1.0,
            )
        return snapshot, solved.plan


def with_deployments(view: FleetView, changed: Mapping[str, DeploymentRecord]) -> FleetView:
    """The view as it would be with these deployments."""
    kept = {one.id: one for one in view.deployments}
    return replace(
        view,
        deployments=tuple(one for _, one in sorted({**kept, **changed}.items())),
        allocations=tuple(
            replace(
                one,
                allocation=replace(one.allocation, generation=owner.generation),
            )
            if (owner := changed.get(one.allocation.deployment)) is not None and one.runs(owner)
            else one
            for one in view.allocations
        ),
    )


def with_drain(view: FleetView, node: str, *, deadline_s: float) -> FleetView:
    """The view as it would be with that node draining."""
    return replace(
        view,
        nodes=tuple(
            replace(one, drain_deadline_s=deadline_s) if one.id == node else one
            for one in view.nodes
        ),
    )


def displaced(view: FleetView, plan: Plan, node: str) -> tuple[tuple[str, str], ...]:
    """Replicas of a node that a plan for its drain finds no other place for.

    A replica may simply go where its deployment keeps its min_replicas without it.

    Returns:
        (replica, why) pairs.
    """
    elsewhere = Counter(one.deployment for one in plan.placements if one.node != node)
    found: list[tuple[str, str]] = []
    for deployment in view.deployments:
        wanted = [
            one.allocation
            for one in view.of_deployment(deployment.id)
            if one.allocation.desired is Desired.RUNNING
        ]
        least = min(len(wanted), max(1, deployment.spec.min_replicas))
        here = [one.replica for one in wanted if one.node == node]
        missing = min(len(here), max(0, least - elsewhere[deployment.id]))
        why = next(
            (one.message for one in plan.misfits if one.deployment == deployment.id),
            f"deployment {deployment.id}: {elsewhere[deployment.id]} of its {least} replicas fit"
            " on other nodes; add room there, or drain with force",
        )
        found += [(replica, why) for replica in here[:missing]]
    return tuple(found)
