"""How much of its frontier each replica's planned work takes.

Pure. Owns the parts that a picture of the fleet draws as load and headroom. With x and y a
replica's online and offline work, and pieces a*x + b*y <= c of its frontier (of which
x <= max_online_work is one), the nearest piece is the one of the largest (a*x + b*y) / c; its
summands are the two ratios. They add up to 1 exactly on the frontier, and to r where all
work could grow by 1/r. Refuses to guess: a replica that does not serve has no shares.
"""

from collections.abc import Iterable, Mapping

from slacktide.v1 import placement_service_pb2
from slacktide.wire.names import resource_name

from controlplane.rounds.totals import Totals, serving
from planner.interference.frontier import frontier_for
from planner.model import OFFLINE_ONLY, Frontier, Placement, Snapshot

_LEAST_ROOM = 1e-9
"""Engine-ms per second: a frontier that bears less than this bears nothing."""


def frontier_shares(
    snapshot: Snapshot, placements: Iterable[Placement], totals: Mapping[str, Totals]
) -> list[placement_service_pb2.FrontierShare]:
    """The shares of all replicas that serve, in order of the placements.

    Args:
        snapshot: What the placements are of.
        placements: That run; those without an id are left out.
        totals: By deployment, of the same placements: what they serve.
    """
    kinds = {
        (node.id, device.index): device.device_type
        for node in snapshot.nodes
        for device in node.devices
    }
    own_size = {one.id: one.tensor_parallel_size for one in snapshot.deployments}
    serve = [
        one
        for one in serving(snapshot, placements)
        if one.replica is not None and one.devices and one.deployment in own_size
    ]
    weights: dict[str, float] = {}
    for one in serve:
        weights[one.deployment] = weights.get(one.deployment, 0.0) + _weight(one)
    frontiers: dict[tuple[str, str, int, str], Frontier] = {}
    found = []
    for one in serve:
        kind = kinds.get((one.node, one.devices[0]))
        if kind is None:
            continue
        key = (one.deployment, kind, len(one.devices), one.slo_class)
        if key not in frontiers:
            size = None if key[2] == own_size[one.deployment] else key[2]
            frontiers[key] = frontier_for(
                snapshot, key[0], kind, tensor_parallel_size=size, slo_class=key[3]
            )
        whole = weights[one.deployment]
        served = totals[one.deployment].online_work_served
        online, offline = shares_of(
            frontiers[key],
            online_work=served * _weight(one) / whole if whole > 0.0 else 0.0,
            offline_work=one.offline_share,
        )
        found.append(
            placement_service_pb2.FrontierShare(
                replica=resource_name("replicas", one.replica or ""),
                online_ratio=online,
                offline_ratio=offline,
                source=frontiers[key].source,
            )
        )
    return found


def shares_of(
    frontier: Frontier, *, online_work: float, offline_work: float
) -> tuple[float, float]:
    """What online and offline work take of the piece of a frontier they come nearest to.

    Both are 0 without work; where a piece leaves no room for work there is, all of it is
    taken: (1, 0) or (0, 1), or halves.
    """
    pieces = [(1.0, 0.0, frontier.max_online_work)]
    pieces += [(one.alpha, one.beta, one.gamma) for one in frontier.segments]
    nearest = (0.0, 0.0)
    for alpha, beta, gamma in pieces:
        taken = (alpha * max(0.0, online_work), beta * max(0.0, offline_work))
        if gamma < _LEAST_ROOM:
            kinds = sum(one > 0.0 for one in taken)
            ratios = (float(taken[0] > 0.0) / max(1, kinds), float(taken[1] > 0.0) / max(1, kinds))
        else:
            ratios = (taken[0] / gamma, taken[1] / gamma)
        if sum(ratios) > sum(nearest):
            nearest = ratios
    return nearest


def _weight(placement: Placement) -> float:
    return 0.0 if placement.slo_class == OFFLINE_ONLY else max(0.0, placement.online_share)
