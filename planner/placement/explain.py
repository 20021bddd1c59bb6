"""What a plan leaves unmet, and why.

Owns the misfits of a whole plan; those of one more replica, node by node, are
`explaining.nodefit`'s, and can be asked for here too; those of quotas are `quotas`'. Refuses
to guess: each names what was needed, what was available at the best, and what would help.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from planner.model import Allocation, Deployment, Misfit, Placement
from planner.placement.explaining.beside import Beside
from planner.placement.explaining.nodefit import NodeFit, misfit_of, misfits
from planner.placement.explaining.wording import MORE_MOVES, counted, spent
from planner.placement.fleet import Fleet, Standing
from planner.placement.flow import carry
from planner.placement.objective import deadline_wanted, offline_wanted, online_wanted

__all__ = ["misfits", "unmet"]

if TYPE_CHECKING:
    from planner.placement.carrying import Shortage


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
    fit = NodeFit(fleet, placements=placements, beside=_beside(fleet, placements))
    by_deployment: dict[str, list[Placement]] = defaultdict(list)
    for placement in placements:
        by_deployment[placement.deployment].append(placement)
    for deployment in fleet.deployments.values():
        own = by_deployment.get(deployment.id, ())
        queued = [p for p in waiting if p.deployment == deployment.id]
        for misfit in _wishes(fleet, deployment, own, fit, short=short):
            if queued:
                seats = ", ".join(f"node {p.node} devices {list(p.devices)}" for p in queued)
                awaited.append(_wait(misfit, f"waits until {seats} are free"))
            elif bound == 0:
                lasting.append(_with_moves(misfit))
            elif is_move_bound:
                awaited.append(_wait(misfit, spent(bound or 0)))
            else:
                lasting.append(misfit)
    lasting += _pins(fleet, (*placements, *waiting))
    for _, one in sorted((short or {}).items()):
        lasting += one.quota  # no round raises it
    return tuple(lasting), tuple(awaited)


def _beside(fleet: Fleet, placements: Sequence[Placement]) -> Beside:
    """Who is on each node now, and who joins by the plan."""
    joining = (
        Allocation(replica="", deployment=p.deployment, node=p.node, devices=p.devices)
        for p in placements
        if p.replica is None
    )
    return Beside((*fleet.allocations.values(), *joining), fleet.deployments)


def _pins(fleet: Fleet, placements: Sequence[Placement]) -> Iterator[Misfit]:
    """Pins that a plan falls short of."""
    counts = Counter((p.deployment, p.node) for p in placements)
    for pin in fleet.snapshot.pins:
        placed = counts[pin.deployment, pin.node]
        if placed < pin.replicas:
            remedy = MORE_MOVES if fleet.snapshot.max_moves == 0 else "make room on the node"
            yield Misfit(
                deployment=pin.deployment,
                node=pin.node,
                dimension="pin",
                needed=float(pin.replicas),
                available=float(placed),
                message=f"deployment {pin.deployment}: pinned to node {pin.node} with"
                f" {counted(pin.replicas, 'replica')}, {placed} fit there; {remedy}, or unpin",
            )


def _wishes(
    fleet: Fleet,
    deployment: Deployment,
    own: Sequence[Placement],
    fit: NodeFit,
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
    why = next(iter(fit.misfits(deployment)), None)
    for what in stuck:
        yield _because(fleet, why, deployment, what)
    if failover > 0.0:
        asked = sum(cls.failover_ratio * cls.online_work for cls in deployment.classes)
        remedy = why.message if why else _later(fleet)
        yield misfit_of(
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
            remedy = why.message if why else _later(fleet)
        message = (
            f"{what} work {needed:.0f} engine-ms/s, {counted(len(own), 'replica')}"
            f" {'carries' if len(own) == 1 else 'carry'} {carried:.0f}; "
            f"{remedy}"
        )
        yield misfit_of(deployment, None, "capacity", needed, carried, message)


def _lack(deployment: Deployment, short: "Shortage | None") -> tuple[str, float, float] | None:
    """(which work, wanted, carried) of a shortage."""
    if short is None:
        return None
    if short.online > 0.0:
        wanted = online_wanted(deployment)
        return "online", wanted, wanted - short.online
    if short.deadline > 0.0:
        return "deadline", short.done + short.deadline, short.done
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


def _because(fleet: Fleet, why: Misfit | None, deployment: Deployment, what: str) -> Misfit:
    """The nearest miss, said of a wish of the whole fleet."""
    if deployment.is_frozen:
        remedy = "it is frozen; unfreeze it"
        return misfit_of(deployment, None, "capacity", 1.0, 0.0, f"{what}; {remedy}")
    if why is None:
        remedy = _later(fleet)
        return misfit_of(deployment, None, "capacity", 1.0, 0.0, f"{what}; {remedy}")
    detail = why.message.removeprefix(f"deployment {deployment.id}: ")
    return replace(why, message=f"deployment {deployment.id}: {what}: {detail}")


def _later(fleet: Fleet) -> str:
    """What resolves a misfit that no node stands in the way of."""
    return MORE_MOVES if fleet.snapshot.max_moves == 0 else "the next round adds replicas"


def _with_moves(misfit: Misfit) -> Misfit:
    """The misfit where no round may add a replica: its remedy alone would not do."""
    if misfit.message.endswith(MORE_MOVES):
        return misfit
    return replace(misfit, message=f"{misfit.message}, and {MORE_MOVES}")


def _wait(misfit: Misfit, until: str) -> Misfit:
    """The misfit with its remedy replaced by what resolves it."""
    return replace(misfit, message=f"{misfit.message.split(';')[0]}; {until}")
