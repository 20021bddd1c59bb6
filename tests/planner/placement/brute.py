"""The best placement of a tiny fleet, by trying all of them.

Shares nothing with the planner but the domain's values. A placement is how many replicas of
each (deployment, TP size) each node holds; every division of replicas over SLO modes is
tried besides, in whole replicas. Tiers, each before the next:

    replicas below min_replicas
    online work not served, tightest class first
    what the loss of the worst failure domain leaves unserved, tightest class first,
        offline work shed and replicas in whatever mode they then need
    work of deadlines not done
    weighted offline work, within quotas (the more the better)

Work counts in thousands of engine-ms per second. Loads, drops and free nodes are not judged.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from scipy.optimize import linprog

from planner.model import OFFLINE_ONLY, Deployment, Frontier, Node, Placement, Snapshot

_TIER = 1e4  # between the tiers of one small programme; curves are far less steep


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Score:
    """Tiers in order; smaller is better."""

    replicas: float
    online: tuple[float, ...]
    failover: tuple[float, ...]
    deadlines: float
    cost: float  # minus weighted offline work

    @property
    def offline(self) -> float:
        """Weighted offline work."""
        return -self.cost

    @property
    def shorts(self) -> tuple[float, ...]:
        """All but offline work."""
        return (self.replicas, *self.online, *self.failover, self.deadlines)

    @property
    def is_short(self) -> bool:
        """Whether anything is short of what comes before offline work."""
        return any(short > 1e-6 for short in self.shorts)

    def is_as_good_as(self, other: "Score", *, tolerance: float) -> bool:
        """Whether no tier is worse before one is better."""
        mine, theirs = (*self.shorts, self.cost), (*other.shorts, other.cost)
        for a, b in zip(mine, theirs, strict=True):
            if abs(a - b) > tolerance:
                return a < b
        return True


Shape = tuple[int, str, int]
"""Deployment's index, device type, devices of a replica."""

Held = tuple[tuple[Shape, ...], ...]
"""Shapes of the replicas on each node, sorted."""


class Brute:
    """All placements of a snapshot, scored; only for a handful of devices."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._curves = {
            (f.deployment, f.device_type, f.tensor_parallel_size, f.slo_class): f.frontier
            for f in snapshot.frontiers
        }
        self._domains = [node.failure_domain for node in snapshot.nodes]
        self._carried = cache(self._carry)
        self._left = cache(self._survive)
        self._done = cache(self._do_batches)

    def placements(self) -> Iterator[Held]:
        """Every placement, nodes alike being interchangeable."""
        groups: dict[tuple[object, ...], list[int]] = {}
        for number, node in enumerate(self.snapshot.nodes):
            groups.setdefault((_alike(node), node.failure_domain), []).append(number)
        choices = [
            list(
                itertools.combinations_with_replacement(
                    list(self._fillings(self.snapshot.nodes[own[0]])), len(own)
                )
            )
            for own in groups.values()
        ]
        for chosen in itertools.product(*choices):
            held: list[tuple[Shape, ...]] = [()] * len(self.snapshot.nodes)
            for own, fillings in zip(groups.values(), chosen, strict=True):
                for number, filling in zip(own, fillings, strict=True):
                    held[number] = filling
            if self._is_allowed(held):
                yield tuple(held)

    def best(self) -> tuple[Held, Score]:
        """The best placement and its score."""
        return min(((held, self.score(held)) for held in self.placements()), key=lambda p: p[1])

    def held(self, placements: Sequence[Placement]) -> Held:
        """A plan's placements as shapes by node."""
        index = {one.id: number for number, one in enumerate(self.snapshot.deployments)}
        found: list[list[Shape]] = [[] for _ in self.snapshot.nodes]
        names = [node.id for node in self.snapshot.nodes]
        for one in placements:
            number = names.index(one.node)
            kind = self.snapshot.nodes[number].devices[0].device_type
            found[number].append((index[one.deployment], kind, len(one.devices)))
        return tuple(tuple(sorted(shapes)) for shapes in found)

    def score(self, held: Held) -> Score:
        """The tiers of a placement."""
        every = [shape for shapes in held for shape in shapes]
        short, room = [], []
        failover: list[tuple[float, ...]] = []
        missing = 0.0
        for d, deployment in enumerate(self.snapshot.deployments):
            own = tuple(sorted(shape for shape in every if shape[0] == d))
            missing += max(0, deployment.min_replicas - len(own))
            unserved, offline = self._carried(d, own)
            short.append(unserved)
            room.append(round(offline, 9))
            failover.append(
                max(
                    self._left(
                        d,
                        tuple(
                            sorted(
                                shape
                                for shapes, domain in zip(held, self._domains, strict=True)
                                for shape in shapes
                                if shape[0] == d and domain != lost
                            )
                        ),
                    )
                    for lost in sorted(set(self._domains))
                )
            )
        late, value = self._done(tuple(room))
        return Score(
            replicas=missing,
            online=_summed(short),
            failover=_summed(failover),
            deadlines=late,
            cost=-value,
        )

    def _fillings(self, node: Node) -> Iterator[tuple[Shape, ...]]:
        kind = node.devices[0].device_type
        memory = node.devices[0].memory_bytes
        shapes = [
            (d, kind, size)
            for d, one in enumerate(self.snapshot.deployments)
            for size in one.tensor_parallel_sizes
            if one.bytes_per_device_of(size) <= memory
            and (not one.device_types or kind in one.device_types)
        ]
        for count in range(len(node.devices) + 1):
            for filling in itertools.combinations_with_replacement(shapes, count):
                host = sum(self.snapshot.deployments[s[0]].host_memory_bytes for s in filling)
                if sum(s[2] for s in filling) <= len(node.devices) and (
                    not node.host_memory_bytes or host <= node.host_memory_bytes
                ):
                    yield filling

    def _is_allowed(self, held: Sequence[tuple[Shape, ...]]) -> bool:
        counts = [0] * len(self.snapshot.deployments)
        for shapes in held:
            for shape in shapes:
                counts[shape[0]] += 1
        return all(
            count <= one.max_replicas
            for count, one in zip(counts, self.snapshot.deployments, strict=True)
        )

    def _modes(self, d: int, shape: Shape) -> list[tuple[int, Frontier]]:
        """(first class served, curve); past the last class: offline only."""
        one = self.snapshot.deployments[d]
        ranked = [(rank, cls.id) for rank, cls in enumerate(one.classes)]
        return [
            (rank, curve)
            for rank, slo_class in (*ranked, (len(ranked), OFFLINE_ONLY))
            if (curve := self._curves.get((one.id, shape[1], shape[2], slo_class))) is not None
        ]

    def _carry(self, d: int, own: tuple[Shape, ...]) -> tuple[tuple[float, ...], float]:
        """Online work unserved by class, and offline room beside it, over the best modes."""
        one = self.snapshot.deployments[d]
        by_shape = [
            list(itertools.combinations_with_replacement(self._modes(d, shape), own.count(shape)))
            for shape in sorted(set(own))
        ]
        found = []
        for chosen in itertools.product(*by_shape):
            modes = [mode for division in chosen for mode in division]
            found.append(_serve(one, modes))
        return min(found, key=lambda pair: (tuple(round(s, 7) for s in pair[0]), -pair[1]))

    def _survive(self, d: int, own: tuple[Shape, ...]) -> tuple[float, ...]:
        """Shares of demand that must survive, unserved by class; modes as they then serve best."""
        one = self.snapshot.deployments[d]
        wanted = [cls.failover_ratio * cls.online_work / 1000.0 for cls in one.classes]
        # Columns: replica i's share in class k, then what is short of each class.
        n, c = len(own), len(wanted)
        most = [
            [
                max(
                    (f.max_online_work for rank, f in self._modes(d, shape) if rank <= k),
                    default=0.0,
                )
                / 1000.0
                for k in range(c)
            ]
            for shape in own
        ]
        rows, limits = [], []
        for i in range(n):
            rows.append([1.0 if j // c == i else 0.0 for j in range(n * c)] + [0.0] * c)
            limits.append(1.0)
        for k in range(c):
            serving = [-most[j // c][k] if j % c == k else 0.0 for j in range(n * c)]
            rows.append(serving + [-1.0 if j == k else 0.0 for j in range(c)])
            limits.append(-wanted[k])
        cost = [0.0] * (n * c) + [_TIER ** (c - 1 - k) for k in range(c)]
        found = linprog(cost, A_ub=rows, b_ub=limits, bounds=[(0.0, None)] * (n * c + c))
        return tuple(float(value) for value in found.x[n * c :])

    def _do_batches(self, room: tuple[float, ...]) -> tuple[float, float]:
        """Work of deadlines left undone, and weighted work done, in so much room."""
        demands = self.snapshot.batches
        if not demands:
            return 0.0, 0.0
        index = {one.id: number for number, one in enumerate(self.snapshot.deployments)}
        n = len(demands)
        rows, limits = [], []
        for d, most in enumerate(room):
            rows.append([1.0 if index[b.deployment] == d else 0.0 for b in demands] + [0.0] * n)
            limits.append(most)
        for tenant in self.snapshot.tenants:
            if tenant.max_offline_work is not None:
                rows.append([1.0 if b.tenant == tenant.id else 0.0 for b in demands] + [0.0] * n)
                limits.append(tenant.max_offline_work / 1000.0)
        for j, batch in enumerate(demands):
            rows.append(
                [-1.0 if i == j else 0.0 for i in range(n)]
                + [-1.0 if i == j else 0.0 for i in range(n)]
            )
            limits.append(-batch.min_offline_work / 1000.0)
        cost = [-b.weight for b in demands] + [_TIER] * n
        bounds = [(0.0, b.offline_work / 1000.0) for b in demands] + [(0.0, None)] * n
        found = linprog(cost, A_ub=rows, b_ub=limits, bounds=bounds)
        done = found.x[:n]
        return (
            float(sum(found.x[n:])),
            float(sum(b.weight * z for b, z in zip(demands, done, strict=True))),
        )


def _serve(
    one: Deployment, modes: Sequence[tuple[int, Frontier]]
) -> tuple[tuple[float, ...], float]:
    """Online work unserved by class and most offline work of replicas in given modes."""
    c = len(one.classes)
    wanted = [cls.online_work / 1000.0 for cls in one.classes]
    # Columns: x[i,k] by replica and class, y[i], what is short of each class.
    n = len(modes)
    width = n * c + n + c
    rows: list[list[float]] = []
    limits: list[float] = []
    bounds: list[tuple[float, float | None]] = [(0.0, None)] * width

    def row(terms: dict[int, float], limit: float) -> None:
        made = [0.0] * width
        for column, factor in terms.items():
            made[column] += factor
        rows.append(made)
        limits.append(limit)

    for i, (rank, curve) in enumerate(modes):
        for k in range(c):
            if k < rank:
                bounds[i * c + k] = (0.0, 0.0)
        row({i * c + k: 1.0 for k in range(c)}, curve.max_online_work / 1000.0)
        for segment in curve.segments:
            terms = {i * c + k: segment.alpha for k in range(c)}
            row(terms | {n * c + i: segment.beta}, segment.gamma / 1000.0)
    for k in range(c):
        terms = {i * c + k: -1.0 for i in range(n)}
        row(terms | {n * c + n + k: -1.0}, -wanted[k])
    cost = [0.0] * (n * c) + [-1.0] * n + [_TIER ** (c - k) for k in range(c)]
    found = linprog(cost, A_ub=rows, b_ub=limits, bounds=bounds)
    short = tuple(float(value) for value in found.x[n * c + n :])
    return short, float(sum(found.x[n * c : n * c + n]))


def _alike(node: Node) -> tuple[object, ...]:
    return (tuple((d.device_type, d.memory_bytes) for d in node.devices), node.host_memory_bytes)


def _summed(values: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    width = max((len(value) for value in values), default=0)
    return tuple(
        round(sum(value[k] for value in values if k < len(value)), 7) for k in range(width)
    )
