"""What a picture of the fleet shows: values, free of the wire and of markup.

Owns nodes with their boxes, deployments with their sums, and in which order and under which
headings they stand. Refuses protobuf, colours and words. Invariants: ids are bare; every
replica stands on exactly one node; a share of a frontier is None where it is not known, never
a guess.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum


class BoxState(Enum):
    """How a replica is drawn."""

    PLANNED = "planned"
    """In the plan; its agent has said nothing of it yet."""
    STARTING = "starting"
    RUNNING = "running"
    LEAVING = "leaving"
    """Draining, or the plan wants it stopped."""
    FAILED = "failed"
    LOST = "lost"


class Mark(Enum):
    """What sets a node apart."""

    LOST = "lost"
    DRAINING = "draining"
    DRAINED = "drained"
    CORDONED = "cordoned"
    FROZEN = "frozen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One replica over devices of its node.

    Attributes:
        number: Of its deployment, from 1; `Row.number`.
        devices: Indices on the node, ascending.
        online_share: Routing weight within its deployment.
        offline_work: The plan counts on, engine-milliseconds per second.
        budget_ms: Latency budget of an iteration.
        online_ratio: Part of its frontier that planned online work takes; None: not known.
        offline_ratio: Likewise of offline work; the two and the headroom add up to 1.
        online_now: Work its agent measures now, engine-milliseconds per second; None: no report.
        offline_now: Likewise of offline work.
        is_pinned: Whether an operator pinned its deployment to this node.
        note: The newest thing its agent says of it.
        slo_class: Tightest SLO class it serves; "" all of them.
    """

    replica: str
    deployment: str
    number: int
    state: BoxState
    devices: tuple[int, ...]
    online_share: float
    offline_work: float
    budget_ms: float
    online_ratio: float | None = None
    offline_ratio: float | None = None
    online_now: float | None = None
    offline_now: float | None = None
    is_pinned: bool = False
    note: str = ""
    slo_class: str = ""

    @property
    def headroom(self) -> float | None:
        """Part of its frontier that is left, 0 to 1; None: not known."""
        if self.online_ratio is None or self.offline_ratio is None:
            return None
        return max(0.0, 1.0 - self.online_ratio - self.offline_ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A node.

    Attributes:
        device_types: Of each device, by index from 0.
        reason: Why it is cordoned, draining or frozen, in an operator's words.
        pins: Deployments an operator pinned to it, with how many replicas.
    """

    id: str
    domain: str
    group: str
    device_types: tuple[str, ...]
    marks: tuple[Mark, ...] = ()
    reason: str = ""
    boxes: tuple[Box, ...] = ()
    pins: tuple[tuple[str, int], ...] = ()

    @property
    def busy(self) -> frozenset[int]:
        """Indices of devices that a replica has or is to have."""
        return frozenset(device for box in self.boxes for device in box.devices)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A deployment.

    Attributes:
        number: From 1, in order of id; it stands in every box of it.
        wanted: min_replicas and max_replicas.
    """

    number: int
    id: str
    model: str
    stage: str
    wanted: tuple[int, int]
    is_frozen: bool = False
    misfits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One summand of the objective."""

    name: str
    weight: float
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFacts:
    """What is known of the plan in force.

    Attributes:
        name: Its round; "" before the first.
        moves: One line each, as `placement plan` writes them.
        made: When, ISO 8601.
        took: How long the solve took, in words.
    """

    name: str
    base_revision: int
    epoch: int
    status: str
    solver: str
    objective: float
    bound: float
    gap: float
    terms: tuple[Term, ...]
    misfits: tuple[str, ...]
    moves: tuple[str, ...]
    trigger: str
    made: str
    took: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Work wanted now and served by what runs, (served, wanted) in engine-ms per second."""

    online: tuple[float, float]
    deadline: tuple[float, float]
    offline: tuple[float, float]
    price_per_hour: float = 0.0  # of the devices used; 0: no price is set


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """All that the page shows.

    Attributes:
        drawn: When it was asked for, ISO 8601.
        revision: Of the state then.
        notes: What an operator should know before all else: the fleet is frozen, a round failed.
        service: What is served of what is wanted; None: not known.
    """

    drawn: str
    revision: int
    hosts: tuple[Host, ...]
    rows: tuple[Row, ...]
    plan: PlanFacts | None
    notes: tuple[str, ...] = ()
    service: Service | None = None

    @property
    def boxes(self) -> Iterator[Box]:
        """All replicas, node by node."""
        return (box for host in self.hosts for box in host.boxes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Nodes under one heading: of one failure domain and one group.

    Attributes:
        domain: "" for nodes that are each a failure domain of their own.
    """

    domain: str
    group: str
    hosts: tuple[Host, ...]


def clusters(hosts: Iterable[Host]) -> tuple[Cluster, ...]:
    """Nodes by failure domain, then group, then id, numbers in order of size.

    A node that is alone in a domain of its own name was given none: such nodes share a heading,
    since one heading each would tell nothing.
    """
    members: dict[tuple[str, str], list[Host]] = {}
    for host in hosts:
        domain = "" if host.domain in ("", host.id) else host.domain
        members.setdefault((domain, host.group), []).append(host)
    return tuple(
        Cluster(
            domain=domain,
            group=group,
            hosts=tuple(sorted(found, key=lambda host: natural(host.id))),
        )
        for (domain, group), found in sorted(
            members.items(), key=lambda item: (natural(item[0][0]), natural(item[0][1]))
        )
    )


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A key under which n2 comes before n10."""
    parts: list[tuple[int, int, str]] = []
    digits = ""
    for letter in [*name, ""]:
        if letter.isascii() and letter.isdigit():
            digits += letter
            continue
        if digits:
            parts.append((0, int(digits), ""))
            digits = ""
        if letter:
            parts.append((1, 0, letter))
    return tuple(parts)


def mean_headroom(boxes: Sequence[Box]) -> float | None:
    """Mean over replicas whose headroom is known; None where it is of none."""
    known = [room for box in boxes if (room := box.headroom) is not None]
    return sum(known) / len(known) if known else None
