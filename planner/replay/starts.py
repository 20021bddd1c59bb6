"""Where a search of Slacktide's budgets begins, from what online alone has on a slice.

Owns what is known of the budgets before anything was replayed. Refuses to search.
"""

from dataclasses import replace

from planner.batching.state import Budgets
from planner.interference.search import ProbeResult
from planner.interference.targets import LatencyTargets


def starting_budgets(floor: ProbeResult, targets: LatencyTargets) -> list[Budgets]:
    """Several points, with and without a credit, with many and few rows beside online ones.

    A pass may last about as long as the longest online alone has, and the credit is what the
    tightest target leaves of the mean gap. While nobody is online a pass may be long where no
    TTFT is limited, since it lengthens nothing else.

    Args:
        floor: Online alone on the slice.
        targets: What it must keep.
    """
    ratios = targets.ratios(ttft=floor.ttft, itl=floor.itl)
    room_ratio = max(0.01, 1.0 / max(ratios.values(), default=0.5) - 1.0)
    longest_ms = floor.itl.p99
    credit_ms = room_ratio * floor.itl.mean
    usual = Budgets(uncalibrated_ratio=1.0)  # the search sees what bounds come to

    def start(
        share: float, credit_ms: float, *, rows: int = usual.max_rows_beside_online
    ) -> Budgets:
        budget_ms = share * longest_ms
        return replace(
            usual,
            latency_budget_ms=budget_ms,
            idle_budget_ms=_idle_ms(budget_ms, targets=targets),
            gap_credit_ms=credit_ms,
            max_rows_beside_online=rows,
        )

    bursts = replace(
        start(1.5, 2.0 * credit_ms), kv_reserve_ratio=0.0, kv_reserve_ceiling_ratio=0.1
    )
    return [
        start(0.8, credit_ms),
        start(0.35, credit_ms),
        bursts,
        start(0.8, credit_ms, rows=4),
        start(0.8, 2.0 * credit_ms, rows=8),
        start(0.8, 0.0),
        start(0.8, 0.0, rows=3),
        start(0.35, 0.0, rows=3),
        start(1.5, 0.0, rows=8),
    ]


def _idle_ms(budget_ms: float, *, targets: LatencyTargets) -> float:
    """While nobody is online a pass lengthens nothing but the wait for a first token."""
    is_limited = any(
        limit_ms is not None
        for limit_ms in (targets.ttft_mean_ms, targets.ttft_p50_ms, targets.ttft_p99_ms)
    )
    return budget_ms if is_limited else max(budget_ms, Budgets().idle_budget_ms)


def single_budget(budget_ms: float, *, targets: LatencyTargets, age_share: float) -> Budgets:
    """One budget for all passes, next to no KV kept free, no other limit: what HyGen tunes.

    Args:
        budget_ms: Of a pass.
        targets: What online latencies must keep.
        age_share: As `Budgets.age_share`.
    """
    return Budgets(
        age_share=age_share,
        latency_budget_ms=budget_ms,
        idle_budget_ms=_idle_ms(budget_ms, targets=targets),
        kv_reserve_ratio=0.03,
        kv_burst_half_life_s=0.0,
        uncalibrated_ratio=1.0,
    )
