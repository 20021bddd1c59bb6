"""What small changes would bring a deployment: differences of the objective.

Owns which changes are asked about. Each difference is the objective of what is kept with
the change less without, term by term, work routed anew in both: a finite difference, since
duals are degenerate where counts are whole. Evaluates and does not solve: other replicas
stay where they are, so a round that solves may find better.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from planner.model import Deployment, Misfit, Node, ObjectiveTerm, Snapshot
from planner.placement.explaining.nodefit import misfit_of
from planner.placement.explaining.remedy import condition
from planner.placement.explaining.scope import Base, Scope
from planner.placement.fleet import Draft, Seat, Standing, is_frozen
from planner.placement.objective import total
from planner.placement.seats import seats

MOST_NODES = 8
"""Closed nodes, or kinds of nodes, asked about: more would be no explanation."""
EPSILON = 1e-6
_MOST_KINDS = 128  # of replicas that one less is asked about: a hundred milliseconds


class ChangeKind(Enum):
    """Kinds of small changes."""

    ONE_MORE_REPLICA = "one_more_replica"
    ONE_LESS_REPLICA = "one_less_replica"
    BOUND_RELAXED = "bound_relaxed"
    NODE_OPENED = "node_opened"
    NODE_ADDED = "node_added"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The fleet with one small change less the fleet without."""

    kind: ChangeKind
    change: str
    node: str | None = None
    fits: bool = True
    terms: tuple[ObjectiveTerm, ...] = ()  # those that differ; value is the difference
    misfit: Misfit | None = None
    would_fit_if: str = ""

    @property
    def objective(self) -> float:
        """Objective with less without; negative is better."""
        return total(self.terms)


def differences(
    scope: Scope,
    base: Base,
    deployment: Deployment,
    *,
    node: str | None,
    why: tuple[Misfit, ...],
) -> tuple[Difference, ...]:
    """What each of some small changes would bring, the most first.

    Args:
        scope: Of the snapshot and the deployment.
        base: The scope as it is.
        deployment: Of the snapshot.
        node: Where one more replica is asked about; None: anywhere.
        why: Misfits of one more replica, the nearest first.

    Raises:
        SolverError: Work could not be routed, in a fleet that is not plain.
    """
    found = [
        _one_more(base, deployment, node, why),
        *_one_less(base, scope.whole, deployment, node),
        *_relaxed(scope, base, deployment, node),
        *_opened(scope, deployment, node),
        *(_added(scope, deployment) if node is None else ()),
    ]
    found.sort(key=lambda one: (not one.fits, one.objective, one.kind.value, one.change))
    return tuple(found)


def gain(base: Base, draft: Draft) -> tuple[ObjectiveTerm, ...]:
    """The terms that differ once this draft is made of what is kept."""
    before = {one.name: one.value for one in base.worth.terms}
    return tuple(
        replace(one, value=one.value - before[one.name])
        for one in base.with_draft(draft)
        if abs(one.value - before[one.name]) > EPSILON
    )


def best_seat(
    base: Base, deployment: Deployment, node: str | None
) -> tuple[Seat, tuple[ObjectiveTerm, ...]] | None:
    """The seat of one more replica that gains most, with what it gains; None if none is free."""
    if deployment.is_frozen:
        return None
    groups = deployment.node_groups
    free = {
        name: devices
        for name, devices in base.fleet.free.items()
        if node in (None, name)
        and (not groups or base.fleet.nodes[name].group in groups)
        and base.beside.takes(deployment, base.fleet.nodes[name])
    }
    domains = Counter(base.fleet.nodes[one].failure_domain for one in _places(base, deployment))
    found = [
        seat
        for size in deployment.tensor_parallel_sizes
        for seat in seats(
            base.fleet, replace(deployment, tensor_parallel_size=size), free=free, beside=domains
        )
    ]
    gains = [(seat, gain(base, replace(base.draft, new=(*base.draft.new, seat)))) for seat in found]
    return min(gains, key=lambda each: total(each[1]), default=None)


def is_full(base: Base, deployment: Deployment) -> bool:
    """Whether max_replicas is reached."""
    return len(_places(base, deployment)) >= deployment.max_replicas


def _places(base: Base, deployment: Deployment) -> list[str]:
    """Nodes of its replicas that are kept, each as often as it has one."""
    return [one.node for one in base.fleet.of(deployment.id) if one.replica in base.draft.kept]


def _one_more(
    base: Base, deployment: Deployment, node: str | None, why: tuple[Misfit, ...]
) -> Difference:
    change = "one more replica" + (f" on node {node}" if node else "")
    kind = ChangeKind.ONE_MORE_REPLICA
    most = deployment.max_replicas
    if is_full(base, deployment):
        message = f"has its max_replicas {most}; raise max_replicas"
        misfit = misfit_of(deployment, node, "max_replicas", float(most + 1), float(most), message)
        would = f"max_replicas were {most + 1}" + (f", and {condition(why[0])}" if why else "")
    elif deployment.is_frozen:
        message = "is frozen and gains nothing; thaw it first"
        misfit = misfit_of(deployment, node, "frozen", 1.0, 0.0, message)
        would = "it were thawed" + (f", and {condition(why[0])}" if why else "")
    elif (found := best_seat(base, deployment, node)) is not None:
        seat, terms = found
        return Difference(
            kind=kind,
            change=f"one more replica on node {seat.node}",
            node=seat.node,
            terms=terms,
        )
    else:
        misfit, would = why[0], condition(why[0])
    return Difference(
        kind=kind,
        change=change,
        node=node or misfit.node,
        fits=False,
        misfit=misfit,
        would_fit_if=would,
    )


def _one_less(
    base: Base, snapshot: Snapshot, deployment: Deployment, node: str | None
) -> Iterator[Difference]:
    """One replica less: of those that serve and may go, the one least missed."""
    fleet, kept = base.fleet, base.draft.kept
    pinned = {pin.node for pin in snapshot.pins if pin.deployment == deployment.id}
    seen: dict[tuple[str, str, int, str], str] = {}  # what the objective tells apart
    for one in fleet.of(deployment.id):
        if (
            one.replica in kept
            and fleet.standing[one.replica] is Standing.GOOD
            and not is_frozen(fleet, one)
            and node in (None, one.node)
        ):
            kind = fleet.device_type(one.node, one.devices)
            domain = fleet.nodes[one.node].failure_domain
            pin = one.node if one.node in pinned else ""
            seen.setdefault((kind, domain, len(one.devices), pin), one.replica)
    losses = [
        (gain(base, replace(base.draft, kept=kept - {replica})), replica)
        for replica in list(seen.values())[:_MOST_KINDS]
    ]
    if losses:
        terms, replica = min(losses, key=lambda each: (total(each[0]), each[1]))
        yield Difference(
            kind=ChangeKind.ONE_LESS_REPLICA,
            change=f"without replica {replica}",
            node=fleet.allocations[replica].node,
            terms=terms,
        )


def _changed(
    base: Base,
    deployment: str,
    node: str | None,
    *,
    kind: ChangeKind,
    change: str,
    named: str | None = None,
) -> Iterator[Difference]:
    """One more replica in a changed fleet against what is kept there, if it fits then."""
    owner = base.fleet.deployments[deployment]
    found = None if is_full(base, owner) else best_seat(base, owner, node)
    if found is not None:
        seat, terms = found
        yield Difference(
            kind=kind,
            change=f"{change}, and one more replica on node {seat.node}",
            node=named,
            terms=terms,
        )


def _relaxed(
    scope: Scope, base: Base, deployment: Deployment, node: str | None
) -> Iterator[Difference]:
    most = deployment.max_replicas
    options = [
        (f"max_replicas {most + 1} instead of {most}", replace(deployment, max_replicas=most + 1))
    ]
    if deployment.device_types:
        options.append(("any device type", replace(deployment, device_types=())))
    if deployment.node_groups:
        options.append(("any node group", replace(deployment, node_groups=())))
    if deployment.is_frozen:
        options.append(("the deployment thawed", replace(deployment, is_frozen=False)))
    is_bound = is_full(base, deployment)
    for change, relaxed in options:
        if is_bound != (relaxed.max_replicas > most):
            continue  # lifts nothing alone
        yield from _changed(
            scope.base(deployment=relaxed),
            deployment.id,
            node,
            kind=ChangeKind.BOUND_RELAXED,
            change=change,
        )


def _opened(scope: Scope, deployment: Deployment, node: str | None) -> Iterator[Difference]:
    closed = [
        one
        for one in sorted(scope.whole.nodes, key=lambda each: each.id)
        if one.is_ready and not one.takes_new and node in (None, one.id)
    ]
    for one in closed[:MOST_NODES]:
        opened = replace(one, is_cordoned=False, is_draining=False, is_frozen=False)
        yield from _changed(
            scope.base(node=opened),
            deployment.id,
            one.id,
            kind=ChangeKind.NODE_OPENED,
            change=f"node {one.id} {_how_opened(one)}",
            named=one.id,
        )


def _added(scope: Scope, deployment: Deployment) -> Iterator[Difference]:
    like: dict[tuple[object, ...], Node] = {}
    for one in sorted(scope.whole.nodes, key=lambda each: each.id):
        like.setdefault((one.group, *(device.device_type for device in one.devices)), one)
    for one in list(like.values())[:MOST_NODES]:
        added = replace(
            one,
            id="added",
            failure_domain="added",
            is_ready=True,
            is_cordoned=False,
            is_draining=False,
            is_frozen=False,
        )
        yield from _changed(
            scope.base(node=added),
            deployment.id,
            "added",
            kind=ChangeKind.NODE_ADDED,
            change=f"one more node like {one.id}",
        )


def _how_opened(node: Node) -> str:
    if node.is_frozen:
        return "thawed"
    return "no longer draining" if node.is_draining else "uncordoned"
