"""A machine as the engine that a simulation runs.

Owns what belongs together: a policy that knows the machine but for its noise, and the noise.
Refuses the engine's limits; callers say them.
"""

from dataclasses import dataclass

from planner.hardware.machine import Machine
from planner.hardware.oracle import oracle_model
from planner.hardware.truth import ground_truth
from planner.simulation.kind import EngineKind
from planner.simulation.settings import EngineSettings
from planner.simulation.truth import Truth


def simulated_engine(
    machine: Machine,
    *,
    settings: EngineSettings,
    offline_in_flight: int = 64,
    noise_ratio: float = 0.03,
) -> EngineKind:
    """The engine of a machine.

    Args:
        machine: Its devices and model.
        settings: Its limits.
        offline_in_flight: Items an agent keeps in it at once.
        noise_ratio: Of its iterations, as `ground_truth` takes it.
    """
    return EngineKind(
        settings=settings,
        model=oracle_model(machine),
        truth=_Truths(machine=machine, noise_ratio=noise_ratio),
        offline_in_flight=offline_in_flight,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Truths:
    """Makes the pass times of a machine from a seed; it can be sent to another process."""

    machine: Machine
    noise_ratio: float

    def __call__(self, seed: int) -> Truth:
        """The pass times of one engine."""
        return ground_truth(self.machine, noise_ratio=self.noise_ratio, seed=seed)
