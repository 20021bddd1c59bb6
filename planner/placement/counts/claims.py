"""What each tenant is entitled to of the offline work a fleet can carry.

Owns the definition of a fair share. Refuses to place: shares are floors that the programme
keeps after deadlines and before weights decide what else is carried.

**Unit.** Work of different models takes devices for different times, so a tenant's claim
counts devices, not work: a replica-equivalent of deployment d claims `unit/e_d`, e_d the
most offline work that one device bears of it (its best shape and mode). `unit` is the value
of the dearest work a device can carry, so that by the weights a claim goes before it; less
where deadlines press on work of which a device bears little, which go before claims.

**Share.** Over the relaxation of the fleet with nothing running and no bound on moves,
earlier tiers at their best, the weighted max-min (water-filling by `Tenant.weight`, under
each tenant's demand and quota) of what tenants get: no tenant's can be raised but by
lowering that of one with no more by weight. It is a point of a convex set, hence unique
whatever solver finds it, moves little where demand does, and is no function of what runs
but where nodes take nothing new: solving again asks for the same shares. A tenant whose
models fit nowhere, or only in a corner that others fill too, is left at what that corner
bears and holds nobody else down.

    maximise level:  sum_{j of t} claim_j*o[j] >= weight_t*level       for each free t
                     sum_{j of t} claim_j*o[j] >= what t was left at   for all others

level by level: those who want no more are left at that; of the free ones, those who cannot
rise while all others stay are left at the level, and the rest go on. The floor is
`GUARANTEED` of the share.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf

from planner.placement.counts.merging import merged_cells
from planner.placement.counts.problem import Entitlement, Problem, Shape
from planner.placement.counts.programme import Programme, whole
from planner.placement.counts.solver import solve_lp

GUARANTEED = 0.5
"""Of the share in the relaxation. What is not guaranteed goes by the weights of batches, and
whole replicas do not reach all of the relaxation. Guarantees cost weighted offline work:
half costs up to 0.2 %, 0.8 up to 2.9 %, all of it 7 to 13 % (measured in the relaxation,
instances of 50x8, 50x40, 200x20 and 1000x50 of `bench/placement`)."""

_LEAST = 1e-6
_SAME = 1e-6  # relative difference of levels that is the solver's rounding
_RISE = 1e-3  # of a level: as much a tenant has to be able to rise to be held by nobody
_BEFORE_DEADLINES = 4.0  # claim of a unit of work at the most, where deadlines count 300
_MOST_SOLVES = 16


def with_fair_shares(problem: Problem, weights: Sequence[float]) -> Problem:
    """The problem with what each tenant is entitled to; as it is where fewer than two want.

    Args:
        problem: All of it; entitlements' quotas are read.
        weights: Of each tenant, by index; one of weight 0 is entitled to nothing.

    Raises:
        SolverError: The solver failed.
    """
    unit, claims = _claims(problem)
    claimed = replace(
        problem,
        offline=tuple(
            replace(one, claim=claim) for one, claim in zip(problem.offline, claims, strict=True)
        ),
    )
    caps = [_most(claimed, tenant) for tenant in range(len(problem.tenants))]
    wanting = [t for t, cap in enumerate(caps) if cap > _LEAST and weights[t] > 0.0]
    if len(wanting) < 2:
        return problem
    shares = _Filling(claimed, weights=weights, caps=caps, wanting=wanting).shares()
    return replace(
        claimed,
        claim_unit=unit,
        tenants=tuple(
            Entitlement(most=one.most, fair=GUARANTEED * share)
            for one, share in zip(problem.tenants, shares, strict=True)
        ),
    )


def device_work(shapes: Sequence[Shape]) -> float:
    """Most offline work one device bears of a deployment of these shapes; 0 for none."""
    return max((_alone(shape) / shape.slots for shape in shapes), default=0.0)


def _alone(shape: Shape) -> float:
    """Most offline work of one replica that serves nobody online."""
    limits = [
        min((gamma / beta for _, beta, gamma in mode.segments if beta > 0.0), default=0.0)
        for mode in shape.modes
    ]
    return max(limits, default=0.0)


def _claims(problem: Problem) -> tuple[float, list[float]]:
    """The unit, and what a replica-equivalent of each demand claims; 0 where it fits nowhere."""
    bears = [
        device_work([problem.shapes[q] for q in problem.shapes_of(d)])
        for d in range(len(problem.wanted))
    ]
    borne = [bears[one.deployment] for one in problem.offline]
    unit = max(
        (one.weight * work for one, work in zip(problem.offline, borne, strict=True)), default=0.0
    )
    pressing = [
        work for one, work in zip(problem.offline, borne, strict=True) if one.least > 0.0 < work
    ]
    unit = min([unit, *(_BEFORE_DEADLINES * work for work in pressing)])
    return unit, [unit / work if work > 0.0 else 0.0 for work in borne]


def _most(problem: Problem, tenant: int) -> float:
    """What a tenant can claim at the most: its demand within its quota, dearest first."""
    left = problem.tenants[tenant].most
    left = inf if left is None else left
    found = 0.0
    own = [one for one in problem.offline if one.tenant == tenant]
    for one in sorted(own, key=lambda one: -one.claim):
        taken = min(one.most, left)
        found += taken * one.claim
        left -= taken
    return found


@dataclass(slots=True, kw_only=True)
class _Level:
    """One solve: the level of the free, who can rise above it, and what is carried."""

    level: float
    risers: set[int]
    lacking: float
    got: dict[int, float] = field(default_factory=dict)


class _Filling:
    """The relaxation with a level that rises."""

    def __init__(
        self,
        problem: Problem,
        *,
        weights: Sequence[float],
        caps: Sequence[float],
        wanting: Sequence[int],
    ) -> None:
        bare = replace(
            problem,
            held={},
            max_moves=None,
            tenants=tuple(replace(one, fair=0.0) for one in problem.tenants),
        )
        merged, _ = merged_cells(bare)
        programme = Programme(merged, whole(merged), counts={})
        self._sparse = programme.sparse
        before = {
            column
            for tier in ("replica", "online", "failover", "deadline")
            for column in programme.short[tier].values()
        }
        for column in range(len(self._sparse.cost)):
            if column not in before:
                self._sparse.cost[column] = 0.0
        self._weights = weights
        self._caps = list(caps)
        self._wanting = list(wanting)
        self._solves = 0
        self._level = self._sparse.column(max(caps[t] / weights[t] for t in wanting))
        self._rise: dict[int, int] = {}
        self._short: dict[int, int] = {}
        self._free_row: dict[int, int] = {}
        self._left_row: dict[int, int] = {}
        self._own: dict[int, list[tuple[int, float]]] = {}
        for t in wanting:
            own = [
                (column, problem.offline[j].claim)
                for j, column in programme.o.items()
                if problem.offline[j].tenant == t
            ]
            self._own[t] = own
            self._rise[t] = self._sparse.column(0.0)
            self._short[t] = self._sparse.column(caps[t], cost=1.0)
            self._free_row[t] = len(self._sparse.row_lower)
            rising = [(self._level, -weights[t]), (self._rise[t], -1.0)]
            self._sparse.at_least([*own, *rising], 0.0)
            self._left_row[t] = len(self._sparse.row_lower)
            self._sparse.at_least([*own, (self._short[t], 1.0)], 0.0)

    def shares(self) -> list[float]:
        """Claims by tenant; 0 of those who want nothing."""
        shares = [0.0] * len(self._caps)
        for t in self._wanting:
            shares[t] = self._caps[t]
        found = self._solve(dict(enumerate(shares)), free=set(), step=0.0)
        if found.lacking <= _SAME * max(1.0, sum(shares)):
            return shares
        left: dict[int, float] = {}
        free = set(self._wanting)
        total = sum(found.got.values())
        while free:
            ordered = sorted(free, key=lambda t: (self._caps[t] / self._weights[t], t))
            held = sum(left.values())
            found, sated = self._filled(ordered, left, total=total - held)
            for t in ordered:
                shares[t] = min(self._caps[t], found.level * self._weights[t])
                if t in sated or t not in found.risers or self._solves >= _MOST_SOLVES:
                    left[t] = shares[t]
                    free.discard(t)
        return shares

    def _filled(
        self, ordered: Sequence[int], left: dict[int, float], *, total: float
    ) -> tuple[_Level, set[int]]:
        """The level at which the free stop, and those of them who want no more by then."""
        breaks = [self._caps[t] / self._weights[t] for t in ordered]
        guess = _level(total, ordered, caps=self._caps, weights=self._weights)
        low, high = 0, len(ordered)  # how many want no more
        count = min(high, sum(one <= guess for one in breaks))
        for _ in range(_MOST_SOLVES):
            sated = set(ordered[:count])
            rows = left | {t: self._caps[t] for t in sated}
            found = self._solve(rows, free=set(ordered) - sated, step=_RISE * guess)
            level = found.level if count < len(ordered) else inf
            if found.lacking > _SAME * max(1.0, sum(rows.values())) or (
                count and level < breaks[count - 1] * (1.0 - _SAME)
            ):
                high = count - 1
            elif count < len(ordered) and level >= breaks[count] * (1.0 - _SAME):
                low = count + 1
            else:
                break
            if low > high:
                break
            count = (low + high) // 2
        if count == len(ordered):
            found.level = breaks[-1]
        return found, set(ordered[:count])

    def _solve(self, left: dict[int, float], *, free: set[int], step: float) -> _Level:
        self._solves += 1
        sparse = self._sparse
        sparse.cost[self._level] = -max(1e-3, sum(self._weights[t] for t in free)) / 10.0
        for t in self._wanting:
            is_free = t in free
            sparse.row_lower[self._free_row[t]] = 0.0 if is_free else -inf
            sparse.row_lower[self._left_row[t]] = 0.0 if is_free else left.get(t, 0.0)
            sparse.upper[self._rise[t]] = step * self._weights[t] if is_free else 0.0
            sparse.cost[self._rise[t]] = -1e-3
        values = solve_lp(sparse.proto(is_relaxed=True)).values
        return _Level(
            level=values[self._level],
            risers={t for t in free if values[self._rise[t]] > 0.5 * step * self._weights[t] > 0.0},
            lacking=sum(values[column] for column in self._short.values()),
            got={
                t: sum(values[column] * claim for column, claim in own)
                for t, own in self._own.items()
            },
        )


def _level(
    total: float, ordered: Sequence[int], *, caps: Sequence[float], weights: Sequence[float]
) -> float:
    """The level at which `total` is filled in; `ordered` by cap over weight."""
    rest = max(0.0, total)
    whole_weight = sum(weights[t] for t in ordered)
    for t in ordered:
        level = rest / whole_weight
        if caps[t] >= level * weights[t]:
            return level
        rest -= caps[t]
        whole_weight -= weights[t]
        if whole_weight <= 0.0:
            break
    return caps[ordered[-1]] / weights[ordered[-1]]
