"""Drifting rounds: chains that carry their own placements.

Owns two chains over the same demands, from the same plan: the solver's, which solves every
round within its seconds, and the fair sticky greedy's. Both may add the same share of
their replicas a round. Refuses to choose rounds: all are counted.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

from bench.placement.baselines import STICKY, run_baseline
from bench.placement.board import Counts, lay_out, modes_of_plan, running
from bench.placement.bounds import bound_of
from bench.placement.contestants import committed, incumbents, settled
from bench.placement.drift import STEP, drifting
from bench.placement.evaluate import Worth, evaluate
from bench.placement.fairness import entitled
from bench.placement.linear import SHORTFALLS
from bench.placement.sessions import objections
from bench.placement.solving import Search, solve_apart
from planner.model import Plan, Snapshot

MOVED_RATIO = 0.05
"""Replicas that a round may add, of those that run."""
_NO_SHORTFALL = 1e-3  # device-equivalents


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round of both chains.

    Attributes:
        ours: The solver's placement, after the round.
        theirs: The greedy's.
        as_it_was: The solver's placement before the round, at the round's demand.
        published: Ours in the modes it says.
        gap: Of that to the relaxation's bound beside its shortfalls, within the moves.
        wall_s: When our plan came.
        objections: Against our plan.
    """

    ours: Worth
    theirs: Worth
    published: Worth
    as_it_was: Worth
    gap: float
    wall_s: float
    objections: Sequence[str]

    @property
    def verdict(self) -> int:
        """1 where ours is less short in the first tier that differs, -1 where theirs, else 0."""
        for tier in SHORTFALLS:
            more = self.ours.short[tier] - self.theirs.short[tier]
            if abs(more) > _NO_SHORTFALL:
                return 1 if more < 0.0 else -1
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """All rounds of one instance."""

    name: str
    rounds: Sequence[Round]

    @property
    def offline_gain(self) -> float:
        """Weighted offline work over the greedy's, all rounds, minus 1."""
        theirs = sum(one.theirs.offline for one in self.rounds)
        return sum(one.ours.offline for one in self.rounds) / theirs - 1.0 if theirs else 0.0

    @property
    def like_gain(self) -> float | None:
        """The same of rounds with equal shortfalls; None where there is none."""
        like = [one for one in self.rounds if one.verdict == 0]
        theirs = sum(one.theirs.offline for one in like)
        return sum(one.ours.offline for one in like) / theirs - 1.0 if theirs else None

    @property
    def loads_ratio(self) -> float:
        """Model loads over the greedy's, all rounds."""
        return sum(one.ours.loads for one in self.rounds) / max(
            1, sum(one.theirs.loads for one in self.rounds)
        )

    def added_short(self) -> dict[str, float]:
        """Shortfall more than the greedy's, by tier, all rounds; less is negative."""
        return {
            tier: sum(one.ours.short[tier] - one.theirs.short[tier] for one in self.rounds)
            for tier in SHORTFALLS
        }

    def as_values(self) -> dict[str, Any]:
        """JSON-like."""
        return asdict(self)


def run_chain(
    name: str,
    snapshot: Snapshot,
    plan: Plan,
    *,
    seed: int,
    rounds: int,
    seconds: float,
    step: float = STEP,
    search: Search = incumbents,
) -> Chain:
    """Runs both chains for so many rounds from a plan of the snapshot."""
    ours = committed(snapshot, plan)
    theirs = lay_out(snapshot).count(settled(plan))
    found: list[Round] = []
    for demand in islice(drifting(snapshot, seed=seed, step=step), rounds):
        ours, theirs, one = _round(ours, theirs, demand, seconds=seconds, search=search)
        found.append(one)
    return Chain(name=name, rounds=tuple(found))


def _round(
    ours: Snapshot, theirs: Counts, demand: Snapshot, *, seconds: float, search: Search
) -> tuple[Snapshot, Counts, Round]:
    now = replace(demand, revision=ours.revision, allocations=ours.allocations)
    now = replace(now, max_moves=_most_moves(len(running(now))))
    board = entitled(lay_out(now))
    before = board.count(running(now))
    solve = solve_apart(now, seconds=seconds, search=search)
    greedy_board = replace(board, snapshot=replace(now, max_moves=_most_moves(int(theirs.sum()))))
    after, their_worth = run_baseline(greedy_board, STICKY, before=theirs)
    as_it_was = evaluate(board, before, before=before)
    if solve.incumbents:
        plan = solve.incumbents[-1].plan
        counts = board.count(settled(plan))
        modes = modes_of_plan(board, settled(plan))
        worth = evaluate(board, counts, before=before)
        published = evaluate(board, counts, before=before, modes=modes)
        against = objections(board, now, plan, before=before)
        ours = committed(now, plan)
    else:  # nothing to adopt: what runs goes on
        worth = published = as_it_was
        against = ["no plan", solve.failure]
    bound = bound_of(board, published.short, before=before).offline
    one = Round(
        ours=worth,
        theirs=their_worth,
        published=published,
        as_it_was=as_it_was,
        gap=max(0.0, bound - published.offline) / bound if bound > 0.0 else 0.0,
        wall_s=solve.incumbents[-1].wall_s if solve.incumbents else float("inf"),
        objections=tuple(against),
    )
    return ours, after, one


def _most_moves(replicas: int) -> int:
    return max(2, int(MOVED_RATIO * replicas))
