"""Which removals of a committed plan may begin.

Owns the `after` condition: a replica is stopped only once the replicas that replace it
are RUNNING. Refuses to decide removals; the plan did. Invariant: the answer depends on
the allocations alone, so any leader gives the same one.
"""

from collections.abc import Iterable

from planner.model import Allocation, Desired, ReplicaState

_ENDED = frozenset({ReplicaState.DRAINING, ReplicaState.STOPPED})


def releasable(allocations: Iterable[Allocation]) -> tuple[str, ...]:
    """Replicas whose removal may begin: desired STOPPED and all of `after` RUNNING.

    The leader sends an agent desired STOPPED only for these; until then the agent is
    told RUNNING, so that service goes on while the replacement loads.

    Args:
        allocations: Every committed allocation of the fleet.

    Returns:
        Ids in order, without those that are draining or stopped already.
    """
    by_id = {allocation.replica: allocation for allocation in allocations}
    return tuple(
        replica
        for replica, allocation in sorted(by_id.items())
        if allocation.desired is Desired.STOPPED
        and allocation.state not in _ENDED
        and all(_is_running(by_id.get(other)) for other in allocation.after)
    )


def _is_running(allocation: Allocation | None) -> bool:
    return (
        allocation is not None
        and allocation.desired is Desired.RUNNING
        and allocation.state is ReplicaState.RUNNING
    )
