"""How long a simulated pass really takes.

Owns the truth of a run, which may differ from what the policy's model says. Refuses
clocks. A truth is any callable from a `BatchShape` to milliseconds.
"""

from collections.abc import Callable

from planner.latency.features import BatchShape
from planner.latency.predictor import LatencyModel
from planner.simulation.noise import correlated_noise

Truth = Callable[[BatchShape], float]
"""Milliseconds of a pass of that shape, > 0 for any that is not empty."""


def model_truth(model: LatencyModel, *, noise_ratio: float = 0.0, seed: int = 0) -> Truth:
    """The model's mean, with log-normal noise of mean 1 where asked.

    Args:
        model: Says the mean.
        noise_ratio: Standard deviation of the logarithm, >= 0.
        seed: Equal seeds give equal noise.
    """
    noise = correlated_noise(noise_ratio=noise_ratio, seed=seed)
    if noise_ratio == 0.0:
        return model.predict_ms
    return lambda shape: model.predict_ms(shape) * noise()
