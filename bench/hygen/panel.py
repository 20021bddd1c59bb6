"""All of one slice: the floor, the ceiling, every policy in every cell, and the bound.

Owns what is run for a slice and in which order. Refuses sums over slices (`figures`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import process_time

from bench.hygen.bounds import Bounded, bounded
from bench.hygen.cells import Cell, Judged, judge
from bench.hygen.pool import Pool, Seen
from bench.hygen.settings import Spec
from planner.batching.state import Budgets
from planner.replay.policies import policy_named
from planner.replay.scenario import Scenario

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
        bounds: Of every policy in every cell, once for equal settings.
        replays: How many were run.
        speed: Simulated seconds a second of processor time, of Slacktide beside a batch; None:
            not asked. Others on the machine slow it: they share caches and clocks.
    """

    spec: Spec
    floor: Seen
    ceiling: Seen
    judged: tuple[Judged, ...]
    bounds: tuple[Bounded, ...]
    replays: int
    speed: float | None = None

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
    bounds: tuple[Bounded, ...] = ()
    if has_bounds:
        found = {(j.policy, j.seen.choice.name, j.seen.choice.budgets): j for j in reversed(judged)}
        bounds = tuple(
            bounded(
                spec,
                j.seen.choice,
                policy=j.policy,
                slo=j.cell.name,
                asks_no_worse=j.policy in COMPARED and j.cell.tolerance_ratio == loosest,
            )
            for j in found.values()
        )
    return Panel(
        spec=spec,
        floor=floor,
        ceiling=ceiling,
        judged=judged,
        bounds=bounds,
        replays=len(pool),
        speed=_speed(pool.scenario) if has_bounds and "slacktide" in policies else None,
    )


def _speed(scenario: Scenario) -> float:
    began_s = process_time()
    scenario.run(policy_named("slacktide", budgets=Budgets()), keeps_traces=False)
    return (scenario.settle_s + scenario.duration_s) / (process_time() - began_s)
