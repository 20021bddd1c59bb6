"""What small changes would bring a deployment: differences of the objective.

Pure. Owns which changes are asked about. Each difference is the objective of what is kept
with the change less without, term by term, work re-routed in both: a finite difference,
since duals are degenerate where counts are whole. Evaluates and does not solve: other
replicas stay where they are.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from controlplane.rounds.seating import forbidden, full, remedy, ruled_out
from planner.model import Deployment, Misfit, Node, ObjectiveTerm, Snapshot
from planner.placement.fleet import Draft, Fleet, Seat, Standing, survey
from planner.placement.greedy import keep_all
from planner.placement.objective import evaluate, total
from planner.placement.seats import seats
from planner.placement.verify import Violation

MOST_NODES = 8
"""Closed nodes, or kinds of nodes, asked about: more would be no explanation."""
EPSILON = 1e-6
_MOST_TRIES = 64


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
    snapshot: Snapshot, deployment: Deployment, node: str | None, why: tuple[Misfit, ...]
) -> tuple[Difference, ...]:
    """What each of some small changes would bring, the most first.

    Args:
        snapshot: The state.
        deployment: Of the snapshot.
        node: Where one more replica is asked about; None: anywhere.
        why: Misfits of one more replica, the nearest first.
    """
    fleet = survey(snapshot)
    base = _Base(fleet, keep_all(fleet))
    found = [
        *base.one_more(deployment, node, why),
        *base.one_less(deployment, node),
        *_relaxed(base, deployment, node),
        *_opened(snapshot, deployment, node),
        *(_added(snapshot, deployment) if node is None else ()),
    ]
    found.sort(key=lambda one: (not one.fits, one.objective, one.kind.value, one.change))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Base:
    """What is kept, and drafts that differ from it by little."""

    fleet: Fleet
    draft: Draft

    def gain(self, draft: Draft, fleet: Fleet | None = None) -> tuple[ObjectiveTerm, ...]:
        """The terms that differ once this draft is made of it."""
        before = {one.name: one for one in evaluate(self.fleet, self.draft)}
        after = evaluate(fleet or self.fleet, draft)
        return tuple(
            replace(one, value=one.value - before[one.name].value)
            for one in after
            if abs(one.value - before[one.name].value) > EPSILON
        )

    def seat(
        self, deployment: Deployment, node: str | None = None
    ) -> tuple[Seat | None, Violation | None]:
        """The seat of one more replica that gains most, and the last rule in its way."""
        groups = deployment.node_groups
        free = {
            name: devices
            for name, devices in self.fleet.free.items()
            if node in (None, name) and (not groups or self.fleet.nodes[name].group in groups)
        }
        beside = Counter(self.fleet.nodes[one].failure_domain for one in self.places(deployment))
        broken: Violation | None = None
        for _ in range(_MOST_TRIES):
            found = list(seats(self.fleet, deployment, free=free, beside=beside))
            open_seats = []
            for seat in found:
                rule = forbidden(self.fleet, self.draft, seat)
                if rule is None:
                    open_seats.append(seat)
                else:
                    broken = rule
                    free.pop(seat.node, None)
            if open_seats or not found:
                break
        best = min(
            open_seats, key=lambda seat: total(self.gain(self.with_seat(seat))), default=None
        )
        return best, broken

    def with_seat(self, seat: Seat) -> Draft:
        """The draft with one more replica."""
        return replace(self.draft, new=(*self.draft.new, seat))

    def is_full(self, deployment: Deployment) -> bool:
        """Whether max_replicas is reached."""
        return len(self.places(deployment)) >= deployment.max_replicas

    def places(self, deployment: Deployment) -> list[str]:
        """Nodes of its replicas, each as often as it has one."""
        own = self.fleet.of(deployment.id)
        kept = [one.node for one in own if one.replica in self.draft.kept]
        return kept + [one.node for one in self.draft.new if one.deployment == deployment.id]

    def one_more(
        self, deployment: Deployment, node: str | None, why: tuple[Misfit, ...]
    ) -> Iterator[Difference]:
        """One more replica."""
        change = "one more replica" + (f" on node {node}" if node else "")
        kind = ChangeKind.ONE_MORE_REPLICA
        if self.is_full(deployment):
            most = deployment.max_replicas
            yield Difference(
                kind=kind,
                change=change,
                node=node,
                fits=False,
                misfit=full(deployment, node),
                would_fit_if=f"max_replicas were {most + 1}",
            )
            return
        seat, broken = self.seat(deployment, node)
        if seat is not None:
            yield Difference(
                kind=kind,
                change=f"one more replica on node {seat.node}",
                node=seat.node,
                terms=self.gain(self.with_seat(seat)),
            )
            return
        misfit = why[0] if why else ruled_out(deployment, node, broken)
        yield Difference(
            kind=kind,
            change=change,
            node=node or misfit.node,
            fits=False,
            misfit=misfit,
            would_fit_if=remedy(misfit),
        )

    def one_less(self, deployment: Deployment, node: str | None) -> Iterator[Difference]:
        """One replica less: of those that serve, the one least missed."""
        seen: dict[tuple[str, str], str] = {}  # what the objective tells apart
        for one in self.fleet.of(deployment.id):
            if (
                one.replica in self.draft.kept
                and self.fleet.standing[one.replica] is Standing.GOOD
                and node in (None, one.node)
            ):
                domain = self.fleet.nodes[one.node].failure_domain
                seen.setdefault(
                    (self.fleet.device_type(one.node, one.devices), domain), one.replica
                )
        losses = [
            (self.gain(replace(self.draft, kept=self.draft.kept - {replica})), replica)
            for replica in list(seen.values())[: 2 * MOST_NODES]
        ]
        if losses:
            terms, replica = min(losses, key=lambda each: (total(each[0]), each[1]))
            yield Difference(
                kind=ChangeKind.ONE_LESS_REPLICA,
                change=f"without replica {replica}",
                node=self.fleet.allocations[replica].node,
                terms=terms,
            )


def _changed(
    snapshot: Snapshot,
    deployment: Deployment,
    node: str | None,
    *,
    kind: ChangeKind,
    change: str,
    named: str | None = None,
) -> Iterator[Difference]:
    """One more replica in a changed fleet against what is kept there, if it fits then."""
    fleet = survey(snapshot)
    base = _Base(fleet, keep_all(fleet))
    owner = fleet.deployments[deployment.id]
    seat = None if base.is_full(owner) else base.seat(owner, node)[0]
    if seat is not None:
        yield Difference(
            kind=kind,
            change=f"{change}, and one more replica on node {seat.node}",
            node=named,
            terms=base.gain(base.with_seat(seat)),
        )


def _relaxed(base: _Base, deployment: Deployment, node: str | None) -> Iterator[Difference]:
    snapshot = base.fleet.snapshot
    most = deployment.max_replicas
    options = [
        (f"max_replicas {most + 1} instead of {most}", replace(deployment, max_replicas=most + 1))
    ]
    if deployment.device_types:
        options.append(("any device type", replace(deployment, device_types=())))
    if deployment.is_frozen:
        options.append(("the deployment thawed", replace(deployment, is_frozen=False)))
    is_full = base.is_full(deployment)
    for change, relaxed in options:
        if is_full != (relaxed.max_replicas > most):
            continue  # lifts nothing alone
        others = tuple(one for one in snapshot.deployments if one.id != deployment.id)
        yield from _changed(
            replace(snapshot, deployments=(*others, relaxed)),
            relaxed,
            node,
            kind=ChangeKind.BOUND_RELAXED,
            change=change,
        )


def _opened(snapshot: Snapshot, deployment: Deployment, node: str | None) -> Iterator[Difference]:
    closed = [
        one
        for one in sorted(snapshot.nodes, key=lambda each: each.id)
        if one.is_ready and not one.takes_new and node in (None, one.id)
    ]
    for one in closed[:MOST_NODES]:
        opened = replace(one, is_cordoned=False, is_draining=False, is_frozen=False)
        yield from _changed(
            _with_node(snapshot, opened),
            deployment,
            one.id,
            kind=ChangeKind.NODE_OPENED,
            change=f"node {one.id} {_how_opened(one)}",
            named=one.id,
        )


def _added(snapshot: Snapshot, deployment: Deployment) -> Iterator[Difference]:
    like: dict[tuple[str, ...], Node] = {}
    for one in sorted(snapshot.nodes, key=lambda each: each.id):
        like.setdefault(tuple(device.device_type for device in one.devices), one)
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
            replace(snapshot, nodes=(*snapshot.nodes, added)),
            deployment,
            "added",
            kind=ChangeKind.NODE_ADDED,
            change=f"one more node like {one.id}",
        )


def _with_node(snapshot: Snapshot, node: Node) -> Snapshot:
    nodes = tuple(node if one.id == node.id else one for one in snapshot.nodes)
    return replace(snapshot, nodes=nodes)


def _how_opened(node: Node) -> str:
    if node.is_frozen:
        return "thawed"
    return "no longer draining" if node.is_draining else "uncordoned"
