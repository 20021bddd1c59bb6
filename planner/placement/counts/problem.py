"""What is counted: nodes alike, shapes of replicas, what replicas bear, what is wanted.

Owns the values the programme is made of. Refuses nodes, devices and replicas by name.
Invariants: work is in replica-equivalents, 1000 engine-ms per second of a deployment's
reference; shapes, cells and demands are in a fixed order, and everything else refers to
them by index; a shape's modes are ordered tightest first, the offline-only one last.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """What one replica bears while it is held to one SLO class.

    `served` is the first of the deployment's classes it serves, and it serves all looser
    ones; at least as many as there are classes: it serves no online requests.
    """

    served: int
    max_online: float
    segments: tuple[tuple[float, float, float], ...]  # alpha*x + beta*y <= gamma

    @property
    def most_offline(self) -> float:
        """Offline work it bears beside no online work."""
        limits = (gamma / beta for _, beta, gamma in self.segments if beta > 0.0)
        return min(limits, default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A deployment's replica over so many devices of one type."""

    deployment: int
    kind: int  # device type
    slots: int  # devices
    host_bytes: float
    load_cost: float  # of a new one, in the objective's units
    modes: tuple[Mode, ...]

    @property
    def most_offline(self) -> float:
        """Offline work it bears beside no online work, in the mode that bears most."""
        return max((mode.most_offline for mode in self.modes), default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Nodes alike: of one device type, in one failure domain.

    `domain` is None where nodes of all failure domains are merged.
    """

    kind: int
    domain: int | None
    nodes: int
    slots: int  # of one node
    host_bytes: float  # of one node; infinite where not known
    node_cost: float  # of a node in use, in the objective's units
    device_cost: float = 0.0  # of a device in use, likewise

    @property
    def all_slots(self) -> int:
        """Devices of all its nodes."""
        return self.nodes * self.slots

    @property
    def use_cost(self) -> float:
        """Of a node all of whose devices are in use, in the objective's units."""
        return self.node_cost + self.device_cost * self.slots


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineDemand:
    """One SLO class of one deployment."""

    work: float  # replica-equivalents
    failover_ratio: float
    weight: float  # of a replica-equivalent not served, beside that of the tier


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineDemand:
    """One tenant's batches of one deployment at one weight."""

    deployment: int
    tenant: int
    weight: float
    least: float  # rate its deadlines rest on, replica-equivalents
    most: float
    claim: float = 1.0  # on its tenant's fair share, by the replica-equivalent


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What one deployment wants."""

    min_replicas: int
    max_replicas: int
    classes: tuple[OnlineDemand, ...]  # tightest first
    is_spread: bool = False
    is_alone: bool = False  # at most one of its replicas on a node


@dataclass(frozen=True, slots=True, kw_only=True)
class Entitlement:
    """One tenant's quota, and the least of its demands' claims that is its fair share."""

    most: float | None  # replica-equivalents
    fair: float  # in claims


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """What of one direction a deployment's replicas are to bear beyond its demand.

    `gives` is by the deployment's shapes, in their order. What is liked (`is_spare`) is so
    and no more; below the others none is to be given up.
    """

    needed: float
    gives: tuple[float, ...]
    unit: float  # of it, that one of what is short stands for
    is_lost: bool = False  # without the worst failure domain
    is_spare: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What a unit costs; an earlier one outweighs any exchange for a later at equal size."""

    replica: float = 10_000.0
    online: float = 3_000.0
    failover: float = 1_000.0
    deadline: float = 300.0
    fair: float = 60.0
    spread: float = 5.0
    offline: float = 10.0
    drop: float = 0.5
    device: float = 0.0  # at the mean price; cells have that of their own
    reserve: float = 0.0
    spare: float = 0.0


Counts: TypeAlias = Mapping[tuple[int, int], int]
"""Replicas by (cell, shape); absent means none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One round's question, in counts."""

    cells: tuple[Cell, ...]
    shapes: tuple[Shape, ...]
    wanted: tuple[Wanted, ...]  # by deployment
    offline: tuple[OfflineDemand, ...]
    tenants: tuple[Entitlement, ...]
    domains: int
    held: Counts = field(default_factory=dict)  # good replicas that run
    least: Counts = field(default_factory=dict)  # pinned or frozen
    most: Counts = field(default_factory=dict)  # where it is less than what fits
    max_moves: int | None = None
    weights: Weights = Weights()
    claim_unit: float = 1.0  # claims of one device that carries nothing but offline work
    reserves: tuple[tuple[Reserve, ...], ...] = ()  # by deployment; (): devices are free

    def shapes_of(self, deployment: int) -> tuple[int, ...]:
        """Indices of a deployment's shapes."""
        return tuple(q for q, shape in enumerate(self.shapes) if shape.deployment == deployment)

    def fits(self, cell: int, shape: int) -> int:
        """Replicas of a shape that the cell holds, were it empty and the round free."""
        place, wanted = self.cells[cell], self.shapes[shape]
        if place.kind != wanted.kind:
            return 0
        each = place.slots // wanted.slots
        if wanted.host_bytes > 0.0 and isfinite(place.host_bytes):
            each = min(each, int(place.host_bytes / wanted.host_bytes + 1e-9))
        if self.wanted[wanted.deployment].is_alone:
            each = min(each, 1)
        return min(place.nodes * each, self.most.get((cell, shape), place.nodes * each))

    def scaled(self, *, failover: float) -> "Problem":
        """The same with failover ratios times `failover`, for a guess with margin."""
        return replace(
            self,
            wanted=tuple(
                replace(
                    one,
                    classes=tuple(
                        replace(cls, failover_ratio=cls.failover_ratio * failover)
                        for cls in one.classes
                    ),
                )
                for one in self.wanted
            ),
        )


def failover_needs(
    wanted: Wanted, shapes: tuple[Shape, ...]
) -> tuple[tuple[float, tuple[float, ...]], ...]:
    """What must be left when a failure domain is lost, direction by direction.

    With one class it is one row: what replicas bear of it, offline work shed. With two,
    the replicas left can be divided between the modes of the tight and of the loose class
    so that both are served exactly when, for every weight t >= 0 of tight work,

        sum_q replicas_q * max(t*tight_q, loose_q) >= t*needed_tight + needed_loose

    (linear programming duality). The left side is convex in t and bends only where
    t = loose_q/tight_q, so those weights, none and infinity decide. With more classes all
    of them are asked of the tightest mode, which is enough and may be more than is needed.

    Args:
        wanted: The deployment.
        shapes: Its shapes.

    Returns:
        Per direction (needed, what one replica of each shape gives), both in shares of
        the sum needed; none where nothing is asked for.
    """
    return _division_needs([cls.failover_ratio * cls.work for cls in wanted.classes], shapes)


def online_needs(
    wanted: Wanted, shapes: tuple[Shape, ...]
) -> tuple[tuple[float, tuple[float, ...]], ...]:
    """The same of all online work, while no domain is lost."""
    return _division_needs([cls.work for cls in wanted.classes], shapes)


def _division_needs(
    needed: Sequence[float], shapes: tuple[Shape, ...]
) -> tuple[tuple[float, tuple[float, ...]], ...]:
    if sum(needed) <= 0.0:
        return ()
    tight = [_bears(shape, 0) for shape in shapes]
    if len(needed) != 2:
        return ((sum(needed), tuple(tight)),)
    loose = [_bears(shape, 1) for shape in shapes]
    found = []
    if needed[0] > 0.0:
        found.append((needed[0], tuple(tight)))
    if needed[1] > 0.0:
        found.append((needed[1], tuple(loose)))
    if needed[0] > 0.0 and needed[1] > 0.0:
        both = tuple(zip(tight, loose, strict=True))
        ratios = {float(f"{more / less:.7g}") for less, more in both if less > 0.0}
        for weight in sorted(ratios):
            gives = tuple(max(weight * less, more) for less, more in both)
            found.append((weight * needed[0] + needed[1], gives))
    return tuple(found)


def _bears(shape: Shape, level: int) -> float:
    """Most online work a replica carries while it serves class `level`, offline work shed."""
    return max((mode.max_online for mode in shape.modes if mode.served <= level), default=0.0)
