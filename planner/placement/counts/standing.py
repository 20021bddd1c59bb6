"""How good counts are, tier by tier.

Owns the comparison of two answers and the numbers an answer is judged by. Refuses weights
across tiers: an earlier tier that differs decides, whatever the later ones say, so a
solver's weights only steer its search. Invariant: `is_better` is a strict order up to its
tolerance, so a search that only moves to better standings ends.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from planner.placement.counts.problem import Counts, Problem
from planner.placement.counts.programme import Part, Programme, nothing_placed
from planner.placement.counts.solver import Solution, solve_lp, solve_mip

RESERVE, SPARE = "reserve", "spare"
"""Of what is missing, no tiers: parts of the net cost."""

TIERS = ("replica", "tight", "online", "failover", "deadline", "fair", "spread")
"""Shortfalls, first the one that matters most; after them the net gain.

`tight` is online work of each deployment's tightest SLO class, `online` of all the others.
"""

V = TypeVar("V")

_TOLERANCE = 1e-5  # replica-equivalents: far below what any load is measured to
_NODES = 60  # of the search for modes alone; it mostly ends at its root
_GAP = 1e-5
_MODES_AT_ONCE = 300
"""Integers up to which modes of all deployments are decided at once: beyond, one deployment
after another took a third of the time at 5000 nodes and 100 deployments (measured)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Counts with the modes and the work that go with them.

    `shortfalls` are by tier, in replica-equivalents; `net` is what remains of the cost:
    loads, drops, nodes, devices and reserves given up, less weighted offline work; `cost` is
    all of it by the weights that steer the solver.
    """

    counts: Counts
    modes: Mapping[tuple[int, int], int]  # (shape, mode) -> replicas, where it has several
    online: Mapping[tuple[int, int, int], float]  # (shape, mode, class) -> work
    produced: Mapping[tuple[int, int], float]  # (shape, mode) -> offline work
    offline: Mapping[int, float]  # demand -> work
    missing: Mapping[str, Mapping[tuple[int, ...], float]] = field(default_factory=dict)
    shortfalls: tuple[float, ...] = ()
    net: float = 0.0
    cost: float = 0.0

    def is_better(self, other: "Standing", *, by: float = _TOLERANCE) -> bool:
        """Whether this one wins in the first tier that differs; in the last, by more than `by`."""
        for mine, theirs in zip(self.shortfalls, other.shortfalls, strict=True):
            if abs(mine - theirs) > _TOLERANCE:
                return mine < theirs
        return self.net < other.net - by

    def gap(self, bound: float) -> float:
        """By how much of its own size it may be worse than the best there is."""
        return max(0.0, self.cost - bound) / max(1.0, abs(self.cost))

    @property
    def has_shortfall(self) -> bool:
        """Whether anything is short that comes before offline work."""
        return any(short > _TOLERANCE for short in self.shortfalls)


def standing_of(problem: Problem, counts: Counts, *, near: Standing | None = None) -> Standing:
    """The best modes and work for counts as they are.

    Args:
        problem: All of it.
        counts: By (cell, shape).
        near: Of other counts of the same problem; where half of the deployments or fewer
            differ, only those are decided, beside the others' offline work.

    Raises:
        SolverError: The solver failed.
    """
    if near is not None:
        changed = _changed(problem, near.counts, counts)
        if len(changed) <= len(problem.wanted) / 2:
            return _one_by_one(problem, counts, changed, near)
    programme = Programme(problem, nothing_placed(problem), counts=counts)
    if len(programme.r) <= _MODES_AT_ONCE:
        return merged(problem, programme, _solved(programme), None, counts)
    # Deployments share nothing here but tenants' quotas and fair shares: one after another,
    # beside the others' offline work as the relaxation has it, they are decided faster and
    # better than all at once within its nodes.
    relaxed = solve_lp(programme.sparse.proto(is_relaxed=True))
    found = merged(problem, programme, relaxed, None, counts)
    return _one_by_one(problem, counts, range(len(problem.wanted)), found)


def _one_by_one(
    problem: Problem, counts: Counts, deployments: Iterable[int], found: Standing
) -> Standing:
    """The standing once each of the deployments has been decided beside the others."""
    for d in deployments:
        part = Part(deployments=(d,), cells=frozenset())
        programme = Programme(problem, part, counts=counts, offline=found.offline)
        found = merged(problem, programme, _solved(programme), found, counts)
    return found


def _changed(problem: Problem, before: Counts, now: Counts) -> list[int]:
    """Deployments whose counts differ."""
    keys = [key for key in {**before, **now} if before.get(key, 0) != now.get(key, 0)]
    return sorted({problem.shapes[q].deployment for _, q in keys})


def _solved(programme: Programme) -> Solution:
    if not programme.r:
        return solve_lp(programme.sparse.proto())
    return solve_mip(programme.sparse.proto(), node_limit=_NODES, relative_gap=_GAP)


def flow_of(problem: Problem, counts: Counts, modes: Mapping[tuple[int, int], int]) -> Standing:
    """The best work for counts and modes as they are; only tiers of work are judged.

    Args:
        problem: All of it.
        counts: By (cell, shape).
        modes: Replicas by (shape, mode); those of a shape sum to its counts.

    Raises:
        SolverError: The solver failed.
    """
    programme = Programme(problem, nothing_placed(problem), counts=counts, modes=modes)
    solution = solve_lp(programme.sparse.proto())
    return replace(merged(problem, programme, solution, None, counts), modes=dict(modes))


def merged(
    problem: Problem,
    programme: Programme,
    solution: Solution,
    before: Standing | None,
    counts: Counts,
) -> Standing:
    """The standing after a part was decided: the part's answer, and the rest as before.

    Args:
        problem: All of it.
        programme: The part.
        solution: Its answer.
        before: The rest; None where the part is all.
        counts: Of all, before the part was decided.
    """
    values = solution.values
    new_counts = dict(counts)
    for key, column in programme.n.items():
        count = round(values[column])
        if count:
            new_counts[key] = count
        else:
            new_counts.pop(key, None)
    shapes = {q for d in programme.part.deployments for q in problem.shapes_of(d)}
    modes = _rest(before.modes if before else {}, shapes)
    modes |= {key: round(values[column]) for key, column in programme.r.items()}
    online = {k: v for k, v in (before.online if before else {}).items() if k[0] not in shapes}
    online |= {key: values[column] for key, column in programme.x.items()}
    produced = _rest(before.produced if before else {}, shapes)
    produced |= {key: values[column] for key, column in programme.y.items()}
    offline = dict(before.offline) if before else {}
    offline |= {j: values[column] for j, column in programme.o.items()}
    missing = _missing(programme, values, before, offline)
    unpinned = _unpinned(problem, new_counts)
    shortfalls = _shortfalls(missing, unpinned=unpinned)
    net = _net(problem, new_counts, offline)
    net += problem.weights.reserve * sum(missing[RESERVE].values())
    net += problem.weights.spare * sum(missing[SPARE].values())
    return Standing(
        counts=new_counts,
        modes=modes,
        online=online,
        produced=produced,
        offline=offline,
        missing=missing,
        shortfalls=shortfalls,
        net=net,
        cost=net + _weighted(problem, missing) + problem.weights.replica * unpinned,
    )


def _rest(known: Mapping[tuple[int, int], V], shapes: set[int]) -> dict[tuple[int, int], V]:
    return {key: value for key, value in known.items() if key[0] not in shapes}


def _missing(
    programme: Programme,
    values: Sequence[float],
    before: Standing | None,
    offline: Mapping[int, float],
) -> dict[str, dict[tuple[int, ...], float]]:
    problem = programme.problem
    decided = set(programme.part.deployments)
    missing: dict[str, dict[tuple[int, ...], float]] = {
        tier: {} for tier in (*TIERS, RESERVE, SPARE) if tier != "tight"
    }
    if before is not None:
        for tier, shorts in before.missing.items():
            for key, short in shorts.items():
                owner = problem.offline[key[0]].deployment if tier == "deadline" else key[0]
                if tier != "fair" and owner not in decided:
                    missing[tier][key] = short
    for tier, columns in programme.short.items():
        for key, column in columns.items():
            if tier != "fair":
                missing[tier][key] = max(0.0, values[column])
    for index, entitled in enumerate(problem.tenants):
        if entitled.fair > 0.0:
            got = sum(
                problem.offline[j].claim * work
                for j, work in offline.items()
                if problem.offline[j].tenant == index
            )
            missing["fair"][index,] = max(0.0, entitled.fair - got)
    return missing


def _unpinned(problem: Problem, counts: Counts) -> float:
    """Replicas short of what pins and freezes ask for."""
    return float(sum(max(0, least - counts.get(key, 0)) for key, least in problem.least.items()))


def _shortfalls(
    missing: Mapping[str, Mapping[tuple[int, ...], float]], *, unpinned: float
) -> tuple[float, ...]:
    found = dict.fromkeys(TIERS, 0.0)
    found["replica"] = unpinned
    for tier, shorts in missing.items():
        if tier in (RESERVE, SPARE):
            continue
        for key, short in shorts.items():
            is_tight = tier == "online" and key[1] == 0
            found["tight" if is_tight else tier] += short
    return tuple(found[tier] for tier in TIERS)


def _weighted(problem: Problem, missing: Mapping[str, Mapping[tuple[int, ...], float]]) -> float:
    weights = problem.weights
    factors = {
        "replica": weights.replica,
        "failover": weights.failover,
        "deadline": weights.deadline,
        "fair": weights.fair,
        "spread": weights.spread,
    }
    cost = sum(factors[tier] * sum(missing.get(tier, {}).values()) for tier in factors)
    for (d, k), short in missing.get("online", {}).items():
        cost += weights.online * problem.wanted[d].classes[k].weight * short
    return cost


def _net(problem: Problem, counts: Counts, offline: Mapping[int, float]) -> float:
    weights = problem.weights
    gained = sum(problem.offline[j].weight * work for j, work in offline.items())
    cost = -weights.offline * gained
    used: dict[int, int] = {}
    for (c, q), count in counts.items():
        shape = problem.shapes[q]
        cost += shape.load_cost * max(0, count - problem.held.get((c, q), 0))
        used[c] = used.get(c, 0) + count * shape.slots
    for key, held in problem.held.items():
        cost += weights.drop * max(0, held - counts.get(key, 0))
    for c, slots in used.items():
        cell = problem.cells[c]
        cost += cell.use_cost * slots / cell.slots
    return cost
