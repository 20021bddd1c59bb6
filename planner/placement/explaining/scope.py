"""The part of a fleet whose objective a change of one deployment touches.

Owns which part that is. The objective is a sum over deployments but for what tenants'
quotas and pins to one node couple: so other deployments are left out, and of their replicas
only what they hold is kept. Nodes without a replica of the part that differ in nothing a
change could ask about are one node, the first by id, which is the one a seat would be taken
on. Refuses to judge.
Invariant: a difference of the objective on the part is the difference on the whole fleet,
but for tenants' fair shares, which all deployments decide together (`leaves_out`).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from planner.model import Allocation, Deployment, Node, ObjectiveTerm, Snapshot
from planner.placement.explaining.beside import Beside
from planner.placement.fleet import Draft, Fleet, is_gone, survey
from planner.placement.greedy import keep_all
from planner.placement.objective import evaluate
from planner.placement.weights import REPLICA_WORK

if TYPE_CHECKING:
    from planner.placement.counting import Counting
    from planner.placement.counts.standing import Standing

_NOTHING = 1e-6  # replica-equivalents


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What is kept on a part of a fleet, and what that comes to."""

    fleet: Fleet
    beside: Beside
    is_plain: bool  # the whole fleet, whatever the part is
    draft: Draft
    worth: "Worth"

    def with_draft(self, draft: Draft) -> tuple[ObjectiveTerm, ...]:
        """The terms another draft comes to on this part."""
        return _worth(self.fleet, draft, is_plain=self.is_plain).terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What a draft comes to."""

    terms: tuple[ObjectiveTerm, ...]
    unsurvived: Mapping[str, float] = field(default_factory=dict)
    """By deployment: work lost with a failure domain though it is to survive, engine-ms/s."""
    capped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By deployment: tenants at their quota, where nobody else's offline work is left over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The part of a snapshot that one deployment's changes touch."""

    whole: Snapshot
    deployment: str
    is_plain: bool
    leaves_out: tuple[str, ...]  # what differences of it do not weigh, in words
    _part: Snapshot
    _allocations: dict[str, list[Allocation]] = field(repr=False)  # of the whole, by node

    def base(self, *, deployment: Deployment | None = None, node: Node | None = None) -> Base:
        """The part with a deployment or a node changed, or a node added."""
        part = self._part
        if deployment is not None:
            part = replace(
                part,
                deployments=tuple(
                    deployment if one.id == deployment.id else one for one in part.deployments
                ),
            )
        if node is not None:
            known = {one.replica for one in part.allocations}
            beside = self._allocations.get(node.id, ())
            part = replace(
                part,
                nodes=(*(one for one in part.nodes if one.id != node.id), node),
                allocations=(
                    *part.allocations,
                    *(one for one in beside if one.replica not in known),
                ),
            )
        fleet = survey(part)
        draft = keep_all(fleet)
        owners = {one.id: one for one in self.whole.deployments}
        owners |= fleet.deployments
        return Base(
            fleet=fleet,
            beside=Beside(fleet.allocations.values(), owners),
            is_plain=self.is_plain,
            draft=draft,
            worth=_worth(fleet, draft, is_plain=self.is_plain),
        )


def scope_of(snapshot: Snapshot, deployment: str, *, node: str | None = None) -> Scope:
    """The part of a snapshot that changes of a deployment touch.

    Args:
        snapshot: The state.
        deployment: Its id.
        node: One that is asked about, to be in the part as it is.
    """
    owners = _coupled(snapshot, deployment)
    nodes = {one.id: one for one in snapshot.nodes}
    present = [one for one in snapshot.allocations if not is_gone(one, nodes)]
    by_node: dict[str, list[Allocation]] = defaultdict(list)
    for one in present:
        by_node[one.node].append(one)
    special = {one.node for one in snapshot.allocations if one.deployment in owners}
    special |= {pin.node for pin in snapshot.pins if pin.deployment in owners}
    special |= {node} if node is not None else set()
    beside = Beside(present, {one.id: one for one in snapshot.deployments})
    asked = next(one for one in snapshot.deployments if one.id == deployment)
    kept = _representatives(snapshot, special, by_node, beside, asked)
    part = replace(
        snapshot,
        nodes=tuple(one for one in snapshot.nodes if one.id in kept),
        deployments=tuple(one for one in snapshot.deployments if one.id in owners),
        # Others' replicas are of no deployment here: they hold their devices, and no more.
        allocations=tuple(
            one for one in snapshot.allocations if one.deployment in owners or one.node in kept
        ),
        frontiers=tuple(one for one in snapshot.frontiers if one.deployment in owners),
        batches=tuple(one for one in snapshot.batches if one.deployment in owners),
        pins=tuple(one for one in snapshot.pins if one.deployment in owners),
    )
    is_plain = survey(replace(snapshot, nodes=(), allocations=())).is_plain and not any(
        one.is_frozen for one in snapshot.nodes
    )
    return Scope(
        whole=snapshot,
        deployment=deployment,
        is_plain=is_plain,
        leaves_out=() if is_plain else _left_out(snapshot),
        _part=part,
        _allocations=by_node,
    )


def _coupled(snapshot: Snapshot, deployment: str) -> frozenset[str]:
    """The deployment, and those that share a quota or a pinned node with it, one by another."""
    limited = {one.id for one in snapshot.tenants if one.max_offline_work is not None}
    shared: dict[str, set[str]] = defaultdict(set)  # deployment -> what it shares with others
    with_batches = {one.deployment for one in snapshot.batches}
    for batch in snapshot.batches:
        shared[batch.deployment] |= {f"quota {batch.tenant}"} if batch.tenant in limited else set()
    for owner in snapshot.deployments:
        if owner.id not in with_batches and "" in limited:
            shared[owner.id].add("quota ")  # its offline work is of no tenant
    # A pin is granted as far as other pins and freezes on its node leave room and moves.
    pinned = {pin.node for pin in snapshot.pins}
    frozen = {one.id for one in snapshot.nodes if one.is_frozen}
    still = {one.id for one in snapshot.deployments if one.is_frozen}
    for pin in snapshot.pins:
        shared[pin.deployment].add(f"node {pin.node}")
        shared[pin.deployment] |= {"moves"} if snapshot.max_moves is not None else set()
    for one in snapshot.allocations:
        if one.node in pinned and (one.node in frozen or one.deployment in still):
            shared[one.deployment].add(f"node {one.node}")
    known = {one.id for one in snapshot.deployments}
    found = {deployment}
    while True:
        common = set().union(*(shared[one] for one in found))
        more = {name for name in known if shared[name] & common}
        if more <= found:
            return frozenset(found)
        found |= more


def _representatives(
    snapshot: Snapshot,
    special: Iterable[str],
    by_node: dict[str, list[Allocation]],
    beside: Beside,
    asked: Deployment,
) -> frozenset[str]:
    """Nodes that stand for all: the special ones, and the first of each kind by id."""
    kept = set(special)
    seen: set[tuple[object, ...]] = set()
    for node in sorted(snapshot.nodes, key=lambda one: one.id):
        if node.id in kept:
            continue
        held = {index for one in by_node.get(node.id, ()) for index in one.devices}
        kind = (
            tuple((one.index, one.device_type, one.memory_bytes) for one in node.devices),
            frozenset(held),
            node.failure_domain,
            node.is_ready,
            node.is_cordoned,
            node.is_draining,
            node.is_frozen,
            node.group,
            node.host_memory_bytes,
            beside.takes(asked, node),
        )
        if kind not in seen:
            seen.add(kind)
            kept.add(node.id)
    return frozenset(kept)


def _left_out(snapshot: Snapshot) -> tuple[str, ...]:
    with_work = {one.tenant for one in snapshot.batches if one.offline_work > 0.0}
    named = {one.deployment for one in snapshot.batches}
    with_work |= {
        ""
        for one in snapshot.deployments
        if one.id not in named and max(one.offline_work, one.min_offline_work) > 0.0
    }
    return ("tenants' fair shares",) if len(with_work) > 1 else ()


def _worth(fleet: Fleet, draft: Draft, *, is_plain: bool) -> Worth:
    if is_plain:
        return Worth(terms=evaluate(fleet, draft))
    # Loads OR-Tools, which a fleet whose deployments stand alone never needs here.
    from planner.placement import carrying
    from planner.placement.counting import counting_of
    from planner.placement.counts.standing import standing_of

    counting = counting_of(fleet, has_shares=False)
    standing = standing_of(counting.problem, counting.count(fleet, draft))
    return Worth(
        terms=evaluate(fleet, draft, work_terms=carrying.terms_of(counting, standing)),
        unsurvived={
            counting.deployments[key[0]]: short * REPLICA_WORK
            for key, short in standing.missing["failover"].items()
            if short > _NOTHING
        },
        capped=_capped(counting, standing),
    )


def _capped(counting: "Counting", standing: "Standing") -> dict[str, tuple[str, ...]]:
    problem = counting.problem
    carried: dict[int, float] = defaultdict(float)
    for j, work in standing.offline.items():
        carried[problem.offline[j].tenant] += work
    full = {
        index
        for index, tenant in enumerate(problem.tenants)
        if tenant.most is not None and carried[index] > tenant.most - _NOTHING
    }
    left_over: dict[str, set[int]] = defaultdict(set)
    for j, demand in enumerate(problem.offline):
        if demand.most > standing.offline.get(j, 0.0) + _NOTHING:
            left_over[counting.deployments[demand.deployment]].add(demand.tenant)
    return {
        name: tuple(sorted(counting.tenants[index] for index in own))
        for name, own in left_over.items()
        if own <= full
    }
