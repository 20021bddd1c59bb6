"""Each policy's knobs, found the way its authors would find them.

Owns the search of one number, the largest that keeps the targets, for every policy that
has one; Slacktide's several budgets are `planner.interference.search`'s. Refuses to
measure: the caller's probe replays a slice.

| policy | what is tuned |
|---|---|
| HyGen | the latency budget (its SLO-aware profiler bisects it) |
| HyGen* | offline requests per second |
| concurrency cap | requests in flight, all that pass up to the largest |
| QoServe | the TBT target, which is the SLO's where ITL is limited |
| Sarathi++, SGLang priority, the floor and the ceiling | nothing: they know no SLO |
| Slacktide | its budgets |
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import sqrt

from planner.batching.state import Budgets
from planner.interference.search import ProbeResult, search_budgets
from planner.interference.targets import LatencyTargets
from planner.replay.policies import PolicyChoice, policy_named

Probe = Callable[[PolicyChoice], ProbeResult]
"""Replays a slice under a policy."""

_CAPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_FINEST_RATIO = 1.002  # of a bisection; each range takes 14 probes to it


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """A policy with its knobs set.

    Attributes:
        choice: The best that passed; where none did, the one nearest to it.
        passed: Whether it kept the targets on the slice it was tuned on; False where nothing
            was tuned, since nobody looked.
        expected: What it measured there; None where nothing was tuned.
        probes: Replays it took.
    """

    choice: PolicyChoice
    passed: bool
    expected: ProbeResult | None
    probes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Knob:
    """One number from which a policy is made, and where to look for it."""

    make: Callable[[float], PolicyChoice]
    low: float
    high: float


def tune(
    name: str,
    *,
    probe: Probe,
    targets: LatencyTargets,
    starts: Sequence[Budgets],
    max_probes: int,
) -> Tuned:
    """The policy with the most offline work within the targets.

    Args:
        name: As `policy_named` takes it; one with a knob set keeps it.
        probe: The instrument.
        targets: What online latencies must keep.
        starts: Where a search over budgets begins, one or more.
        max_probes: Of a search or a bisection, >= 1; caps in flight are all tried.
    """
    bare = name.partition(":")[0]
    if bare == "slacktide":
        return _search(probe, targets=targets, starts=starts, max_probes=max_probes)
    if ":" not in name:
        if bare == "cap":
            return _best_of(
                (policy_named(f"cap:{n}", budgets=Budgets()) for n in _CAPS),
                probe=probe,
                targets=targets,
            )
        knob = _KNOBS.get(bare)
        if knob is not None:
            return _bisect(knob, probe=probe, targets=targets, max_probes=max_probes)
    choice = policy_named(name, budgets=starts[0])
    return Tuned(choice=choice, passed=False, expected=None, probes=0)


def starting_budgets(floor: ProbeResult, targets: LatencyTargets) -> list[Budgets]:
    """Where a search of Slacktide's budgets begins: with and without a credit.

    A pass may last about as long as the longest online alone has, and the credit is what the
    tightest target leaves of the mean gap. KV is kept for online bursts as by default, for
    small ones, or not at all: what that costs depends on how much KV there is.

    Args:
        floor: Online alone on the slice.
        targets: What it must keep.
    """
    ratios = targets.ratios(ttft=floor.ttft, itl=floor.itl)
    room_ratio = max(0.01, 1.0 / max(ratios.values(), default=0.5) - 1.0)
    longest_ms = floor.itl.p99
    credit_ms = room_ratio * floor.itl.mean

    def start(share: float, credit_ms: float, reserve: Budgets) -> Budgets:
        return replace(
            reserve,
            latency_budget_ms=share * longest_ms,
            idle_budget_ms=share * longest_ms,
            gap_credit_ms=credit_ms,
        )

    usual = Budgets()
    bursts = Budgets(kv_reserve_ratio=0.0, kv_reserve_ceiling_ratio=0.1)
    nothing = Budgets(kv_reserve_ratio=0.0, kv_burst_half_life_s=0.0)
    return [
        start(0.8, credit_ms, usual),
        start(0.8, 2.0 * credit_ms, usual),
        start(0.35, credit_ms, usual),
        start(0.8, 0.0, usual),
        start(0.35, 0.0, usual),
        start(1.5, 2.0 * credit_ms, bursts),
        start(1.0, 0.0, nothing),
        start(4.0, 0.0, nothing),
    ]


def _hygen(budget_ms: float) -> PolicyChoice:
    # One budget, whether or not online exists.
    budgets = Budgets(latency_budget_ms=budget_ms, idle_budget_ms=budget_ms)
    return policy_named("hygen", budgets=budgets)


_KNOBS = {
    "hygen": _Knob(make=_hygen, low=2.0, high=4096.0),
    "rate-cap": _Knob(
        make=lambda rate: policy_named(f"rate-cap:{rate:.6g}", budgets=Budgets()),
        low=0.01,
        high=64.0,
    ),
    "qoserve": _Knob(
        make=lambda tbt_ms: policy_named(f"qoserve:{tbt_ms:.6g}", budgets=Budgets()),
        low=2.0,
        high=4096.0,
    ),
}


def _search(
    probe: Probe, *, targets: LatencyTargets, starts: Sequence[Budgets], max_probes: int
) -> Tuned:
    def choice(budgets: Budgets) -> PolicyChoice:
        return policy_named("slacktide", budgets=budgets)

    outcome = search_budgets(
        lambda budgets: probe(choice(budgets)),
        targets=targets,
        starts=starts,
        max_probes=max_probes,
        counts_samples=False,  # nor does a bisection: all are tuned on the slice they see
    )
    best = outcome.best or min(outcome.probes, key=lambda record: record.worst_ratio)
    return Tuned(
        choice=choice(best.budgets),
        passed=outcome.best is not None,
        expected=best.result,
        probes=len(outcome.probes),
    )


def _bisect(knob: _Knob, *, probe: Probe, targets: LatencyTargets, max_probes: int) -> Tuned:
    """The largest value that passes, on a logarithmic scale, and the best of all that did.

    Every probe that passed counts: where a little more of the knob does less work, or a
    latency falls with it, the most work within the targets is still what is asked for.
    """
    low, high = knob.low, knob.high
    tried: list[Tuned] = []
    for value in (high, low):  # where all passes, or nothing does, there is no edge to look for
        tried.append(_tried(knob.make(value), probe=probe, targets=targets))
    if not tried[0].passed and tried[1].passed:
        while len(tried) < max_probes and high > low * _FINEST_RATIO:
            middle = sqrt(low * high)
            tried.append(_tried(knob.make(middle), probe=probe, targets=targets))
            if tried[-1].passed:
                low = middle
            else:
                high = middle
    return _best(tried, targets=targets)


def _best_of(choices: Iterable[PolicyChoice], *, probe: Probe, targets: LatencyTargets) -> Tuned:
    """The best of a few, each more than the one before; the first two misses end it."""
    tried: list[Tuned] = []
    for choice in choices:
        tried.append(_tried(choice, probe=probe, targets=targets))
        if len(tried) > 1 and not (tried[-1].passed or tried[-2].passed):
            break
    return _best(tried, targets=targets)


def _tried(choice: PolicyChoice, *, probe: Probe, targets: LatencyTargets) -> Tuned:
    result = probe(choice)
    ratio = targets.worst_ratio(ttft=result.ttft, itl=result.itl)
    ratio *= 1.0 + result.spread_ratio
    return Tuned(choice=choice, passed=ratio <= 1.0, expected=result, probes=1)


def _best(tried: Sequence[Tuned], *, targets: LatencyTargets) -> Tuned:
    def work(entry: Tuned) -> float:
        assert entry.expected is not None
        return entry.expected.offline_tokens_per_s

    def miss(entry: Tuned) -> float:
        assert entry.expected is not None
        return targets.worst_ratio(ttft=entry.expected.ttft, itl=entry.expected.itl)

    passed = [entry for entry in tried if entry.passed]
    best = max(passed, key=work) if passed else min(tried, key=miss)
    return replace(best, probes=len(tried))
