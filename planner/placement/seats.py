"""Where a further replica can sit: nodes and devices, best first.

Owns the choice among free devices. Refuses to weigh deployments against each other.
Invariants: a replica's devices are of one type on one node; an aligned run of indices is
preferred, then any run, then the lowest indices; among nodes, fewer replicas of the
deployment first where it spreads, then the fullest node that fits, so whole nodes stay
free.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from planner.model import Allocation, Deployment, Node, ReplicaState
from planner.placement.fleet import Fleet, Seat, suits


def seats(
    fleet: Fleet,
    deployment: Deployment,
    *,
    free: Mapping[str, frozenset[int]],
    beside: Counter[str],
) -> Iterator[Seat]:
    """The best seat on each device type, best node first.

    Args:
        fleet: The survey.
        deployment: Whose replica is to sit.
        free: Devices that may be taken, by node.
        beside: Replicas of the deployment by failure domain; consulted if it spreads.

    Yields:
        At most one seat a device type.
    """
    best: dict[str, tuple[tuple[int, int, str], Seat]] = {}
    for name, indices in free.items():
        if len(indices) < deployment.tensor_parallel_size or (deployment.id, name) in fleet.avoided:
            continue
        node = fleet.nodes[name]
        crowd = beside[node.failure_domain] if deployment.spread else 0
        for kind, suitable in by_type(node, indices, deployment).items():
            devices = choose_devices(suitable, deployment.tensor_parallel_size)
            if devices is None:
                continue
            rank = (crowd, len(indices), name)
            if kind not in best or rank < best[kind][0]:
                best[kind] = (rank, Seat(deployment=deployment.id, node=name, devices=devices))
    for _, seat in sorted(best.values(), key=lambda ranked: ranked[0]):
        yield seat


def by_type(
    node: Node, indices: frozenset[int], deployment: Deployment
) -> dict[str, frozenset[int]]:
    """Those of `indices` that suit the deployment, by device type."""
    found: dict[str, set[int]] = defaultdict(set)
    for device in node.devices:
        if device.index in indices and suits(device, deployment):
            found[device.device_type].add(device.index)
    return {kind: frozenset(found[kind]) for kind in sorted(found)}


def choose_devices(indices: frozenset[int], count: int) -> tuple[int, ...] | None:
    """`count` of the indices: an aligned run, else a run, else the lowest; None if too few."""
    if len(indices) < count:
        return None
    runs = [
        tuple(range(start, start + count))
        for start in sorted(indices)
        if indices.issuperset(range(start, start + count))
    ]
    aligned = [run for run in runs if run[0] % count == 0]
    for choice in (aligned, runs):
        if choice:
            return choice[0]
    return tuple(sorted(indices)[:count])


def keep_rank(fleet: Fleet, allocation: Allocation) -> tuple[bool, int, str]:
    """Sorts what keeps its seat first: running, and on full nodes, so that others come whole."""
    free = len(fleet.free.get(allocation.node, frozenset()))
    return (allocation.state is not ReplicaState.RUNNING, free, allocation.replica)
