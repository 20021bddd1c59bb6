"""One order after the other on one engine with the plugin.

Owns the arms, which differ in one live setting, `age_share`: 1 is the order of arrival, the
default is prefix order mixed with age, 0 is prefix order alone. Each run starts with an
empty cache and the same items; the first stretch, in which the cache fills, is not counted.
Throughput counts prompt tokens of items whose first token came, cached or not, and output.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.colocate.client import ArmRun, SloLabels
from bench.colocate.stage import Stage
from bench.harness import Figure, figure_of
from bench.prefix.batch import SharedPrefixBatch
from bench.statistics import Draw, bootstrap, ratio, whole
from controlplane.localfleet.readiness import Tell
from nodeagent.plugin_contract import encode_budgets
from planner.batching.state import Budgets

PREFIX, ARRIVAL, PREFIX_ONLY = "prefix order with age", "arrival order", "prefix order alone"
TARGET = ">= 2"
_BLOCK_S = 3.0
_IDLE_BUDGET_MS = 400.0  # there is no online work whose arrival would wait


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRun:
    """One order of one round.

    Args:
        blocks: tokens that came in each stretch of `block_s`.
        oldest_wait_s: longest wait for a first token, requests still waiting included.
        waits_p50_s: median wait of those that were served.
    """

    order: str
    blocks: tuple[float, ...]
    block_s: float
    oldest_wait_s: float
    waits_p50_s: float
    completed: int
    failed: int

    @property
    def tokens_per_s(self) -> float:
        """Prompt and output tokens a second."""
        return sum(self.blocks) / (len(self.blocks) * self.block_s)

    def as_values(self) -> dict[str, Any]:
        """What the report says of it."""
        return {
            "tokens_per_s": round(self.tokens_per_s, 1),
            "oldest_wait_s": round(self.oldest_wait_s, 2),
            "waits_p50_s": round(self.waits_p50_s, 2),
            "completed": self.completed,
            "failed": self.failed,
            "blocks": [round(tokens) for tokens in self.blocks],
        }


def budgets_of(order: str) -> Budgets:
    """The live settings of an order."""
    budgets = replace(Budgets(), idle_budget_ms=_IDLE_BUDGET_MS)
    match order:
        case "arrival order":
            return replace(budgets, age_share=1.0)
        case "prefix order alone":
            return replace(budgets, age_share=0.0)
        case _:
            return budgets


async def measure_orders(
    stage: Stage,
    engine: str,
    batch: SharedPrefixBatch,
    *,
    rounds: int,
    window: int,
    ramp_s: float,
    seconds: float,
    tell: Tell,
) -> dict[str, list[OrderRun]]:
    """Runs all orders in each round, the first one rotating.

    Args:
        stage: of the engine.
        engine: its name; with the plugin.
        batch: the items, the same for every run of a round.
        rounds: how often.
        window: items in the engine at the most, running and waiting.
        ramp_s: not counted, at the start of each run.
        seconds: counted, of each run.
        tell: for progress.
    """
    orders = [ARRIVAL, PREFIX, PREFIX_ONLY]
    found: dict[str, list[OrderRun]] = {order: [] for order in orders}
    for number in range(rounds):
        items = replace(batch, seed=batch.seed + number)
        shift = number % len(orders)
        for order in [*orders[shift:], *orders[:shift]]:
            running = await stage.enter(engine)
            await running.set(encode_budgets(budgets_of(order)))
            watched = await stage.run(
                engine,
                online=None,
                duration_s=seconds,
                labels=SloLabels(),
                offline=items,
                window=window,
                settle_s=ramp_s,
            )
            run = read_order(watched.run, order=order)
            found[order].append(run)
            tell(f"prefix round {number + 1}, {order}: {run.tokens_per_s:.0f} tokens/s,"
                 f" oldest wait {run.oldest_wait_s:.1f} s")  # fmt: skip
    return found


def read_order(run: ArmRun, *, order: str) -> OrderRun:
    """Cuts a run into blocks."""
    count = max(1, math.floor(run.duration_s / _BLOCK_S))
    block_s = run.duration_s / count
    blocks = [0.0] * count
    for at_s, tokens in (*run.offline.prompts, *run.offline.outputs):
        index = (at_s - run.began_s) / block_s
        if 0 <= index < count:
            blocks[int(index)] += tokens
    ended_s = run.began_s + run.duration_s
    still = [ended_s - since for since in run.offline.waiting_since.values()]
    return OrderRun(
        order=order,
        blocks=tuple(blocks),
        block_s=block_s,
        oldest_wait_s=max([*run.offline.waits_s, *still], default=0.0),
        waits_p50_s=statistics.median(run.offline.waits_s) if run.offline.waits_s else math.nan,
        completed=run.offline.completed,
        failed=run.offline.failed,
    )


def order_figures(
    found: Mapping[str, Sequence[OrderRun]],
    *,
    batch: SharedPrefixBatch,
    window: int,
    seed: int,
    replicates: int,
) -> list[Figure]:
    """Throughput over the order of arrival, and how long the unluckiest waited.

    The bound on waiting is the one of `planner.batching.order`: at most `window` requests
    are older, and the eldest get `age_share` of all prompt tokens. It is held against the
    rate of delivered prompt tokens, cached ones included, which makes it shorter.
    """
    arrival = found[ARRIVAL]
    figures = []
    for order in (PREFIX, PREFIX_ONLY):
        runs = found[order]

        def speedup(draw: Draw, runs: Sequence[OrderRun] = runs) -> float:
            mine = sum(runs[r].blocks[b] for r, drawn in draw for b in drawn)
            theirs = sum(arrival[r].blocks[b] for r, drawn in draw for b in drawn)
            return ratio(mine, theirs)

        blocks = [len(run.blocks) for run in runs]
        interval = bootstrap(speedup, blocks=blocks, seed=seed, replicates=replicates)
        each = [speedup([(r, drawn)]) for r, drawn in whole(blocks)]
        figures.append(
            Figure(
                name=f"{order} / arrival order, tokens/s",
                value=interval.value,
                unit="ratio",
                spread=(max(each) - min(each)) / 2 if len(each) > 1 else None,
                target=TARGET if order == PREFIX else None,
                interval=(interval.low, interval.high),
            )
        )
    for order, runs in found.items():
        waits = [run.oldest_wait_s for run in runs]
        figures.append(
            Figure(
                name=f"oldest wait, {order}",
                value=statistics.median(waits),
                unit="s",
                spread=(max(waits) - min(waits)) / 2 if len(waits) > 1 else None,
            )
        )
    prompt_tokens, output_tokens = batch.lengths(0)
    served = prompt_tokens / (prompt_tokens + output_tokens)
    bounds_s = [
        window * prompt_tokens / Budgets().age_share / (run.tokens_per_s * served)
        for run in found[PREFIX]
        if run.tokens_per_s
    ]
    ratios = [
        run.oldest_wait_s / bound_s for run, bound_s in zip(found[PREFIX], bounds_s, strict=False)
    ]
    if ratios:
        name = f"oldest wait / bound by the age share ({statistics.median(bounds_s):.0f} s)"
        # No target: a run is shorter than the bound, so it could not show it broken.
        figures.append(figure_of(name, ratios, "ratio"))
    return figures
