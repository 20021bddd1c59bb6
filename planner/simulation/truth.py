"""How long a simulated pass really takes.

Owns the truth of a run, which may differ from what the policy's model says. Refuses
clocks. A truth is any callable from a `BatchShape` to milliseconds.
"""

import random
from collections.abc import Callable
from math import exp

from planner.latency.features import BatchShape
from planner.latency.predictor import LatencyModel

Truth = Callable[[BatchShape], float]
"""Milliseconds of a pass of that shape, > 0 for any that is not empty."""


def model_truth(model: LatencyModel, *, noise_ratio: float = 0.0, seed: int = 0) -> Truth:
    """The model's mean, with log-normal noise of mean 1 where asked.

    Args:
        model: Says the mean.
        noise_ratio: Standard deviation of the logarithm, >= 0.
        seed: Equal seeds give equal noise.
    """
    if not noise_ratio >= 0.0:
        raise ValueError(f"noise_ratio is {noise_ratio}, must be >= 0")
    if noise_ratio == 0.0:
        return model.predict_ms
    gauss = random.Random(f"{seed}/truth").gauss
    centre = -noise_ratio * noise_ratio / 2.0

    def noisy_ms(shape: BatchShape) -> float:
        return model.predict_ms(shape) * exp(gauss(centre, noise_ratio))

    return noisy_ms
