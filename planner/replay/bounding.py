"""How much offline work any scheduler could have done where a policy did what it did.

Owns the run that a bound goes with: without noise, which a bound does not cover, under the
policy's own settings. Refuses a bound that the run passes: one of the two is wrong. What is
bounded, and assumed, is stated in `planner.clairvoyant`.

Invariant: the bound may choose from more of a batch than any schedule it is of gets to.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from math import ceil
from typing import Any

from planner.batching.state import Budgets
from planner.clairvoyant.bound import offline_bound
from planner.clairvoyant.envelope import least_passes
from planner.clairvoyant.unended import Unended
from planner.interference.targets import LatencyTargets
from planner.replay.document import ClairvoyantBound, Run
from planner.replay.policies import PolicyChoice, policy_named
from planner.replay.scenario import Labels, Scenario

_AHEAD = 4  # times what the policy got done: no bound has been seen to reach as far
_ROUNDING_RATIO = 1e-6


def is_bounded(run: Run) -> bool:
    """Whether there is a bound to speak of: it did offline work beside online requests."""
    return run.serves_online and run.runs_offline


def clairvoyant_bound(
    noiseless: Scenario, run: Run, *, given: Mapping[str, float]
) -> ClairvoyantBound:
    """Bounds every scheduler that serves online as timely as a policy did, without noise.

    Args:
        noiseless: What the policy met, but that its truth has no noise, drift or stalls.
        run: The policy's, as `is_bounded` asks.
        given: Settings of `Budgets` that were given, by name.

    Raises:
        RuntimeError: The run without noise did more than the bound allows.
    """
    choice = _choice(run, given=given)
    to_s = noiseless.settle_s + noiseless.duration_s
    in_flight = noiseless.offline_in_flight
    count = _AHEAD * (ceil(run.offline_ended * to_s / noiseless.duration_s) + in_flight)
    online = list(noiseless.arrivals(Labels()))
    while True:
        offline = list(islice(noiseless.batch(), count))
        watch = Unended(offline=offline, in_flight=in_flight, to_s=to_s)
        done = noiseless.run(choice, watch=watch)
        bound = offline_bound(
            online=online,
            offline=offline,
            in_flight=in_flight,
            settings=noiseless.settings,
            envelope=least_passes(
                noiseless.truth(), settings=noiseless.settings, requests=[*online, *offline]
            ),
            from_s=noiseless.settle_s,
            to_s=to_s,
            targets=LatencyTargets.from_baseline(done.ttft, done.itl, tolerance_ratio=0.0),
            keeps_up_with=done.online,
            given_up=watch.given_up,
            spread=watch.spread,
        )
        sizes = [request.prompt_tokens + request.output_tokens for request in offline]
        # A schedule that gets further has ended all of these but those in flight.
        at_end = in_flight * max(sizes, default=0)
        if len(offline) < count or bound.offline_tokens + at_end <= sum(sizes):
            break
        count *= 2
    found = ClairvoyantBound(
        policy=run.policy,
        title=run.title,
        offline_tokens_per_s=bound.offline_tokens_per_s,
        noiseless_tokens_per_s=done.offline_tokens_per_s,
        binding=bound.binding.value,
    )
    if found.noiseless_tokens_per_s > found.offline_tokens_per_s * (1.0 + _ROUNDING_RATIO):
        raise RuntimeError(
            f"{run.policy}: {found.noiseless_tokens_per_s:.1f} offline tokens/s pass the "
            f"clairvoyant bound of {found.offline_tokens_per_s:.1f}; one of them is wrong"
        )
    return found


def _choice(run: Run, *, given: Mapping[str, float]) -> PolicyChoice:
    """The policy as it was run: its settings are what differs from the defaults, at least."""
    default = Budgets()
    values: dict[str, Any] = {**given, **run.settings}
    of_type = {name: type(getattr(default, name))(value) for name, value in values.items()}
    return policy_named(run.policy, budgets=replace(default, **of_type))
