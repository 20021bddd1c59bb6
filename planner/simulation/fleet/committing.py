"""A plan made into allocations, as the control plane's applier makes it.

Owns what becomes of each allocation: kept, to be removed after others run, or new. Refuses
nodes and engines. Pure.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from planner.model import Allocation, Desired, MoveKind, Plan, ReplicaState


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What a committed plan changed."""

    adds: int = 0
    removes: int = 0
    adjusts: int = 0
    changes: tuple[tuple[str, int, int], ...] = ()  # (deployment, added, removed)


def committed(
    allocations: Mapping[str, Allocation],
    plan: Plan,
    *,
    names: Mapping[int, str],
    generations: Mapping[str, int],
) -> tuple[dict[str, Allocation], Moved]:
    """The allocations once a plan is committed.

    Args:
        allocations: As they stand, by replica.
        plan: A verified one.
        names: Ids of its new replicas, by their place in the plan.
        generations: Of deployments' specs.
    """
    kept = {p.replica: p for p in plan.placements if p.replica is not None}
    keys = {f"new:{index}": name for index, name in names.items()}
    after = {
        move.replica: tuple(keys.get(other, other) for other in move.after)
        for move in plan.moves
        if move.kind is MoveKind.REMOVE
    }
    found: dict[str, Allocation] = {}
    added: Counter[str] = Counter()
    removed: Counter[str] = Counter()
    adjusts = 0
    for replica, one in allocations.items():
        placement = kept.get(replica)
        if placement is not None:
            found[replica] = one.following(placement)
            adjusts += found[replica] != one
        elif one.desired is Desired.RUNNING:
            waits = () if one.state is ReplicaState.LOST else after.get(replica, ())
            found[replica] = replace(one, desired=Desired.STOPPED, after=waits)
            removed[one.deployment] += 1
        else:  # on its way out; what it waits for may have changed
            found[replica] = replace(one, after=after.get(replica, one.after))
    for index, name in names.items():
        placement = plan.placements[index]
        fresh = Allocation(
            replica=name,
            deployment=placement.deployment,
            node=placement.node,
            devices=placement.devices,
            generation=generations[placement.deployment],
        )
        found[name] = fresh.following(placement)
        added[placement.deployment] += 1
    moved = Moved(
        adds=added.total(),
        removes=removed.total(),
        adjusts=adjusts,
        changes=tuple((name, added[name], removed[name]) for name in sorted({*added, *removed})),
    )
    return found, moved
