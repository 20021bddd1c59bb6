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
from planner.interference.dimensions import searched_names
from planner.interference.search import ProbeResult, search_budgets
from planner.interference.targets import LatencyTargets
from planner.replay.policies import PolicyChoice, policy_named
from planner.replay.starts import single_budget

Probe = Callable[[PolicyChoice], ProbeResult]
"""Replays a slice under a policy."""

_CAPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_IDLE_BUDGETS_MS = (200.0, 100.0, 60.0)
_IDLE_NOISE = 0.005  # of the work: a slice of a minute and a half tells no finer
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


def is_tuned(name: str) -> bool:
    """Whether the policy has something to look for: not one that is as it is, or a knob set."""
    bare, colon, _ = name.partition(":")
    return bare == "slacktide" or (not colon and (bare == "cap" or bare in _KNOBS))


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
        max_probes: Of a search or a bisection, >= 1, about; caps in flight are all tried.
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
    """The best of several climbs: with and without a credit, and a limit of rows.

    No climb goes from one kind to another (`planner.interference.search`), and the best start
    of all may be of the kind of which least is to be had.
    """

    def choice(budgets: Budgets) -> PolicyChoice:
        return policy_named("slacktide", budgets=budgets)

    def single(budget_ms: float) -> PolicyChoice:
        share = starts[0].age_share
        return choice(single_budget(budget_ms, targets=targets, age_share=share))

    line = _bisect(
        _Knob(make=single, low=2.0, high=4096.0),
        probe=probe,
        targets=targets,
        max_probes=max(1, max_probes // 6),
    )
    kinds: dict[frozenset[str], list[Budgets]] = {}
    best_single = line.choice.budgets
    for start in (best_single, replace(best_single, kv_reserve_ratio=0.0), *starts):
        kinds.setdefault(searched_names(start), []).append(start)
    outcomes = [
        search_budgets(
            lambda budgets: probe(choice(budgets)),
            targets=targets,
            starts=of_kind,
            max_probes=max(1, (max_probes - line.probes) // len(kinds)),
            counts_samples=False,  # nor does a bisection: all are tuned on the slice they see
        )
        for of_kind in kinds.values()
    ]
    records = [record for outcome in outcomes for record in outcome.probes]
    probes = len(records) + line.probes
    passed = [outcome.best for outcome in outcomes if outcome.best is not None]
    if not passed:
        nearest = min(records, key=lambda record: record.worst_ratio)
        return Tuned(
            choice=choice(nearest.budgets), passed=False, expected=nearest.result, probes=probes
        )
    best = max(passed, key=lambda record: record.result.offline_tokens_per_s)
    tuned = Tuned(choice=choice(best.budgets), passed=True, expected=best.result, probes=probes)
    return _with_idle(tuned, probe=probe, targets=targets)


def _with_idle(found: Tuned, *, probe: Probe, targets: LatencyTargets) -> Tuned:
    """The same with the largest idle budget that costs next to nothing.

    In a slice in which somebody is nearly always online it hardly shows, and a search then
    takes whichever its noise favours; in the next idle hour it is all that counts.
    """
    assert found.expected is not None
    least = found.expected.offline_tokens_per_s * (1.0 - _IDLE_NOISE)
    probes = found.probes
    for idle_ms in _IDLE_BUDGETS_MS:
        if idle_ms <= found.choice.budgets.idle_budget_ms:
            break
        budgets = replace(found.choice.budgets, idle_budget_ms=idle_ms)
        tried = _tried(policy_named("slacktide", budgets=budgets), probe=probe, targets=targets)
        probes += 1
        assert tried.expected is not None
        if tried.passed and tried.expected.offline_tokens_per_s >= least:
            return replace(tried, probes=probes)
    return replace(found, probes=probes)


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
