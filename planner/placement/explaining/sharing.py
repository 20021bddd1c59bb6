"""What tenants share across the edge of a part of a fleet: quotas and fair shares.

Owns the division of offline work among tenants' demands. All it has to know of a deployment is
one number: the most offline work its replicas carry beside the online work they serve, which
goes first whatever offline work is worth. So deployments outside of the part, whose replicas
stay, are asked once, and a draft of the part costs a programme of the part and a linear one
over demands. Refuses other couplings (`scope`). Invariant: claims and fair shares are those
of the fleet as it stands, also where a change would give tenants others.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from math import inf

from planner.model import Node, Snapshot
from planner.placement.counting import Counting, counting_of
from planner.placement.counts.problem import (
    Cell,
    Entitlement,
    Mode,
    OfflineDemand,
    Problem,
    Shape,
    Wanted,
)
from planner.placement.counts.programme import Part, Programme
from planner.placement.counts.solver import solve_lp, solve_mip
from planner.placement.counts.standing import Standing, standing_of
from planner.placement.fleet import Fleet, survey
from planner.placement.fleet import Standing as Judged
from planner.placement.greedy import keep_all

MANY = 16
"""Replicas of a deployment outside of the part, beyond which their SLO classes are divided in
fractions: one linear programme for all of them. What it mistakes is within a replica or two
and the same with the change and without."""

_DIGITS = 9  # of work, beyond which a division is the same
_NODES = 60  # of the search for the classes of few replicas


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """Whose offline work is carried, of all deployments that share tenants."""

    problem: Problem
    deployments: tuple[str, ...]
    tenants: tuple[str, ...]
    standing: Standing

    @property
    def terms(self) -> dict[str, float]:
        """Terms of the objective that tenants decide, before their weights."""
        offline = self.standing.offline
        return {
            "deadline_shortfall": sum(self.standing.missing["deadline"].values()),
            "fair_shortfall": sum(self.standing.missing["fair"].values()),
            "offline_work": sum(self.problem.offline[j].weight * o for j, o in offline.items()),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """Deployments that share tenants, and what those outside of the part carry."""

    whole: Snapshot
    counting: Counting  # of the whole, with fair shares
    outside: Mapping[str, float]  # most offline work by deployment, replica-equivalents
    _known: dict[tuple[float, ...], Division] = field(default_factory=dict, repr=False)

    def divided(self, own: Mapping[str, float]) -> Division:
        """The division where the part carries so much.

        Args:
            own: Most offline work of the part's deployments, replica-equivalents.

        Raises:
            SolverError: The solver failed.
        """
        key = tuple(round(own[name], _DIGITS) for name in sorted(own))
        if key not in self._known:
            self._known[key] = self._divided({**self.outside, **own})
        return self._known[key]

    def _divided(self, carried: Mapping[str, float]) -> Division:
        names = tuple(carried)
        index = {name: d for d, name in enumerate(names)}
        known = self.counting.problem
        problem = Problem(
            cells=(_cell(0, slots=len(names)),),
            shapes=tuple(_shape(d, carries=carried[name]) for d, name in enumerate(names)),
            wanted=tuple(_QUIET for _ in names),
            offline=tuple(
                replace(one, deployment=index[self.counting.deployments[one.deployment]])
                for one in known.offline
                if self.counting.deployments[one.deployment] in index
            ),
            tenants=known.tenants,
            domains=1,
            weights=known.weights,
            claim_unit=known.claim_unit,
        )
        return Division(
            problem=problem,
            deployments=names,
            tenants=self.counting.tenants,
            standing=standing_of(problem, {(0, d): 1 for d in range(len(names))}),
        )

    def with_node(self, node: Node) -> "Sharing":
        """The same while a node is changed: what its replicas carry may come and go."""
        changed = {
            one.deployment
            for one in self.whole.allocations
            if one.node == node.id and one.deployment in self.outside
        }
        if not changed:
            return self
        own = tuple(one for one in self.whole.allocations if one.deployment in changed)
        places = {one.node for one in own} - {node.id}
        fleet = survey(
            replace(
                self.whole,
                nodes=(*(one for one in self.whole.nodes if one.id in places), node),
                deployments=tuple(one for one in self.whole.deployments if one.id in changed),
                allocations=own,
            )
        )
        found = _carried(self.counting, _held(fleet, keep_all(fleet).kept), changed)
        return replace(self, outside={**self.outside, **found}, _known={})


def sharing_of(whole: Snapshot, owners: Collection[str]) -> Sharing | None:
    """What some deployments share with all others; None if no tenant binds them.

    Args:
        whole: The state.
        owners: Deployments of the part.

    Raises:
        SolverError: Work could not be routed.
    """
    fleet = survey(whole)
    counting = counting_of(fleet)
    names = _coupled(counting, owners)
    if not names:
        return None
    held = _held(fleet, keep_all(fleet).kept)
    return Sharing(
        whole=whole,
        counting=counting,
        outside=_carried(counting, held, names - set(owners)),
    )


def alone(problem: Problem) -> Problem:
    """The problem with all offline work of a deployment alike, and nobody's."""
    most: dict[int, float] = defaultdict(float)
    for one in problem.offline:
        most[one.deployment] += one.most
    return replace(
        problem,
        offline=tuple(
            OfflineDemand(deployment=d, tenant=0, weight=1.0, least=0.0, most=most[d])
            for d in range(len(problem.wanted))
        ),
        tenants=(Entitlement(most=None, fair=0.0),),
    )


def _coupled(counting: Counting, owners: Collection[str]) -> set[str]:
    """Those that share tenants with a quota or a fair share, one by another; none if none."""
    problem = counting.problem
    tenants: dict[str, set[int]] = defaultdict(set)
    for demand in problem.offline:
        entitled = problem.tenants[demand.tenant]
        if entitled.most is not None or entitled.fair > 0.0:
            tenants[counting.deployments[demand.deployment]].add(demand.tenant)
    found = {name for name in owners if tenants[name]}
    while True:
        common = set().union(*(tenants[name] for name in found))
        more = {name for name, own in tenants.items() if own & common}
        if more <= found:
            return found
        found |= more


def _held(fleet: Fleet, kept: Collection[str]) -> dict[str, Counter[tuple[str, int]]]:
    """Replicas that serve, of those that are kept, by deployment, type and devices."""
    found: dict[str, Counter[tuple[str, int]]] = defaultdict(Counter)
    for name, one in fleet.allocations.items():
        if name in kept and fleet.standing[name] is Judged.GOOD:
            key = fleet.device_type(one.node, one.devices), len(one.devices)
            found[one.deployment][key] += 1
    return found


def _carried(
    counting: Counting, held: Mapping[str, Counter[tuple[str, int]]], names: Collection[str]
) -> dict[str, float]:
    """Most offline work of some deployments' replicas, beside the online work they serve."""
    problem = _of_work(counting)
    index = {name: d for d, name in enumerate(counting.deployments)}
    counts: dict[tuple[int, int], int] = {}
    for q, (name, kind, slots) in enumerate(counting.shapes):
        if name in names and name in held and held[name][kind, slots]:
            counts[problem.shapes[q].kind, q] = held[name][kind, slots]
    replicas = {name: sum(held[name].values()) if name in held else 0 for name in names}
    found = dict.fromkeys(sorted(names), 0.0)
    few = [(index[name],) for name in found if 0 < replicas[name] <= MANY]
    many = tuple(index[name] for name in found if replicas[name] > MANY)
    for part in (*few, many):
        if part:
            programme = Programme(problem, Part(deployments=part, cells=frozenset()), counts=counts)
            if programme.r and part is not many:
                values = solve_mip(programme.sparse.proto(), node_limit=_NODES).values
            else:
                values = solve_lp(programme.sparse.proto(is_relaxed=True)).values
            for d, column in programme.o.items():
                found[counting.deployments[d]] = values[column]
    return found


def _of_work(counting: Counting) -> Problem:
    """The problem of the whole with nothing asked for but work; a cell for each type."""
    problem = counting.problem
    quiet = tuple(
        replace(
            _QUIET,
            classes=tuple(replace(cls, failover_ratio=0.0) for cls in one.classes),
        )
        for one in problem.wanted
    )
    nobodys = alone(problem)
    return Problem(
        cells=tuple(_cell(kind, slots=1) for kind in range(len(counting.kinds))),
        shapes=problem.shapes,
        wanted=quiet,
        offline=nobodys.offline,
        tenants=nobodys.tenants,
        domains=1,
        weights=problem.weights,
    )


def _cell(kind: int, *, slots: int) -> Cell:
    return Cell(kind=kind, domain=0, nodes=1, slots=slots, host_bytes=inf, node_cost=0.0)


def _shape(deployment: int, *, carries: float) -> Shape:
    """A replica, offline only, that carries so much."""
    mode = Mode(served=0, max_online=0.0, segments=((0.0, 1.0, carries),))
    return Shape(
        deployment=deployment, kind=0, slots=1, host_bytes=0.0, load_cost=0.0, modes=(mode,)
    )


_QUIET = Wanted(min_replicas=0, max_replicas=0, classes=())
