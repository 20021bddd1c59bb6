"""One instance: all contestants, judged.

Owns the order: the solver apart, then bounds beside its shortfalls, then baselines, so that
nothing runs beside a solve that is timed. Refuses tables.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.placement.baselines import BASELINES, run_baseline
from bench.placement.board import Board, Counts, lay_out, modes_of_plan, running
from bench.placement.bounds import bound_of, domain_bound_of, integer_bound_of, relaxed
from bench.placement.contestants import incumbents, refusals, settled
from bench.placement.evaluate import Worth, evaluate, violations
from bench.placement.fairness import entitled
from bench.placement.linear import SHORTFALLS
from bench.placement.solving import Incumbent, Search, Solve, solve_apart
from planner.model import Plan, Snapshot

TOLERANCE = 1e-4  # of a shortfall, device-equivalents: below, tiers are equal
_FEW_NODES = 60  # up to here integers in every domain bound better
_JUDGED = 40  # incumbents judged at the most, evenly over the solve


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An incumbent, judged."""

    wall_s: float
    cpu_s: float
    worth: Worth


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A baseline, judged."""

    wall_s: float
    worth: Worth


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What one instance showed.

    Attributes:
        name: Of the instance.
        steps: Incumbents in order, in the modes they say; empty where there was no plan.
        compared: The last one's worth in the modes that serve best, as rivals' is.
        linear: Bound by relaxation on offline work beside the last step's shortfalls.
        integral: The same by whole replicas and modes; the best of all bounds.
        least: Shortfalls that the relaxation cannot avoid.
        rivals: Baselines, by name.
        objections: Against the last plan, the product's verifier's and the referee's.
        own_objective: The last plan's objective by the product.
        own_bound: The last plan's bound by the product.
    """

    name: str
    steps: Sequence[Step]
    compared: Worth | None
    linear: float
    integral: float
    least: Mapping[str, float]
    rivals: Mapping[str, Rival]
    objections: Sequence[str]
    own_objective: float
    own_bound: float
    solve_s: float
    peak_bytes: int
    failure: str

    @property
    def last(self) -> Worth | None:
        """The last plan's worth."""
        return self.steps[-1].worth if self.steps else None

    @property
    def first_s(self) -> float:
        """When the first plan came that places anything: keeping an empty fleet is none."""
        placing = (step.cpu_s for step in self.steps if step.worth.replicas > 0)
        return next(placing, float("inf"))

    def gap(self, offline: float, *, is_integral: bool = False) -> float:
        """By how much weighted offline work misses the bound, relative to the bound."""
        bound = self.integral if is_integral else self.linear
        return max(0.0, bound - offline) / bound if bound > 0.0 else 0.0

    def gap_at(self, seconds: float, *, is_integral: bool = False) -> float:
        """The gap of the best plan by then; infinite where none keeps the earlier tiers."""
        known = [
            self.gap(step.worth.offline, is_integral=is_integral)
            for step in self.steps
            if step.cpu_s <= seconds and self._keeps_tiers(step.worth)
        ]
        return min(known, default=float("inf"))

    def seconds_to(self, gap_ratio: float, *, is_integral: bool = False) -> float:
        """When the gap was first so small; infinite where never."""
        for step in self.steps:
            if (
                self._keeps_tiers(step.worth)
                and self.gap(step.worth.offline, is_integral=is_integral) <= gap_ratio
            ):
                return step.cpu_s
        return float("inf")

    def _keeps_tiers(self, worth: Worth) -> bool:
        last = self.last
        return last is not None and is_no_shorter(worth, last)

    def as_values(self) -> dict[str, Any]:
        """JSON-like."""
        return asdict(self)


def is_no_shorter(worth: Worth, than: Worth) -> bool:
    """Whether no tier before offline work is short of more."""
    return all(worth.short[tier] <= than.short[tier] + TOLERANCE for tier in SHORTFALLS)


def run_session(
    name: str,
    snapshot: Snapshot,
    *,
    seconds: float,
    bound_seconds: float,
    baselines: Sequence[str] = BASELINES,
    search: Search = incumbents,
) -> tuple[Session, Plan | None]:
    """Runs all contestants on an instance; the last plan besides.

    Args:
        name: Of the instance.
        snapshot: It.
        seconds: For the solver.
        bound_seconds: For the bound by integers.
        baselines: Which.
        search: The solver.
    """
    board = entitled(lay_out(snapshot))
    before = board.count(running(snapshot))
    solve = solve_apart(snapshot, seconds=seconds, search=search)
    steps = judged(board, solve, before=before)
    plan = solve.incumbents[-1].plan if solve.incumbents else None
    least = relaxed(board, before=before).short
    short = steps[-1].worth.short if steps else least
    linear = bound_of(board, short, before=before).offline
    whole = _integral(board, short, seconds=bound_seconds, before=before)
    rivals = {}
    for baseline in baselines:
        began = time.perf_counter()
        _, worth = run_baseline(board, baseline, before=before)
        rivals[baseline] = Rival(wall_s=time.perf_counter() - began, worth=worth)
    session = Session(
        name=name,
        steps=steps,
        compared=(evaluate(board, board.count(settled(plan)), before=before) if plan else None),
        linear=linear,
        integral=min(linear, whole),
        least=dict(least),
        rivals=rivals,
        objections=objections(board, snapshot, plan, before=before),
        own_objective=plan.objective if plan else float("nan"),
        own_bound=plan.bound if plan else float("nan"),
        solve_s=solve.wall_s,
        peak_bytes=solve.peak_bytes,
        failure=solve.failure,
    )
    return session, plan


def _integral(board: Board, short: Mapping[str, float], *, seconds: float, before: Counts) -> float:
    """The best bound by integers; small fleets get more than one."""
    found = [integer_bound_of(board, short, seconds=seconds, before=before)]
    if len(board.kind) <= _FEW_NODES:
        found += [
            domain_bound_of(
                board, short, seconds=seconds, before=before, has_whole_modes=has_whole_modes
            )
            for has_whole_modes in (False, True)
        ]
    return min(bound.offline for bound in found)


def judged(board: Board, solve: Solve, *, before: Counts) -> list[Step]:
    """Incumbents with their worth: the first, the last, and evenly between."""
    return [
        Step(
            wall_s=one.wall_s,
            cpu_s=one.cpu_s,
            worth=evaluate(
                board,
                board.count(settled(one.plan)),
                before=before,
                modes=modes_of_plan(board, settled(one.plan)),
            ),
        )
        for one in _some(solve.incumbents)
    ]


def objections(board: Board, snapshot: Snapshot, plan: Plan | None, *, before: Counts) -> list[str]:
    """What the product's verifier and the referee have against a plan."""
    if plan is None:
        return ["no plan"]
    placed = settled(plan)
    seen: set[tuple[str, int]] = set()
    twice = []
    for one in placed:
        for device in one.devices:
            if (one.node, device) in seen:
                twice.append(f"{one.node}: device {device} given twice")
            seen.add((one.node, device))
    return [
        *refusals(snapshot, plan),
        *violations(board, board.count(placed), before=before),
        *twice,
    ]


def _some(found: Sequence[Incumbent]) -> list[Incumbent]:
    if len(found) <= _JUDGED:
        return list(found)
    last = len(found) - 1
    chosen = sorted({round(number * last / (_JUDGED - 1)) for number in range(_JUDGED)})
    return [found[number] for number in chosen]
