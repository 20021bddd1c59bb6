"""What agents of a replayed fleet are told, and what they see.

Owns turning allocations and engines into the values `reconcile.node` decides from. Refuses
steps. Pure.
"""

from collections.abc import Iterable, Mapping

from planner.model import Allocation, Desired, ReplicaState
from planner.reconcile.node import AssignedReplica, ObservedEngine, ReplicaBudgets
from planner.simulation.fleet.live import Live

DRAIN_GRACE_S = 30.0
_ENDING = frozenset({ReplicaState.DRAINING, ReplicaState.STOPPED})


def assigned(
    allocations: Iterable[Allocation], released: frozenset[str]
) -> dict[str, list[AssignedReplica]]:
    """What each node is told.

    Args:
        allocations: All there are.
        released: Replicas whose removal waits for nothing any more.
    """
    found: dict[str, list[AssignedReplica]] = {}
    for one in allocations:
        goes = one.desired is Desired.STOPPED and (one.replica in released or one.state in _ENDING)
        found.setdefault(one.node, []).append(
            AssignedReplica(
                replica=one.replica,
                deployment=one.deployment,
                spec_fingerprint=str(one.generation),
                devices=one.devices,
                budgets=ReplicaBudgets(
                    online_share=one.online_share,
                    offline_share=one.offline_share,
                    latency_budget_ms=one.latency_budget_ms,
                ),
                desired=Desired.STOPPED if goes else Desired.RUNNING,
                drain_grace_s=DRAIN_GRACE_S,
            )
        )
    return found


def observed(
    engines: Iterable[Live], allocations: Mapping[str, Allocation]
) -> list[ObservedEngine]:
    """What a node's agent sees of its engines.

    Args:
        engines: Of the node.
        allocations: By replica; an engine without one has no fingerprint.
    """
    return [
        ObservedEngine(
            replica=live.replica,
            spec_fingerprint=str(allocations[live.replica].generation)
            if live.replica in allocations
            else "",
            devices=live.devices,
            state=live.state,
            budgets=live.budgets,
        )
        for live in engines
    ]
