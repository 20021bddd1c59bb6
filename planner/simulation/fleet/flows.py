"""One deployment's flows over a short while, its replicas taken as their profiles.

Owns the approximation. Online load follows the routing weights; what a replica cannot do
goes to the others, as live load steers the gateway; what all of them cannot do queues, and
beyond the gateway's limit is shed. With C what they do saturated and Q the queue, a request
that arrives waits Q/C; the queue rises or falls on a straight line within the while. Offline
work runs in the room that is left, none while a queue stands. Refuses time and batches.
Invariants: work in = work done + queue + shed; attained <= requests.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from planner.simulation.fleet.profile import ReplicaProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Replicas alike that serve: same devices, same share."""

    profile: ReplicaProfile
    weight: float  # online share of one of them
    count: int
    device_type: str
    devices: int  # of one of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Online:
    """What became of online load over a while; rates are means of the time without a queue.

    Attributes:
        done_work_ms: Online work done.
        queue_ms: Left waiting at the end.
        shed_ratio: Of what arrived, refused.
        saturated_ratio: Of the while, with a queue.
        timely_ratio: Of arrivals in that time, those whose wait is short enough.
        loads: Online work of one replica of each group, while there is no queue.
    """

    done_work_ms: float
    queue_ms: float
    shed_ratio: float
    saturated_ratio: float
    timely_ratio: float
    loads: tuple[float, ...]


def online_flow(
    groups: Sequence[Group], *, offered_work: float, queue_ms: float, for_s: float
) -> Online:
    """Serves online load.

    Args:
        groups: Replicas that serve.
        offered_work: Engine-ms per second that arrive.
        queue_ms: Work waiting at the begin.
        for_s: How long, > 0.
    """
    capacity = sum(group.count * group.profile.capacity_work for group in groups)
    arrived_ms = offered_work * for_s
    if capacity <= 0.0:
        return Online(
            done_work_ms=0.0, queue_ms=0.0, shed_ratio=1.0, saturated_ratio=1.0,
            timely_ratio=0.0, loads=(),
        )  # fmt: skip
    done_ms = min(arrived_ms + queue_ms, capacity * for_s)
    left_ms = arrived_ms + queue_ms - done_ms
    room_ms = sum(group.count * group.profile.queue_work for group in groups)
    shed_ms = min(arrived_ms, max(0.0, left_ms - room_ms))
    end_ms = min(left_ms, max(room_ms, left_ms - shed_ms))
    wait_s = min(group.profile.wait_s for group in groups)
    return Online(
        done_work_ms=done_ms,
        queue_ms=end_ms,
        shed_ratio=shed_ms / arrived_ms if arrived_ms > 0.0 else 0.0,
        saturated_ratio=_saturated_s(queue_ms, offered_work, capacity, for_s) / for_s,
        timely_ratio=_timely_ratio(queue_ms, end_ms, capacity * wait_s),
        loads=_loads(groups, min(offered_work, capacity)),
    )


def offline_room(groups: Sequence[Group], online: Online) -> float:
    """Offline work the replicas can do beside, mean over the while, engine-ms per second."""
    room = sum(
        group.count * group.profile.offline_work(load)
        for group, load in zip(groups, online.loads, strict=True)
    )
    return room * (1.0 - online.saturated_ratio)


def attained_ratio(groups: Sequence[Group], online: Online, *, offline_ratio: float) -> float:
    """Share of arrivals that attain.

    Args:
        groups: Replicas that serve.
        online: What became of the load.
        offline_ratio: Offline work done, of what could be.
    """
    if not groups:
        return 0.0
    total = sum(g.count * load for g, load in zip(groups, online.loads, strict=True))
    calm = saturated = 1.0
    if total > 0.0:
        shares = [
            (group, load, group.count * load / total)
            for group, load in zip(groups, online.loads, strict=True)
        ]
        calm = sum(
            share * group.profile.attainment(load, offline_ratio=offline_ratio)
            for group, load, share in shares
        )
        saturated = sum(share * group.profile.saturated_ratio for group, _, share in shares)
    queued = online.saturated_ratio
    mixed = (1.0 - queued) * calm + queued * online.timely_ratio * saturated
    return max(0.0, mixed - online.shed_ratio)


def used_ratio(group: Group, *, load: float, offline_work: float) -> float:
    """How far a replica is used, 0..1: online by its capacity, offline by what it does alone."""
    profile = group.profile
    alone = profile.levels[0].offline_work
    offline = offline_work / alone if alone > 0.0 else 0.0
    return min(1.0, load / profile.capacity_work + offline)


def _loads(groups: Sequence[Group], work: float) -> tuple[float, ...]:
    """Work of one replica of each group: by weight, none above its capacity."""
    loads = [0.0] * len(groups)
    is_open = [True] * len(groups)
    left = work
    while left > 1e-9 * max(1.0, work) and any(is_open):
        weights = [
            group.count * group.weight if opened else 0.0
            for group, opened in zip(groups, is_open, strict=True)
        ]
        whole = sum(weights)
        if whole <= 0.0:  # replicas without a share take what the others cannot
            weights = [
                float(group.count) if opened else 0.0
                for group, opened in zip(groups, is_open, strict=True)
            ]
            whole = sum(weights)
        given = left
        for index, group in enumerate(groups):
            if not is_open[index] or weights[index] <= 0.0:
                continue
            wanted = loads[index] + given * (weights[index] / whole) / group.count
            taken = min(wanted, group.profile.capacity_work)
            left -= (taken - loads[index]) * group.count
            loads[index] = taken
            is_open[index] = taken < group.profile.capacity_work * (1.0 - 1e-9)
    return tuple(loads)


def _saturated_s(queue_ms: float, offered: float, capacity: float, for_s: float) -> float:
    if offered > capacity:
        return for_s
    if queue_ms <= 0.0:
        return 0.0
    if offered == capacity:
        return for_s
    return min(for_s, queue_ms / (capacity - offered))


def _timely_ratio(begin_ms: float, end_ms: float, most_ms: float) -> float:
    """Share of a straight line from one queue to the other that is within a bound.

    Where the queue ends within the while, the line is that of the time it stood.
    """
    low, high = min(begin_ms, end_ms), max(begin_ms, end_ms)
    if high <= most_ms:
        return 1.0
    if low >= most_ms:
        return 0.0
    return (most_ms - low) / (high - low)
