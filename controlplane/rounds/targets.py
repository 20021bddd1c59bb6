"""A verified plan as allocations: ids of new replicas, and how each record stands after it.

Pure but for the randomness of ids and the time of creation. Refuses to verify or commit.
"""

import base64
import secrets
import time
from collections.abc import Callable
from dataclasses import replace

from planner.model import Allocation, Desired, MoveKind, Placement, Plan, ReplicaState
from storage.records import AllocationRecord, FleetView


def new_replica_id(deployment: str) -> str:
    """`<deployment>-<6 letters or digits>`, from 30 random bits."""
    return f"{deployment}-{base64.b32encode(secrets.token_bytes(5)).decode()[:6].lower()}"


def named_plan(plan: Plan, view: FleetView, *, make_id: Callable[[str], str]) -> Plan:
    """The plan with an id for every new replica, in placements, moves and conditions."""
    taken = {one.allocation.replica for one in view.allocations}
    names: dict[str, str] = {}
    placements: list[Placement] = []
    for index, placement in enumerate(plan.placements):
        if placement.replica is None:
            id_ = make_id(placement.deployment)
            while id_ in taken:
                id_ = make_id(placement.deployment)
            taken.add(id_)
            names[f"new:{index}"] = id_
            placement = replace(placement, replica=id_)  # noqa: PLW2901
        placements.append(placement)
    return replace(
        plan,
        placements=tuple(placements),
        moves=tuple(
            replace(
                move,
                replica=names.get(move.replica, move.replica),
                after=tuple(names.get(other, other) for other in move.after),
            )
            for move in plan.moves
        ),
    )


def targets_of(view: FleetView, plan: Plan, *, round_: int) -> list[AllocationRecord]:
    """Every allocation as it stands once the plan is committed."""
    placements = {one.replica: one for one in plan.placements}
    after = {one.replica: one.after for one in plan.moves if one.kind is MoveKind.REMOVE}
    targets = []
    for record in view.allocations:
        one = record.allocation
        placement = placements.pop(one.replica, None)
        if placement is not None:
            one = one.following(placement)
        elif one.desired is Desired.RUNNING:
            waits = () if one.state is ReplicaState.LOST else after.get(one.replica, ())
            one = replace(one, desired=Desired.STOPPED, after=waits)
        elif not record.is_released and one.replica in after:
            one = replace(one, after=after[one.replica])  # it waited for one that never comes
        targets.append(replace(record, allocation=one))
    now_s = time.time()
    for placement in placements.values():
        owner = view.deployment(placement.deployment)
        assert owner is not None  # verified
        assert placement.replica is not None  # named
        added = Allocation(
            replica=placement.replica,
            deployment=placement.deployment,
            node=placement.node,
            devices=placement.devices,
            generation=owner.generation,
        )
        targets.append(
            AllocationRecord(
                allocation=added.following(placement),
                engine=replace(owner.engine, tensor_parallel_size=len(placement.devices)),
                round=round_,
                create_s=now_s,
            )
        )
    return targets
