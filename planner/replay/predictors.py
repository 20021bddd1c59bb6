"""What policies plan by: models fitted on iterations of the very workload, or the oracle.

Owns which iterations a model is fitted on: those of short runs blind to latency at several
sizes of a pass, since a profile of passes that never occur would err where it counts. Both
fitted models see the same iterations. Refuses judgement.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from math import exp, inf

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


@dataclass(frozen=True, slots=True, kw_only=True)
class BlurredModel(LatencyModel):
    """A model that errs by a factor of its own for each set of decodes.

    The factor is log-normal with mean 1 and the same for every chunk beside the same decodes,
    so that a chunk within a budget is still found by bisection.
    """

    exact: LatencyModel
    error_ratio: float
    seed: int

    def mean_ms(
        self,
        prefill_rows: int,
        prefill_tokens: int,
        prefill_attention: float,
        prefill_padded_sq: float,
        decode_rows: int,
        decode_context_tokens: int,
        decode_max_context_tokens: int,
        prefill_context_tokens: int = 0,
    ) -> float:
        """As `LatencyModel.mean_ms`."""
        mean_ms = self.exact.mean_ms(
            prefill_rows,
            prefill_tokens,
            prefill_attention,
            prefill_padded_sq,
            decode_rows,
            decode_context_tokens,
            decode_max_context_tokens,
            prefill_context_tokens,
        )
        key = (self.seed, decode_rows, decode_context_tokens)
        return mean_ms * exp(self.error_ratio * (_normal(key) - self.error_ratio / 2.0))

    def to_values(self) -> dict[str, float]:
        """Refused.

        Raises:
            TypeError: Always: the exact model's coefficients are not what this one says.
        """
        raise TypeError(f"latency model {self.identity}: an error has no flat form")


def blurred(model: LatencyModel, *, error_ratio: float, seed: int) -> BlurredModel:
    """The model with an error of that standard deviation, of its logarithm.

    Raises:
        ValueError: `error_ratio` is below 0 or not finite.
    """
    if not 0.0 <= error_ratio < inf:
        raise ValueError(f"error_ratio is {error_ratio}, must be finite and >= 0")
    return BlurredModel(
        identity=f"{model.identity}|error {error_ratio:g}",
        decode=model.decode,
        prefill=model.prefill,
        exact=model,
        error_ratio=error_ratio,
        seed=seed,
    )


@lru_cache(maxsize=4096)
def _normal(key: tuple[int, int, int]) -> float:
    """A standard normal number that the key says."""
    return random.Random(repr(key)).gauss(0.0, 1.0)


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
