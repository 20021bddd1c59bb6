"""The part of a fleet whose objective a change of one deployment touches.

Owns which part that is. The objective is a sum over deployments but for what tenants'
quotas and fair shares couple, and pins to one node: so other deployments are left out, and of
their replicas only what they hold is kept; what those carry that share tenants with the part
is divided with it (`sharing`). Nodes without a replica of the part that differ in nothing a
change could ask about are one node, the first by id, which is the one a seat would be taken
on. Refuses to judge.
Invariant: a difference of the objective on the part is the difference on the whole fleet,
with tenants' fair shares as they are now, and SLO classes in fractions where they are many
(`sharing`).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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
    from planner.placement.counts.problem import Problem
    from planner.placement.counts.standing import Standing
    from planner.placement.explaining.sharing import Sharing

_NOTHING = 1e-6  # replica-equivalents


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What is kept on a part of a fleet, and what that comes to."""

    fleet: Fleet
    beside: Beside
    draft: Draft
    worth: "Worth"
    _measure: "_Measure"

    def with_draft(self, draft: Draft) -> tuple[ObjectiveTerm, ...]:
        """The terms another draft comes to on this part."""
        return self._measure.worth(draft).terms


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
    _part: Snapshot
    _sharing: "Sharing | None"
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
        sharing = self._sharing
        if sharing is not None and node is not None:
            sharing = sharing.with_node(node)
        fleet = survey(part)
        draft = keep_all(fleet)
        measure = _measure_of(fleet, sharing, is_plain=self.is_plain)
        owners = {one.id: one for one in self.whole.deployments}
        owners |= fleet.deployments
        return Base(
            fleet=fleet,
            beside=Beside(fleet.allocations.values(), owners),
            draft=draft,
            worth=measure.worth(draft),
            _measure=measure,
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
        _part=part,
        _sharing=None if is_plain else _sharing(snapshot, owners),
        _allocations=by_node,
    )


def _coupled(snapshot: Snapshot, deployment: str) -> frozenset[str]:
    """The deployment, and those that share a pinned node with it, one by another."""
    shared: dict[str, set[str]] = defaultdict(set)  # deployment -> what it shares with others
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


def _sharing(snapshot: Snapshot, owners: frozenset[str]) -> "Sharing | None":
    # Loads OR-Tools, which a fleet whose deployments stand alone never needs here.
    from planner.placement.explaining.sharing import sharing_of

    return sharing_of(snapshot, owners)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measure:
    """What drafts of one part come to."""

    fleet: Fleet
    counting: "Counting | None"  # of the part; None if the whole fleet is plain
    sharing: "Sharing | None"

    def worth(self, draft: Draft) -> Worth:
        """What a draft comes to.

        Raises:
            SolverError: Work could not be routed, in a fleet that is not plain.
        """
        if self.counting is None:
            return Worth(terms=evaluate(self.fleet, draft))
        from planner.placement import carrying
        from planner.placement.counts.standing import standing_of

        problem, names = self.counting.problem, self.counting.deployments
        standing = standing_of(problem, self.counting.count(self.fleet, draft))
        terms = carrying.terms_of(self.counting, standing)
        if self.sharing is None:
            capped = _capped(problem, standing, deployments=names, tenants=self.counting.tenants)
        else:
            division = self.sharing.divided(
                {names[problem.offline[j].deployment]: o for j, o in standing.offline.items()}
            )
            terms |= division.terms
            capped = _capped(
                division.problem,
                division.standing,
                deployments=division.deployments,
                tenants=division.tenants,
            )
        return Worth(
            terms=evaluate(self.fleet, draft, work_terms=terms),
            unsurvived={
                names[key[0]]: short * REPLICA_WORK
                for key, short in standing.missing["failover"].items()
                if short > _NOTHING
            },
            capped=capped,
        )


def _measure_of(fleet: Fleet, sharing: "Sharing | None", *, is_plain: bool) -> _Measure:
    if is_plain:
        return _Measure(fleet=fleet, counting=None, sharing=None)
    from planner.placement.counting import counting_of

    counting = counting_of(fleet, has_shares=False)
    if sharing is not None:
        from planner.placement.explaining.sharing import alone

        counting = replace(counting, problem=alone(counting.problem))
    return _Measure(fleet=fleet, counting=counting, sharing=sharing)


def _capped(
    problem: "Problem",
    standing: "Standing",
    *,
    deployments: Sequence[str],
    tenants: Sequence[str],
) -> dict[str, tuple[str, ...]]:
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
            left_over[deployments[demand.deployment]].add(demand.tenant)
    return {
        name: tuple(sorted(tenants[index] for index in own))
        for name, own in left_over.items()
        if own <= full
    }
