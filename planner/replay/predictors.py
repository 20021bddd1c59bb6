"""What policies plan by: models fitted on iterations of the very workload, or the oracle.

Owns which iterations a model is fitted on: those of short runs blind to latency at several
sizes of a pass, since a profile of passes that never occur would err where it counts. Both
fitted models see the same iterations. Refuses judgement.
"""

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum

from planner.batching.state import Budgets
from planner.hardware.effects import Effects
from planner.hardware.machine import Machine
from planner.hardware.oracle import oracle_model
from planner.latency.fit import fit
from planner.latency.hygen import fit_hygen
from planner.latency.predictor import LatencyModel, default_model
from planner.latency.sample import IterationSample
from planner.replay.policies import policy_named
from planner.replay.scenario import Scenario
from planner.simulation.passes import Settled
from planner.simulation.watch import EndedRequest, PassRecord

_SIZES = ("online-only", "blind-hybrid:48", "blind-hybrid:128", "blind-hybrid:384", "blind-hybrid")
_MOST_SAMPLES = 6000


class Predictor(Enum):
    """What policies plan by."""

    FITTED = "fitted"  # this project's features
    HYGEN = "hygen"  # HyGen's features
    ORACLE = "oracle"  # the truth without its noise


class _Gathering:
    """Keeps every pass's composition and duration."""

    def __init__(self) -> None:
        self.samples: list[IterationSample] = []

    def passed(self, record: PassRecord) -> None:
        self.samples.append(IterationSample(shape=record.run.shape, measured_ms=record.lasted_ms))

    def settled(self, settled: Settled, *, at_s: float) -> None:
        pass

    def ended(self, ended: EndedRequest) -> None:
        pass


def gather_iterations(scenario: Scenario, *, seconds: float) -> list[IterationSample]:
    """Iterations of the workload's begin, at several sizes of a pass.

    Args:
        scenario: Its model is not asked.
        seconds: Of each size's run.

    Returns:
        At most 6,000, evenly over all runs.
    """
    short = replace(scenario, duration_s=min(seconds, scenario.duration_s), settle_s=5.0)
    gathering = _Gathering()
    for name in _SIZES:
        choice = policy_named(name, budgets=Budgets())
        short.run(choice, watch=gathering, keeps_traces=False)
    samples = gathering.samples
    step = max(1, -(-len(samples) // _MOST_SAMPLES))
    return samples[::step]


def predictor(
    kind: Predictor,
    *,
    machine: Machine,
    samples: Sequence[IterationSample],
    effects: Effects | None = None,
) -> LatencyModel:
    """A model of the machine.

    Args:
        kind: Which.
        machine: Whose iterations the samples are.
        samples: What it is fitted on; the oracle needs none.
        effects: What the truth holds; None: all there are.

    Raises:
        ValueError: Too few samples for a fit.
    """
    match kind:
        case Predictor.ORACLE:
            return oracle_model(machine, effects=effects)
        case Predictor.HYGEN:
            return fit_hygen(samples, identity=machine.name)
        case Predictor.FITTED:
            incumbent = default_model(machine.device.name)
            outcome = fit(samples, identity=machine.name, incumbent=incumbent)
            if outcome.model is None:
                raise ValueError(f"{machine.name}: no model could be fitted: {outcome.reason}")
            return outcome.model
