"""Counts made concrete: which replicas stay, and nodes and devices for the others.

Owns the choice inside a pool. Sticky: a replica that is kept keeps node and devices.
Refuses to weigh: counts that find no seat are left out, and the caller's objective sees
that. Deterministic; large replicas sit first, on the fullest node that fits.
"""

from collections.abc import Mapping

from planner.model import Deployment
from planner.placement.fleet import Draft, Fleet, Seat
from planner.placement.greedy import coming_devices
from planner.placement.pools import Counts, Pool, Pools
from planner.placement.seats import choose_devices, keep_rank


def disaggregate(fleet: Fleet, pools: Pools, counts: Counts) -> Draft:
    """A draft with these counts, as far as seats are found.

    Args:
        fleet: The survey.
        pools: Its pools and cohorts.
        counts: Kept, new and waiting replicas.
    """
    kept: set[str] = set()
    for cohort, members in pools.cohorts.items():
        ranked = sorted(members, key=lambda a: keep_rank(fleet, a))
        kept.update(a.replica for a in ranked[: counts.kept.get(cohort, 0)])
    draft = Draft(kept=frozenset(kept))
    new = _sit(fleet, pools, counts.new, dict(fleet.free))
    coming = coming_devices(fleet, Draft(kept=draft.kept, new=tuple(new)))
    waiting = _sit(fleet, pools, counts.waiting, coming)
    return Draft(kept=draft.kept, new=tuple(new), waiting=tuple(waiting))


def _sit(
    fleet: Fleet,
    pools: Pools,
    counts: Mapping[tuple[Pool, str], int],
    free: dict[str, frozenset[int]],
) -> list[Seat]:
    """Seats for the counts; takes their devices out of `free`."""
    ordered = sorted(
        ((fleet.deployments[name], pool, count) for (pool, name), count in counts.items() if count),
        key=lambda item: (-item[0].tensor_parallel_size, item[0].id, item[1]),
    )
    seats: list[Seat] = []
    for deployment, pool, count in ordered:
        for _ in range(count):
            seat = _seat(fleet, deployment, pools.devices[pool], free, seats)
            if seat is None:
                break
            free[seat.node] -= set(seat.devices)
            seats.append(seat)
    return seats


def _seat(
    fleet: Fleet,
    deployment: Deployment,
    pool: Mapping[str, frozenset[int]],
    free: Mapping[str, frozenset[int]],
    seats: list[Seat],
) -> Seat | None:
    """The fullest node of the pool that fits, apart from its like where it spreads."""
    crowd = {
        node: sum(s.node == node and s.deployment == deployment.id for s in seats)
        if deployment.spread
        else 0
        for node in pool
    }
    open_nodes = [
        (crowd[node], len(free[node]), node)
        for node, indices in pool.items()
        if (deployment.id, node) not in fleet.avoided
        and len(indices & free.get(node, frozenset())) >= deployment.tensor_parallel_size
    ]
    if not open_nodes:
        return None
    node = min(open_nodes)[2]
    devices = choose_devices(pool[node] & free[node], deployment.tensor_parallel_size)
    if devices is None:
        return None
    return Seat(deployment=deployment.id, node=node, devices=devices)
