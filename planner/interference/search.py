"""The budgets that let through the most offline work within latency targets.

Owns the search: which budgets to probe next, what passes, when to stop. Refuses to
measure: the caller's probe runs a workload slice at given budgets, on an engine or in the
simulation, and should repeat its arrivals exactly, since the search compares probes.

HyGen's profiler bisects one number, the latency budget (arXiv 2501.14808, SLO-aware
profiler). Here several numbers decide how much offline work disturbs online requests, and
each binds other statistics:

    latency_budget_ms       passes with online decodes: ITL mean, and p50 where gaps are alike
    calm_budget_ms          ordinary gaps, where passes take turns: ITL p50
    idle_budget_ms          passes an arrival may find running: TTFT
    max_stall_ms            the longest gap, where passes take turns: ITL p99
    gap_credit_ms           online gaps on average: the means
    max_rows_beside_online  the same, by how many rows share passes with online ones

One that is 0 at the start is left at 0, and rows without a limit are left without one. Near
a point every statistic grows with each of them, and so does offline work; further off there
are cliffs, such as where a whole chunk fits. What else `Budgets` holds (the least chunk, the
ordinary gaps between long ones) moves both ways and is not climbed on. So the caller names
several starts. Steps: probe them all; where none passes, take the nearest and lower the
budgets whose statistics miss their targets until all are met, or bisect one factor over all
budgets; then climb from the best that passed.

A climb works on logarithms, where the elasticity of each statistic and of the work with
respect to each budget is learned from the probes (Broyden's update, none below 0, since all
are monotone), and probes the best point that these predict to pass within a radius, which
grows with success and shrinks with failure.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from math import log

from planner.batching.state import Budgets
from planner.interference.climb import Elasticities, best_move, logs, times
from planner.interference.dimensions import (
    DIMENSIONS,
    is_comparable,
    moved,
    only_idle,
    scaled,
    searched_names,
)
from planner.interference.targets import LatencyTargets
from planner.slo import Quantiles

_BINDS = {
    "latency_budget_ms": ("itl_mean_ms", "itl_p99_ms"),  # no gap limit is below it
    "calm_budget_ms": ("itl_p50_ms",),
    "idle_budget_ms": ("ttft_mean_ms", "ttft_p50_ms", "ttft_p99_ms"),
    "max_stall_ms": ("itl_p99_ms",),
    "gap_credit_ms": ("itl_mean_ms", "ttft_mean_ms"),
    "max_rows_beside_online": ("itl_mean_ms", "ttft_mean_ms"),
}
_REPAIRS = 6
_REPAIR_POWER = 1.5  # a statistic falls by less than its budget does

_GAIN = 1.002  # less than this more offline work is noise
_FIRST_RADIUS, _MOST_RADIUS, _LEAST_RADIUS = 0.4, 1.0, 0.03  # logarithmic: half as much again
_ALONE_STEPS = (2.5, 1.4, 1.15, 1.06)
_CAUTION = 0.01  # predicted statistics stay this much inside their targets


class Verdict(Enum):
    """What a probe says."""

    PASSED = "passed"
    FAILED = "failed"
    TOO_SHORT = "too_short"


class Reason(Enum):
    """Why a search ended as it did."""

    FOUND = "found"
    NOTHING_PASSES = "nothing_passes"
    TOO_SHORT = "too_short"  # no probe had the samples to tell


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What one run at given budgets measured.

    `spread_ratio` is the half-width of the measurement's confidence interval, as a share
    of each statistic; 0 where runs repeat exactly. A target is met if it is met at the
    upper end.
    """

    ttft: Quantiles
    itl: Quantiles
    offline_tokens_per_s: float
    spread_ratio: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRecord:
    """One probe of a search."""

    budgets: Budgets
    result: ProbeResult
    worst_ratio: float  # at the upper end of its interval
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOutcome:
    """The best budgets that passed; None where none did, and why."""

    reason: Reason
    detail: str
    best: ProbeRecord | None
    probes: tuple[ProbeRecord, ...]

    @property
    def budgets(self) -> Budgets | None:
        """The budgets to run at."""
        return None if self.best is None else self.best.budgets


Probe = Callable[[Budgets], ProbeResult]
"""Runs a workload slice at given budgets."""


def search_budgets(
    probe: Probe,
    *,
    targets: LatencyTargets,
    starts: Sequence[Budgets],
    max_probes: int,
    counts_samples: bool = True,
) -> SearchOutcome:
    """Looks for the budgets with the most offline tokens per second within the targets.

    Args:
        probe: The instrument; called at most `max_probes` times, never twice alike.
        targets: What online latencies must keep.
        starts: Where to begin, one or more; fields that are not searched stay as they are.
        max_probes: >= 1; 15 to 25 are enough for one start.
        counts_samples: A probe with few samples tells nothing, as where its slice stands for
            the load to come; False: it is judged by that very slice, however short.

    Returns:
        The outcome; `best` passed at the upper end of its confidence interval.

    Raises:
        ValueError: `max_probes` < 1, or no start.
    """
    if max_probes < 1:
        raise ValueError(f"max_probes is {max_probes}, must be >= 1")
    if not starts:
        raise ValueError("starts is empty: name the budgets to begin with")
    search = _Search(probe, targets=targets, max_probes=max_probes, counts_samples=counts_samples)
    try:
        search.begin(starts)
        search.climb()
    except _SpentError:
        pass
    return search.outcome()


class _SpentError(Exception):
    """No probe is left."""


class _Search:
    """One search: its probes so far, and the best that passed."""

    def __init__(
        self, probe: Probe, *, targets: LatencyTargets, max_probes: int, counts_samples: bool
    ) -> None:
        self._probe, self._targets = probe, targets
        self._left, self._counts_samples = max_probes, counts_samples
        self._records: dict[Budgets, ProbeRecord] = {}
        self._best: ProbeRecord | None = None

    def begin(self, starts: Sequence[Budgets]) -> None:
        """Probes the starts; where none passes, looks for one that does from the nearest."""
        records = [self._record(start) for start in starts]
        if self._best is not None:
            return
        nearest = min(records, key=lambda record: record.worst_ratio).budgets
        self._repair(nearest)
        if self._best is None:
            self._scale(nearest)

    def _repair(self, start: Budgets) -> None:
        """Lowers what misses its target, from a start, until all is met."""
        budgets = start
        for _ in range(_REPAIRS):
            record = self._record(budgets)
            if record.verdict is Verdict.PASSED:
                return
            result = record.result
            ratios = self._targets.ratios(ttft=result.ttft, itl=result.itl)
            before = budgets
            for name, statistics in _BINDS.items():
                worst = max((ratios.get(s, 0.0) for s in statistics), default=0.0)
                worst *= 1.0 + result.spread_ratio
                if worst > 1.0:
                    budgets = moved(budgets, name, (worst + _CAUTION) ** -_REPAIR_POWER)
            if budgets == before:
                return

    def _scale(self, start: Budgets) -> None:
        """Bisects one factor over all dimensions, from a start."""
        passed, failed = 0.0, 0.0
        factor = 1.0
        while not (passed and failed) and 1 / 256 <= factor <= 256:
            if self._passes(scaled(start, factor)):
                passed, factor = factor, factor * 2.0
            else:
                failed, factor = factor, factor / 2.0
        if not passed:
            # Offline work only while no online exists, and little of it at a time.
            self._passes(only_idle(start))
            self._passes(only_idle(scaled(start, 1.0 / 16.0)))
            return
        if failed:
            self._passes(scaled(start, (passed * failed) ** 0.5))

    def climb(self) -> None:
        """Moves from the best point to a better one, as the elasticities say.

        Each round first raises every budget alone, since what one of them does may begin
        far from here, and ends when the elasticities lead no further.
        """
        if self._best is None:
            return
        names = [name for name in DIMENSIONS if name in searched_names(self._best.budgets)]
        if not names:
            return
        elasticities = Elasticities(budgets=len(names), outputs=len(self._logs(self._best)))
        for record in list(self._records.values()):
            self._learn(elasticities, self._best, record, names)
        for step in _ALONE_STEPS:
            for name in names:
                here = self._best
                while self._learn_at(elasticities, moved(here.budgets, name, step), names):
                    here = self._best
            self._follow(elasticities, names)

    def _follow(self, elasticities: Elasticities, names: Sequence[str]) -> None:
        """Goes where the elasticities lead, until they lead nowhere."""
        radius = _FIRST_RADIUS
        while radius >= _LEAST_RADIUS:
            assert self._best is not None  # a climb begins at one, and only betters it
            move = best_move(
                elasticities,
                slack=[-value - _CAUTION for value in self._logs(self._best)[1:]],
                radius=radius,
                budgets=len(names),
            )
            candidate = self._best.budgets
            for name, step in zip(names, move or (), strict=False):
                candidate = moved(candidate, name, times(1.0, step))
            if move is not None and self._learn_at(elasticities, candidate, names):
                radius = min(_MOST_RADIUS, radius * 1.5)
            else:
                radius /= 2.0

    def _learn_at(self, elasticities: Elasticities, budgets: Budgets, names: Sequence[str]) -> bool:
        """Probes there, learns, and says whether it is the best so far."""
        here = self._best
        assert here is not None
        if budgets in self._records:
            return False
        self._learn(elasticities, here, self._record(budgets), names)
        return self._best is not here

    def outcome(self) -> SearchOutcome:
        records = tuple(self._records.values())
        if self._best is not None:
            return SearchOutcome(
                reason=Reason.FOUND,
                detail=f"best of {len(records)} probes",
                best=self._best,
                probes=records,
            )
        short = [r for r in records if r.verdict is Verdict.TOO_SHORT]
        if len(short) == len(records):
            detail = self._targets.samples_short(
                ttft=records[-1].result.ttft, itl=records[-1].result.itl
            )
            return SearchOutcome(
                reason=Reason.TOO_SHORT,
                detail=f"{detail}; probe for longer",
                best=None,
                probes=records,
            )
        least = min(r.worst_ratio for r in records)
        return SearchOutcome(
            reason=Reason.NOTHING_PASSES,
            detail=f"the nearest of {len(records)} probes reached {least:.3f} of its target",
            best=None,
            probes=records,
        )

    # ------------------------------------------------------------ details

    def _learn(
        self,
        elasticities: Elasticities,
        here: ProbeRecord,
        there: ProbeRecord,
        names: Sequence[str],
    ) -> None:
        if not is_comparable(there.budgets, here.budgets):
            return
        steps = [log(getattr(there.budgets, name) / getattr(here.budgets, name)) for name in names]
        pairs = zip(self._logs(there), self._logs(here), strict=True)
        elasticities.learn(steps, [after - before for after, before in pairs])

    def _logs(self, record: ProbeRecord) -> list[float]:
        """Logarithms of the work, then of each limited statistic over its target."""
        result = record.result
        ratios = self._targets.ratios(ttft=result.ttft, itl=result.itl)
        spread = 1.0 + result.spread_ratio
        return logs([result.offline_tokens_per_s, *(value * spread for value in ratios.values())])

    def _passes(self, budgets: Budgets) -> bool:
        return self._record(budgets).verdict is Verdict.PASSED

    def _record(self, budgets: Budgets) -> ProbeRecord:
        known = self._records.get(budgets)
        if known is not None:
            return known
        if self._left <= 0:
            raise _SpentError
        self._left -= 1
        result = self._probe(budgets)
        ratio = self._targets.worst_ratio(ttft=result.ttft, itl=result.itl) * (
            1.0 + result.spread_ratio
        )
        if self._counts_samples and self._targets.samples_short(ttft=result.ttft, itl=result.itl):
            verdict = Verdict.TOO_SHORT
        else:
            verdict = Verdict.PASSED if ratio <= 1.0 else Verdict.FAILED
        record = ProbeRecord(budgets=budgets, result=result, worst_ratio=ratio, verdict=verdict)
        self._records[budgets] = record
        if verdict is Verdict.PASSED and (
            self._best is None
            or result.offline_tokens_per_s > self._best.result.offline_tokens_per_s * _GAIN
        ):
            self._best = record
        return record
