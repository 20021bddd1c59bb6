"""What a comparison of policies found, as values and as JSON.

Owns the shape of the JSON file, which is a contract: `SCHEMA` names it and changes with it.
Refuses wall-clock time and anything else that differs between equal runs: equal arguments
and seeds give equal documents. Invariants: `from_values(to_values(document)) == document`;
what is derived (`figures`, `verdicts`, `done_ratio`) is written for readers and never read
back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from planner.replay.codec import DocumentError, decoded, encoded
from planner.replay.recording import Recorded

SCHEMA = "slacktide.replay/1"

Fact = str | int | float | bool | None
"""One setting; its name says its unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The online requests that every policy met.

    Attributes:
        name: The trace's file, or which generator.
        is_generated: Whether no trace was given.
        requests: How many, in the window.
        duration_s: The window.
        prompt_tokens: Sum over the requests.
        output_tokens: Likewise.
    """

    name: str
    is_generated: bool
    requests: int
    duration_s: float
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A limit on one statistic over all online requests.

    Attributes:
        statistic: As `planner.interference.targets.LatencyTargets` names it, such as
            `itl_p99_ms`.
        limit_ms: What it may be.
        baseline_ms: What online alone had, where the limit is a tolerance over it.
        tolerance_ratio: That tolerance.
    """

    statistic: str
    limit_ms: float
    baseline_ms: float | None = None
    tolerance_ratio: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A target held against a run."""

    statistic: str
    measured_ms: float
    limit_ms: float

    @property
    def kept(self) -> bool:
        """Whether the statistic is within its limit."""
        return self.measured_ms <= self.limit_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The workload under one policy.

    Attributes:
        policy: Its name, knob included.
        title: For people.
        description: What it does, in a few words.
        serves_online: False: a ceiling, replayed without online requests.
        runs_offline: False: the floor, without offline ones.
        settings: What it was held to: budgets and knobs.
        tuning: How those were found; empty where they were given or are none.
        recorded: What was measured.
        busy_ratio: Share of the window in which an iteration ran.
        offline_ended: Offline requests that ended in the window.
        counters: Over the whole run, the stretch before the window included.
    """

    policy: str
    title: str
    description: str
    serves_online: bool
    runs_offline: bool
    settings: Mapping[str, Fact]
    tuning: str
    recorded: Recorded
    busy_ratio: float
    offline_ended: int
    counters: Mapping[str, int]

    def verdicts(self, targets: Sequence[Target]) -> tuple[Verdict, ...]:
        """Its statistics against the targets; none where it served no online request."""
        if not self.serves_online:
            return ()
        return tuple(
            Verdict(
                statistic=target.statistic,
                measured_ms=self.statistic_ms(target.statistic),
                limit_ms=target.limit_ms,
            )
            for target in targets
        )

    def statistic_ms(self, statistic: str) -> float:
        """One figure of its TTFT or ITL, such as `itl_p99_ms`."""
        metric, figure, _ = statistic.split("_")
        distribution = {"ttft": self.recorded.ttft_ms, "itl": self.recorded.itl_ms}[metric]
        return float(getattr(distribution.quantiles(), figure))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClairvoyantBound:
    """What no scheduler passes that serves online as timely as a policy did.

    Attributes:
        policy: Whose run it goes with, replayed without noise.
        title: For people.
        offline_tokens_per_s: The bound.
        noiseless_tokens_per_s: What the policy did in that run.
        binding: What the bound would rise with: time, kv, latency or supply.
    """

    policy: str
    title: str
    offline_tokens_per_s: float
    noiseless_tokens_per_s: float
    binding: str

    @property
    def done_ratio(self) -> float:
        """Share of the bound that the policy did; 0 where nothing could be done."""
        whole = self.offline_tokens_per_s
        return self.noiseless_tokens_per_s / whole if whole > 0.0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayDocument:
    """A comparison, whole.

    Attributes:
        version: Of the program that made it.
        workload: What every policy met.
        engine: The machine in a few words, such as `llama-2-7b on one a100-40gb`.
        targets: What online latencies must keep; none: nothing was judged.
        runs: One a policy, in the order asked for.
        configuration: Settings by section, seeds included.
        notes: What a reader must know to judge the figures, a sentence each.
        bounds: Of those of the runs that were bounded, in their order.
    """

    version: str
    workload: Workload
    engine: str
    targets: tuple[Target, ...]
    runs: tuple[Run, ...]
    configuration: Mapping[str, Mapping[str, Fact]]
    notes: tuple[str, ...] = ()
    bounds: tuple[ClairvoyantBound, ...] = ()
    schema: str = field(default=SCHEMA)

    def run_of(self, *, serves_online: bool, runs_offline: bool) -> Run | None:
        """The first run of that kind."""
        for run in self.runs:
            if (run.serves_online, run.runs_offline) == (serves_online, runs_offline):
                return run
        return None


def to_values(document: ReplayDocument) -> dict[str, Any]:
    """The document as JSON-like data, with each run's figures and verdicts beside it."""
    values: dict[str, Any] = {"schema": document.schema, **encoded(document)}
    for run, entry in zip(document.runs, values["runs"], strict=True):
        entry["figures"] = _figures(run)
        entry["verdicts"] = [
            encoded(verdict) | {"kept": verdict.kept} for verdict in run.verdicts(document.targets)
        ]
    for bound, entry in zip(document.bounds, values["bounds"], strict=True):
        entry["done_ratio"] = bound.done_ratio
    return values


def from_values(values: Mapping[str, Any]) -> ReplayDocument:
    """Reads what `to_values` wrote.

    Raises:
        DocumentError: Another schema, or a value that is missing or of another kind.
    """
    if values.get("schema") != SCHEMA:
        raise DocumentError(f"schema is {values.get('schema')!r}, must be {SCHEMA!r}")
    document = decoded(ReplayDocument, values, path="document")
    assert isinstance(document, ReplayDocument)
    return document


def _figures(run: Run) -> dict[str, Any]:
    recorded, iterations = run.recorded, run.recorded.iterations
    return {
        "offline_tokens_per_s": recorded.offline_tokens_per_s,
        "total_tokens_per_s": recorded.total_tokens_per_s,
        "ttft_ms": encoded(recorded.ttft_ms.quantiles()),
        "itl_ms": encoded(recorded.itl_ms.quantiles()),
        "iterations": iterations.count,
        "over_budget_ratio": (
            iterations.over_budget / iterations.budgeted if iterations.budgeted else None
        ),
    }
