"""What a clairvoyant scheduler could have done at most, beside what a policy did.

Owns the run that is compared: without noise, which no bound covers, at the budgets the policy
was judged by. There are two bounds (`planner.clairvoyant`): of every schedule with its mean
latencies that is as orderly with the batch, which is loose where online load is heavy, and of
every schedule that leaves nobody worse off than that run, online or offline. Refuses to go on
where a run passes either: one of the two is wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import islice
from math import ceil

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_matrix

from bench.hygen.settings import Spec
from planner.clairvoyant.bound import Binding, offline_bound
from planner.clairvoyant.envelope import Envelope, least_passes
from planner.clairvoyant.no_worse import no_worse_bound
from planner.clairvoyant.prices import Floats
from planner.clairvoyant.standing import StandingWatch
from planner.clairvoyant.unended import Unended
from planner.interference.targets import LatencyTargets
from planner.replay.policies import PolicyChoice
from planner.replay.scenario import Labels, Scenario
from planner.simulation.passes import Settled
from planner.simulation.request import SimulatedRequest
from planner.simulation.watch import EndedRequest, PassRecord

# Offline requests of a second that the bound may choose from: more than it ever does. MMLU
# on its own ends 87 (measured), and its bound is some way above.
_MOST_PER_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounded:
    """A policy's run without noise, and its bounds.

    Attributes:
        policy: Its name.
        slo: The cell it was tuned for.
        offline_tokens_per_s: What it did.
        bound_tokens_per_s: No schedule with the run's mean latencies, as orderly, does more.
        binding: What that is bound by.
        no_worse_tokens_per_s: No schedule that leaves nobody worse off than the run does more;
            a narrower claim. None: not asked.
    """

    policy: str
    slo: str
    offline_tokens_per_s: float
    bound_tokens_per_s: float
    binding: str
    no_worse_tokens_per_s: float | None = None

    @property
    def ratio(self) -> float:
        """Share of the bound that was done."""
        return self.offline_tokens_per_s / max(1e-9, self.bound_tokens_per_s)

    @property
    def no_worse_ratio(self) -> float | None:
        """Share of what could be done with nobody worse off."""
        if self.no_worse_tokens_per_s is None:
            return None
        return self.offline_tokens_per_s / max(1e-9, self.no_worse_tokens_per_s)


def bounded(
    spec: Spec, choice: PolicyChoice, *, policy: str, slo: str, asks_no_worse: bool
) -> Bounded:
    """Replays a policy without noise and bounds what could have been done.

    Args:
        spec: The slice.
        choice: The policy as it was judged.
        policy: Its name.
        slo: The cell it was judged in.
        asks_no_worse: Also for the narrower bound, which takes seconds.

    Raises:
        RuntimeError: The run did more than a bound allows, or a bound all there was.
    """
    spec = replace(spec, noise_ratio=0.0)
    scenario = spec.scenario()
    online = list(scenario.arrivals(Labels()))
    offline = _batch(scenario)
    to_s = scenario.settle_s + scenario.duration_s
    watch = _Watch(scenario, offline=offline)
    run = scenario.run(choice, watch=watch)
    standing = watch.standing.standing()
    asked = partial(
        offline_bound,
        online=online,
        offline=offline,
        in_flight=scenario.offline_in_flight,
        settings=scenario.settings,
        envelope=_envelope(spec),
        from_s=scenario.settle_s,
        to_s=to_s,
        targets=LatencyTargets.from_baseline(run.ttft, run.itl, tolerance_ratio=0.0),
        keeps_up_with=run.online,
    )
    orderly = asked(given_up=watch.unended.given_up, spread=watch.unended.spread)
    bound = min(orderly, asked(standing=standing), key=lambda found: found.offline_tokens)
    no_worse = None
    if asks_no_worse:
        no_worse = no_worse_bound(
            online=online,
            served=run.online,
            offline=offline,
            standing=standing,
            settings=scenario.settings,
            envelope=_envelope(spec),
            from_s=scenario.settle_s,
            to_s=to_s,
            solve=_solve,
        )
    is_all = no_worse is not None and no_worse.is_all
    if is_all or Binding.SUPPLY in (orderly.binding, bound.binding):
        raise RuntimeError(
            f"{spec.name}, {choice.name}, {slo}: a bound does all {len(offline)} offline "
            "requests, of a batch without end; raise _MOST_PER_S"
        )
    found = Bounded(
        policy=policy,
        slo=slo,
        offline_tokens_per_s=run.offline_tokens_per_s,
        bound_tokens_per_s=bound.offline_tokens_per_s,
        binding=bound.binding.value,
        no_worse_tokens_per_s=None if no_worse is None else no_worse.offline_tokens_per_s,
    )
    least = bound.offline_tokens_per_s
    if no_worse is not None:
        least = min(least, no_worse.offline_tokens_per_s)
    if found.offline_tokens_per_s > least * (1.0 + 1e-6):
        raise RuntimeError(
            f"{spec.name}, {choice.name}, {slo}: {found.offline_tokens_per_s:.1f} offline tokens/s "
            f"pass the clairvoyant bound of {least:.1f}; one of them is wrong"
        )
    return found


class _Watch:
    """Both bounds' watches."""

    def __init__(self, scenario: Scenario, *, offline: Sequence[SimulatedRequest]) -> None:
        from_s, to_s = scenario.settle_s, scenario.settle_s + scenario.duration_s
        self.unended = Unended(offline=offline, in_flight=scenario.offline_in_flight, to_s=to_s)
        self.standing = StandingWatch(offline=offline, from_s=from_s, to_s=to_s)

    def passed(self, record: PassRecord) -> None:
        self.unended.passed(record)
        self.standing.passed(record)

    def settled(self, settled: Settled, *, at_s: float) -> None:
        self.unended.settled(settled, at_s=at_s)
        self.standing.settled(settled, at_s=at_s)

    def ended(self, ended: EndedRequest) -> None:
        """Nothing: results say who ended."""


def _solve(
    costs: Floats, rows: Floats, limits: Floats, lower: Floats, upper: Floats
) -> Floats | None:
    """By HiGHS."""
    found = linprog(
        costs,
        A_ub=csr_matrix(rows),
        b_ub=limits,
        bounds=np.stack([lower, upper], axis=1),
        method="highs",
    )
    return None if found.x is None else np.asarray(found.x)


@lru_cache(maxsize=2)
def _envelope(spec: Spec) -> Envelope:
    scenario: Scenario = spec.scenario()
    requests = [*scenario.arrivals(Labels()), *_batch(scenario)]
    return least_passes(scenario.truth(), settings=scenario.settings, requests=requests)


def _batch(scenario: Scenario) -> list[SimulatedRequest]:
    """The begin of the batch, longer than any schedule of the run gets."""
    to_s = scenario.settle_s + scenario.duration_s
    return list(islice(scenario.batch(), ceil(_MOST_PER_S * to_s)))
