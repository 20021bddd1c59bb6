"""The calls of the product's solver: the one module that knows its interface.

Owns which function is called and what of a plan is judged. Refuses to judge.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from planner.model import Allocation, Placement, Plan, ReplicaState, Snapshot
from planner.placement.solve import solve
from planner.placement.verify import verify

NAME = "slacktide"


def incumbents(snapshot: Snapshot, *, work_left: Callable[[], float]) -> Iterator[Plan]:
    """The solver's plans of a snapshot, best last."""
    yield from solve(snapshot, work_left=work_left)


def refusals(snapshot: Snapshot, plan: Plan) -> list[str]:
    """What the product's own verifier has against a plan."""
    return [f"{one.rule} {one.subject}: {one.message}" for one in verify(snapshot, plan)]


def settled(plan: Plan) -> tuple[Placement, ...]:
    """What runs once all moves are done; what still waits for devices has them then."""
    return (*plan.placements, *plan.waiting)


def committed(snapshot: Snapshot, plan: Plan) -> Snapshot:
    """The snapshot after a plan, all moves done: its placements are allocations that run."""
    placed = settled(plan)
    return replace(
        snapshot,
        revision=snapshot.revision + 1,
        allocations=tuple(
            Allocation(
                replica=one.replica or f"r{snapshot.revision}-{number}",
                deployment=one.deployment,
                node=one.node,
                devices=one.devices,
                state=ReplicaState.RUNNING,
                online_share=one.online_share,
                offline_share=one.offline_share,
                latency_budget_ms=one.latency_budget_ms,
                slo_class=one.slo_class,
            )
            for number, one in enumerate(placed)
        ),
    )
