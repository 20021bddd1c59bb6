"""Metric by tolerance: what each policy does at its best within one SLO.

Owns the cells and how policies are tuned for them: on the slice they are judged by, so that
the SLO is kept alike by all and only the work differs. Policies that know no SLO run as they
are, and miss it or not.
"""

from dataclasses import dataclass, replace

from bench.hygen.pool import Pool, Seen
from planner.batching.state import Budgets
from planner.interference.dimensions import searched_names
from planner.interference.search import ProbeResult
from planner.interference.targets import LatencyTargets
from planner.replay.starts import starting_budgets
from planner.replay.tuning import tune

METRICS = ("ttft_mean", "ttft_p99", "itl_mean", "itl_p99")
TOLERANCES = (0.05, 0.10, 0.25, 0.50)
SEARCHED_PROBES = 48  # of Slacktide's budgets, for a cell; those of other cells are there already
# A knob to 0.2 %: work near the edge moves many times as much as the knob. With 9 probes, a
# knob to 9 %, HyGen did 16 % less within ITL mean + 50 % and a quarter within + 5 % (measured).
BISECTED_PROBES = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One SLO: that metrics come to no more than so much above online alone."""

    metrics: tuple[str, ...]
    tolerance_ratio: float

    @property
    def name(self) -> str:
        """For tables."""
        return f"{'+'.join(self.metrics)} {self.tolerance_ratio:.0%}"

    def targets(self, floor: ProbeResult) -> LatencyTargets:
        """In milliseconds, over what online alone came to on the same slice."""
        limits = {
            f"{metric}_ms": value_of(floor, metric) * (1.0 + self.tolerance_ratio)
            for metric in self.metrics
        }
        return LatencyTargets(**limits)


ARRIVAL = "slacktide-arrival"
"""Slacktide with prompts in order of arrival: what its order of prefixes is worth."""

CELLS = tuple(
    Cell(metrics=(metric,), tolerance_ratio=tolerance)
    for metric in METRICS
    for tolerance in sorted(TOLERANCES, reverse=True)
)

PAIRS = tuple(
    Cell(metrics=pair, tolerance_ratio=tolerance)
    for pair in (("ttft_mean", "itl_mean"), ("ttft_p99", "itl_p99"))
    for tolerance in (0.50, 0.10)
)
"""Two SLOs at once."""


def value_of(probe: ProbeResult, metric: str) -> float:
    """A statistic by its name, in milliseconds."""
    family, _, share = metric.partition("_")
    found: float = getattr(probe.ttft if family == "ttft" else probe.itl, share)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One policy in one cell."""

    cell: Cell
    policy: str
    seen: Seen
    worst_ratio: float  # of its latencies over their targets
    idle_tokens_per_s: float | None = None  # of the batch, while nobody is online; if asked

    @property
    def keeps_slo(self) -> bool:
        """Whether every limited statistic is within its target."""
        return self.worst_ratio <= 1.0 + 1e-9


def judge(pool: Pool, cell: Cell, policy: str, *, floor: ProbeResult) -> Judged:
    """Tunes a policy on the slice and reads its best.

    Args:
        pool: The slice.
        cell: The SLO.
        policy: By name.
        floor: Online alone on the slice.
    """
    targets = cell.targets(floor)
    if policy in ("slacktide", ARRIVAL):
        age_share = 1.0 if policy == ARRIVAL else Budgets().age_share
        seen = _searched(pool, targets=targets, floor=floor, age_share=age_share)
    else:
        tuned = tune(
            policy,
            probe=pool.probe,
            targets=targets,
            starts=[Budgets()],
            max_probes=BISECTED_PROBES,
        )
        seen = _best(pool, policy, targets=targets) or pool.see(tuned.choice)
    ratio = targets.worst_ratio(ttft=seen.probe.ttft, itl=seen.probe.itl)
    idle = pool.idle(seen.choice) if policy == "slacktide" else None
    return Judged(cell=cell, policy=policy, seen=seen, worst_ratio=ratio, idle_tokens_per_s=idle)


def _best(pool: Pool, policy: str, *, targets: LatencyTargets) -> Seen | None:
    """The most offline work within the targets of all that was replayed of a policy."""
    within = [
        seen
        for seen in pool.of(policy.partition(":")[0])
        if targets.worst_ratio(ttft=seen.probe.ttft, itl=seen.probe.itl) <= 1.0
    ]
    return max(within, key=lambda seen: seen.probe.offline_tokens_per_s, default=None)


def _best_of_each(found: list[Seen]) -> list[Budgets]:
    """The best of each kind: a climb never goes from one to another."""
    best: dict[frozenset[str], Budgets] = {}
    for seen in found:
        best.setdefault(searched_names(seen.choice.budgets), seen.choice.budgets)
    return list(best.values())


def _searched(pool: Pool, *, targets: LatencyTargets, floor: ProbeResult, age_share: float) -> Seen:
    """Slacktide: from the best that other cells found, and the starts of its own."""

    def within() -> list[Seen]:
        found = [
            seen
            for seen in pool.of("slacktide")
            if seen.choice.budgets.age_share == age_share
            and targets.worst_ratio(ttft=seen.probe.ttft, itl=seen.probe.itl) <= 1.0
        ]
        return sorted(found, key=lambda seen: seen.probe.offline_tokens_per_s, reverse=True)

    starts = _best_of_each(within())
    starts += [
        replace(budgets, age_share=age_share) for budgets in starting_budgets(floor, targets)
    ]
    tuned = tune(
        "slacktide",
        probe=pool.probe,
        targets=targets,
        starts=starts,
        max_probes=SEARCHED_PROBES,
    )
    return pool.see(tuned.choice)
