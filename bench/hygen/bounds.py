"""What a clairvoyant scheduler could have done at most, beside what a policy did.

Owns the run that is compared: without noise, which the bound does not cover, at the budgets
the policy was judged by. The bound is of every schedule that serves online as timely and the
batch as orderly as that run (`planner.clairvoyant`); where online load is heavy it is loose.
Refuses to go on where a run passes its bound: one of the two is wrong.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from math import ceil

from bench.hygen.settings import Spec
from planner.clairvoyant.bound import Binding, offline_bound
from planner.clairvoyant.envelope import Envelope, least_passes
from planner.clairvoyant.unended import Unended
from planner.interference.targets import LatencyTargets
from planner.replay.policies import PolicyChoice
from planner.replay.scenario import Labels, Scenario
from planner.simulation.request import SimulatedRequest

# Offline requests of a second that the bound may choose from: more than it ever does. MMLU
# on its own ends 87 (measured), and its bound is some way above.
_MOST_PER_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounded:
    """A policy's run without noise, and its bound."""

    policy: str
    slo: str
    offline_tokens_per_s: float
    bound_tokens_per_s: float
    binding: str

    @property
    def ratio(self) -> float:
        """Share of the bound that was done."""
        return self.offline_tokens_per_s / max(1e-9, self.bound_tokens_per_s)


def bounded(spec: Spec, choice: PolicyChoice, *, policy: str, slo: str) -> Bounded:
    """Replays a policy without noise and bounds what could have been done.

    Raises:
        RuntimeError: The run did more than the bound allows, or the bound all there was.
    """
    spec = replace(spec, noise_ratio=0.0)
    scenario = spec.scenario()
    online = list(scenario.arrivals(Labels()))
    offline = _batch(scenario)
    to_s = scenario.settle_s + scenario.duration_s
    watch = Unended(offline=offline, in_flight=scenario.offline_in_flight, to_s=to_s)
    run = scenario.run(choice, watch=watch)
    bound = offline_bound(
        online=online,
        offline=offline,
        in_flight=scenario.offline_in_flight,
        settings=scenario.settings,
        envelope=_envelope(spec),
        from_s=scenario.settle_s,
        to_s=to_s,
        targets=LatencyTargets.from_baseline(run.ttft, run.itl, tolerance_ratio=0.0),
        keeps_up_with=run.online,
        given_up=watch.given_up,
        spread=watch.spread,
    )
    if bound.binding is Binding.SUPPLY:
        raise RuntimeError(
            f"{spec.name}, {choice.name}, {slo}: the bound does all {len(offline)} offline "
            "requests, of a batch without end; raise _MOST_PER_S"
        )
    found = Bounded(
        policy=policy,
        slo=slo,
        offline_tokens_per_s=run.offline_tokens_per_s,
        bound_tokens_per_s=bound.offline_tokens_per_s,
        binding=bound.binding.value,
    )
    if found.ratio > 1.0 + 1e-6:
        raise RuntimeError(
            f"{spec.name}, {choice.name}, {slo}: {found.offline_tokens_per_s:.1f} offline tokens/s "
            f"pass the clairvoyant bound of {found.bound_tokens_per_s:.1f}; one of them is wrong"
        )
    return found


@lru_cache(maxsize=2)
def _envelope(spec: Spec) -> Envelope:
    scenario: Scenario = spec.scenario()
    requests = [*scenario.arrivals(Labels()), *_batch(scenario)]
    return least_passes(scenario.truth(), settings=scenario.settings, requests=requests)


def _batch(scenario: Scenario) -> list[SimulatedRequest]:
    """The begin of the batch, longer than any schedule of the run gets."""
    to_s = scenario.settle_s + scenario.duration_s
    return list(islice(scenario.batch(), ceil(_MOST_PER_S * to_s)))
