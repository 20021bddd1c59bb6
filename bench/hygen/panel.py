"""All of one slice: the floor, the ceiling, every policy in every cell, and the bound.

Owns what is run for a slice and in which order. Refuses sums over slices (`figures`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.hygen.bounds import Bounded, bounded
from bench.hygen.cells import Cell, Judged, judge
from bench.hygen.pool import Pool, Seen
from bench.hygen.settings import Spec
from planner.batching.state import Budgets
from planner.replay.policies import policy_named

CHUNKS = (128, 256, 512, 1024, 2048)  # of the ceiling; the best of them is it
TUNED = ("rate-cap", "hygen", "cap", "qoserve", "slacktide")
COMPARED = ("hygen", "slacktide")  # of which figures tell what share of a bound they did
AS_THEY_ARE = ("blind-hybrid", "sglang-priority")  # they know no SLO


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """What a slice came to.

    Attributes:
        spec: The slice.
        floor: Online alone.
        ceiling: The batch alone, at its best chunk.
        judged: By policy and cell.
        bounds: Of the loosest cell of each SLO, every policy that keeps it.
        replays: How many were run.
    """

    spec: Spec
    floor: Seen
    ceiling: Seen
    judged: tuple[Judged, ...]
    bounds: tuple[Bounded, ...]
    replays: int

    def of(self, policy: str, cell: Cell) -> Judged | None:
        """A policy in a cell; None where it was not run."""
        for judged in self.judged:
            if judged.policy == policy and judged.cell == cell:
                return judged
        return None


def run_panel(
    spec: Spec, *, policies: Sequence[str], cells: Sequence[Cell], has_bounds: bool
) -> Panel:
    """Replays the slice under each policy, tuned for each cell.

    Args:
        spec: The slice.
        policies: By name, of TUNED and AS_THEY_ARE.
        cells: SLOs; of one metric the loosest first, so that a search begins where the one
            before it ended.
        has_bounds: Whether to bound what could have been done.
    """
    pool = Pool(spec.scenario())
    floor = pool.see(policy_named("online-only", budgets=Budgets()))
    ceiling = max(
        (pool.see(policy_named(f"offline-only:{chunk}", budgets=Budgets())) for chunk in CHUNKS),
        key=lambda seen: seen.probe.offline_tokens_per_s,
    )
    judged = tuple(
        judge(pool, cell, policy, floor=floor.probe) for policy in policies for cell in cells
    )
    loosest = max(cell.tolerance_ratio for cell in cells)
    bounds = tuple(
        bounded(
            spec,
            j.seen.choice,
            policy=j.policy,
            slo=j.cell.name,
            asks_no_worse=j.policy in COMPARED,
        )
        for j in judged
        if has_bounds and j.keeps_slo and j.cell.tolerance_ratio == loosest
    )
    return Panel(
        spec=spec,
        floor=floor,
        ceiling=ceiling,
        judged=judged,
        bounds=bounds,
        replays=len(pool),
    )
