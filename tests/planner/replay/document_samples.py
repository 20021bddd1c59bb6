"""Documents to render and to write, drawn rather than replayed."""

import math
import random
from functools import lru_cache

from planner.replay.document import ClairvoyantBound, ReplayDocument, Run, Target, Workload
from planner.replay.histogram import LogHistogram
from planner.replay.recording import Iterations, Recorded, bins_over

BOUND = ClairvoyantBound(
    policy="slacktide", title="Slacktide", offline_tokens_per_s=5200.0,
    noiseless_tokens_per_s=2600.0, binding="time",
)  # fmt: skip
FLOOR = {"runs_offline": False}
CEILING = {"serves_online": False}


@lru_cache
def durations(mean_ms, *, spread=0.3, count=2000, seed=1):
    """Log-normal durations, counted."""
    source, histogram = random.Random(seed), LogHistogram()
    histogram.add_all([math.exp(source.gauss(math.log(mean_ms), spread)) for _ in range(count)])
    return histogram.distribution()


def recorded(*, itl_ms=30.0, ttft_ms=150.0, offline_tokens_per_s=2000, serves=True, budgeted=True):
    """What a window of two minutes might leave."""
    bins = bins_over(20.0, 140.0, about=60)
    waves = [0.5 + 0.5 * math.sin(index / 6.0) ** 2 for index in range(bins.count)]
    online = tuple(int(3000 * wave * bins.bin_s) if serves else 0 for wave in waves)
    offline = tuple(int(offline_tokens_per_s * (1.5 - wave) * bins.bin_s) for wave in waves)
    held = offline_tokens_per_s > 0
    return Recorded(
        bins=bins,
        offered_requests=tuple(tokens // 1000 for tokens in online),
        offered_tokens=online,
        online_tokens=online,
        offline_prompt_tokens=tuple(tokens - tokens // 10 for tokens in offline),
        offline_output_tokens=tuple(tokens // 10 for tokens in offline),
        ttft_ms=durations(ttft_ms, spread=0.6, count=400 * serves),
        itl_ms=durations(itl_ms, count=4000 * serves),
        iterations=Iterations(
            online=durations(25.0, count=3000 * serves),
            shared=durations(40.0, spread=0.1, count=4000 * serves * held),
            offline=durations(120.0, spread=0.1, count=900 * held),
            budgeted=4000 * budgeted * held,
            over_budget=80 * budgeted * held,
            prediction_error_ratio=0.03 if held else None,
        ),
    )


def policy_run(policy, title, *, serves_online=True, runs_offline=True, settings=None, **recording):
    """A policy's run."""
    if not runs_offline:
        recording["offline_tokens_per_s"] = 0
    return Run(
        policy=policy,
        title=title,
        description=f"what {title} does",
        serves_online=serves_online,
        runs_offline=runs_offline,
        settings=settings or {},
        tuning="",
        recorded=recorded(serves=serves_online, budgeted=bool(settings), **recording),
        busy_ratio=0.83,
        offline_ended=12 * runs_offline,
        counters={"passes": 7900, "evicted": 3},
    )


def sample(*, runs=None, targets=None, **fields):
    """A comparison of floor, two hybrids and ceiling."""
    budgets = {"latency_budget_ms": 44.0, "idle_budget_ms": 180.0}
    if runs is None:
        runs = (
            policy_run("online-only", "online only", **FLOOR),
            policy_run("hygen", "HyGen", settings=budgets, itl_ms=31.0),
            policy_run(
                "slacktide", "Slacktide", settings=budgets, itl_ms=31.5, offline_tokens_per_s=2600
            ),
            policy_run("blind-hybrid", "Sarathi++", itl_ms=60.0, offline_tokens_per_s=4000),
            policy_run("offline-only", "offline only", offline_tokens_per_s=7000, **CEILING),
        )
    if targets is None:
        targets = (
            Target(statistic="itl_p99_ms", limit_ms=66.0, baseline_ms=60.0, tolerance_ratio=0.1),
            Target(statistic="ttft_mean_ms", limit_ms=400.0),
        )
    values = {
        "version": "0.1.0",
        "workload": Workload(
            name="conv.csv",
            is_generated=False,
            requests=240,
            duration_s=120.0,
            prompt_tokens=240000,
            output_tokens=48000,
        ),
        "engine": "llama2-7b on one a100-40gb",
        "configuration": {"Simulation": {"seed": 7, "noise_ratio": 0.03, "max_requests": None}},
        "notes": ("HyGen is a reconstruction.",),
    }
    return ReplayDocument(targets=tuple(targets), runs=tuple(runs), **{**values, **fields})
