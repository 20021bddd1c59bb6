"""Random live budgets, so that offline rows are parked, resumed, capped and evicted.

Budgets are extreme rather than tuned: 0, a few milliseconds, seconds. What they make the
planner do then depends on its model and not on how fast the machine is.
"""

import random

from planner.batching.state import Budgets

_LARGE_MS = 10_000.0
_REGIMES = (
    *("default", "stopped", "tiny", "tiny", "middle", "middle", "calm", "calm"),
    *("large", "large", "large", "large", "large", "disabled", "few rows", "unparked"),
)


def draw_budgets(draw: random.Random) -> tuple[str, Budgets]:
    """A named regime and its budgets."""
    name = draw.choice(_REGIMES)
    latency_ms, idle_ms = {
        "default": (50.0, 200.0),
        "stopped": (0.0, draw.choice((0.0, 20.0, 200.0))),
        "tiny": (draw.uniform(2.0, 15.0), draw.uniform(5.0, 40.0)),
        "middle": (draw.uniform(15.0, 80.0), draw.uniform(20.0, 200.0)),
        "calm": (draw.uniform(15.0, 80.0), draw.uniform(20.0, 200.0)),
    }.get(name, (_LARGE_MS, _LARGE_MS))
    return name, Budgets(
        enabled=name != "disabled",
        latency_budget_ms=latency_ms,
        idle_budget_ms=idle_ms,
        max_offline_rows=draw.choice((0, 1, 3)) if name == "few rows" else 256,
        max_parked_rows=draw.choice((0, 1, 2)) if name == "unparked" else draw.choice((4, 64, 64)),
        min_chunk_tokens=draw.choice((1, 16, 32)),
        min_parked_passes=draw.choice((0, 1, 4)),
        min_resident_passes=draw.choice((0, 1, 4)),
        kv_reserve_ratio=draw.choice((0.0, 0.0, 0.1, 0.3)),
        max_stall_ms=draw.choice((0.0, 0.0, 100.0)),
        calm_budget_ms=draw.uniform(1.0, 15.0) if name == "calm" else 0.0,
        calm_gaps=draw.choice((0, 1, 2)),
        burst_rows=draw.choice((2, 12)),
        age_share=draw.choice((0.0, 0.1, 1.0)),
        aged_passes=draw.choice((8, 1024)),
        max_parked_passes=draw.choice((8, 256)),
        uncalibrated_ratio=1.0,  # the default model is taken at its word
    )
