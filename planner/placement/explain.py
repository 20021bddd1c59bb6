"""Why a wish does not fit, and the remedy.

Owns misfits: of one more replica, node by node, and of a whole plan. Refuses to guess:
each names what was needed, what was available at the best, and one thing that would help.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from planner.model import Deployment, Misfit, Node, Placement, Snapshot
from planner.placement.fleet import Fleet, Standing, suits, survey
from planner.placement.flow import carry
from planner.placement.objective import deadline_wanted, offline_wanted, online_wanted

if TYPE_CHECKING:
    from planner.placement.carrying import Shortage

# From the farthest miss to the nearest: what fails later on the way to a seat is nearer.
_STAGES = ("device_type", "tensor_parallel", "memory", "cordoned", "capacity", "devices")


def misfits(
    snapshot: Snapshot,
    deployment: Deployment,
    *,
    placements: Sequence[Placement] | None = None,
) -> tuple[Misfit, ...]:
    """Why one more replica of the deployment fits no node.

    Args:
        snapshot: The fleet. The deployment need not be in it: a spec can be asked about
            before it is applied.
        deployment: Whose replica.
        placements: A plan whose new placements hold devices too.

    Returns:
        One misfit a node, the nearest miss first; empty if some node fits. A fleet
        without nodes is one misfit without a node.
    """
    return _misfits(survey(snapshot), deployment, placements or ())


def _misfits(
    fleet: Fleet, deployment: Deployment, placements: Sequence[Placement]
) -> tuple[Misfit, ...]:
    taken: dict[str, set[int]] = defaultdict(set)
    for placement in placements:
        if placement.replica is None:
            taken[placement.node].update(placement.devices)
    found = []
    for node in fleet.nodes.values():
        free = fleet.free.get(node.id, frozenset()) - taken[node.id]
        misfit = _node_misfit(fleet, deployment, node, free)
        if misfit is None:
            return ()
        found.append(misfit)
    if not found:
        return (
            _misfit(
                deployment,
                None,
                "devices",
                float(deployment.tensor_parallel_size),
                0.0,
                "the fleet has no node; start an agent",
            ),
        )
    found.sort(key=_nearness)
    return tuple(found)


def unmet(
    fleet: Fleet,
    placements: Sequence[Placement],
    waiting: Sequence[Placement],
    *,
    short: "Mapping[str, Shortage] | None" = None,
) -> tuple[tuple[Misfit, ...], tuple[Misfit, ...]]:
    """What a plan leaves unmet.

    Args:
        fleet: The survey.
        placements: The plan's.
        waiting: Those whose devices are not free yet.
        short: What is short by deployment, where that was found for all of them together.

    Returns:
        The misfits that last until something changes, and those that coming rounds
        resolve by themselves once devices are freed or moves allowed again.
    """
    lasting: list[Misfit] = []
    awaited: list[Misfit] = []
    new = sum(p.replica is None for p in placements) + len(waiting)
    bound = fleet.snapshot.max_moves
    is_move_bound = bound is not None and new >= bound
    for deployment in fleet.deployments.values():
        own = [p for p in placements if p.deployment == deployment.id]
        queued = [p for p in waiting if p.deployment == deployment.id]
        for misfit in _wishes(fleet, deployment, own, placements, short=short):
            if queued:
                seats = ", ".join(f"node {p.node} devices {list(p.devices)}" for p in queued)
                awaited.append(_wait(misfit, f"waits until {seats} are free"))
            elif is_move_bound:
                awaited.append(_wait(misfit, f"this round's {bound} moves are spent"))
            else:
                lasting.append(misfit)
    lasting += _pins(fleet, (*placements, *waiting))
    return tuple(lasting), tuple(awaited)


def _pins(fleet: Fleet, placements: Sequence[Placement]) -> Iterator[Misfit]:
    """Pins that a plan falls short of."""
    counts = Counter((p.deployment, p.node) for p in placements)
    for pin in fleet.snapshot.pins:
        placed = counts[pin.deployment, pin.node]
        if placed < pin.replicas:
            yield Misfit(
                deployment=pin.deployment,
                node=pin.node,
                dimension="pin",
                needed=float(pin.replicas),
                available=float(placed),
                message=f"deployment {pin.deployment}: pinned to node {pin.node} with"
                f" {pin.replicas} replica(s), {placed} fit there; make room on the node,"
                " or unpin",
            )


def _wishes(
    fleet: Fleet,
    deployment: Deployment,
    own: Sequence[Placement],
    placements: Sequence[Placement],
    *,
    short: "Mapping[str, Shortage] | None",
) -> Iterator[Misfit]:
    """At most one misfit for each unmet wish of a deployment."""
    kept = [fleet.allocations[p.replica] for p in own if p.replica is not None]
    broken = [a for a in kept if fleet.standing[a.replica] is Standing.BROKEN]
    serving = len(own) - len(broken)
    stuck = [
        f"replica {a.replica} stays on draining node {a.node}"
        for a in kept
        if fleet.nodes[a.node].is_draining
    ]
    if serving < deployment.min_replicas:
        stuck.append(f"{serving} of min_replicas {deployment.min_replicas} fit")
    else:
        for a in broken:
            state = "failed on" if fleet.nodes[a.node].is_ready else "is lost with"
            stuck.append(f"replica {a.replica} {state} node {a.node}")
    if short is None:
        lack = _short_of_work(fleet, deployment, own)
    else:
        lack = _lack(deployment, short.get(deployment.id))
    failover = short[deployment.id].failover if short and deployment.id in short else 0.0
    if not stuck and lack is None and failover <= 0.0:
        return
    why = next(iter(_misfits(fleet, deployment, placements)), None)
    for what in stuck:
        yield _because(why, deployment, what)
    if failover > 0.0:
        asked = sum(cls.failover_ratio * cls.online_work for cls in deployment.classes)
        remedy = why.message if why else "the next round adds replicas in other failure domains"
        yield _misfit(
            deployment,
            None,
            "failover",
            asked,
            asked - failover,
            f"without one failure domain {failover:.0f} of {asked:.0f} engine-ms/s that are to"
            f" survive are lost; {remedy}",
        )
    if lack is not None and serving >= deployment.min_replicas:
        what, needed, carried = lack
        if len(own) >= deployment.max_replicas:
            remedy = f"raise max_replicas above {deployment.max_replicas}"
        else:
            remedy = why.message if why else "the next round adds replicas"
        message = (
            f"{what} work {needed:.0f} engine-ms/s, {len(own)} replicas carry {carried:.0f}; "
            f"{remedy}"
        )
        yield _misfit(deployment, None, "capacity", needed, carried, message)


def _lack(deployment: Deployment, short: "Shortage | None") -> tuple[str, float, float] | None:
    """(which work, wanted, carried) of a shortage."""
    if short is None:
        return None
    if short.online > 0.0:
        wanted = online_wanted(deployment)
        return "online", wanted, wanted - short.online
    if short.deadline > 0.0:
        wanted = max(short.deadline, deadline_wanted(deployment))
        return "deadline", wanted, wanted - short.deadline
    return None


def _short_of_work(
    fleet: Fleet, deployment: Deployment, own: Sequence[Placement]
) -> tuple[str, float, float] | None:
    """(which work, wanted, carried) where its replicas carry less than they have to."""
    counts: dict[str, float] = {}
    for placement in own:
        kind = fleet.device_type(placement.node, placement.devices)
        counts[kind] = counts.get(kind, 0.0) + 1.0
    flow = carry(
        counts,
        {kind: fleet.frontier(deployment.id, kind) for kind in counts},
        online_work=deployment.online_work,
        offline_work=offline_wanted(deployment),
    )
    for what, needed, carried in (
        ("online", deployment.online_work, flow.online_work),
        ("deadline", deadline_wanted(deployment), flow.offline_work),
    ):
        if needed > carried * (1.0 + 1e-9) + 1e-6:
            return what, needed, carried
    return None


def _because(why: Misfit | None, deployment: Deployment, what: str) -> Misfit:
    """The nearest miss, said of a wish of the whole fleet."""
    if deployment.is_frozen:
        remedy = "it is frozen; unfreeze it"
        return _misfit(deployment, None, "capacity", 1.0, 0.0, f"{what}; {remedy}")
    if why is None:
        return _misfit(deployment, None, "capacity", 1.0, 0.0, f"{what}; the next round goes on")
    detail = why.message.removeprefix(f"deployment {deployment.id}: ")
    return replace(why, message=f"deployment {deployment.id}: {what}: {detail}")


def _wait(misfit: Misfit, until: str) -> Misfit:
    """The misfit with its remedy replaced by what resolves it."""
    return replace(misfit, message=f"{misfit.message.split(';')[0]}; {until}")


def _node_misfit(
    fleet: Fleet, deployment: Deployment, node: Node, free: frozenset[int]
) -> Misfit | None:
    """The first test that the node fails, in the order of `_STAGES`."""
    size = deployment.tensor_parallel_size
    allowed = [
        device
        for device in node.devices
        if not deployment.device_types or device.device_type in deployment.device_types
    ]
    if not allowed:
        has = sorted({device.device_type for device in node.devices})
        return _misfit(
            deployment,
            node.id,
            "device_type",
            float(size),
            0.0,
            f"wants device type {' or '.join(deployment.device_types)}, node {node.id} has "
            f"{', '.join(has) or 'no device'}; add the type to device_types or add such a node",
        )
    most = max(_by_type({d.index: d.device_type for d in allowed}).values())
    if most < size:
        return _misfit(
            deployment,
            node.id,
            "tensor_parallel",
            float(size),
            float(most),
            f"needs {size} devices of one type on one node, node {node.id} has {most}; "
            "lower tensor_parallel_size or add a larger node",
        )
    fitting = [device for device in allowed if suits(device, deployment)]
    if max(_by_type({d.index: d.device_type for d in fitting}).values(), default=0) < size:
        available = max(device.memory_bytes for device in allowed)
        return _misfit(
            deployment,
            node.id,
            "memory",
            float(deployment.bytes_per_device),
            float(available),
            f"needs {_gib(deployment.bytes_per_device)} on each of {size} devices, node {node.id} "
            f"has {_gib(available)} a device; lower kv_cache_tokens, raise tensor_parallel_size "
            "or add larger devices",
        )
    if not node.takes_new:
        return _misfit(deployment, node.id, "cordoned", float(size), 0.0, _closed(node))
    if (deployment.id, node.id) in fleet.avoided:
        return _misfit(
            deployment,
            node.id,
            "capacity",
            1.0,
            0.0,
            f"a replica of it failed on node {node.id}; read its message, then change the spec",
        )
    at_hand = max(
        _by_type({d.index: d.device_type for d in fitting if d.index in free}).values(), default=0
    )
    if at_hand < size:
        return _misfit(
            deployment,
            node.id,
            "devices",
            float(size),
            float(at_hand),
            f"needs {size} free device(s) on one node, node {node.id} has {at_hand}; add a node, "
            "or lower the replicas of another deployment",
        )
    return None


def _closed(node: Node) -> str:
    if not node.is_ready:
        return f"node {node.id} is not ready; start its agent"
    state = "draining" if node.is_draining else "cordoned"
    return f"node {node.id} fits and is {state}; uncordon it or add a node"


def _by_type(kinds: Mapping[int, str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for kind in kinds.values():
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def _nearness(misfit: Misfit) -> tuple[int, float, str]:
    return (
        -_STAGES.index(misfit.dimension),
        misfit.needed - misfit.available,
        misfit.node or "",
    )


def _misfit(
    deployment: Deployment,
    node: str | None,
    dimension: str,
    needed: float,
    available: float,
    message: str,
) -> Misfit:
    return Misfit(
        deployment=deployment.id,
        node=node,
        dimension=dimension,
        needed=needed,
        available=available,
        message=f"deployment {deployment.id}: {message}",
    )


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"
