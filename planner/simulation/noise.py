"""Noise around a mean time.

Owns its distribution. Refuses means. Deterministic by seed and by the order of calls.
"""

import random
from collections.abc import Callable
from math import exp, sqrt


def correlated_noise(
    *, noise_ratio: float, correlation: float = 0.0, seed: int = 0
) -> Callable[[], float]:
    """Factors of mean 1, log-normal, each correlated with the one before.

    The logarithm is a first-order autoregression in its stationary state, so every factor
    has the same distribution, the first one too.

    Args:
        noise_ratio: Standard deviation of the logarithm, >= 0; 0 gives factors of 1.
        correlation: Of neighbouring logarithms, 0 to < 1.
        seed: Equal seeds give equal noise.

    Raises:
        ValueError: A number is out of range.
    """
    if not 0.0 <= noise_ratio < float("inf"):
        raise ValueError(f"noise_ratio is {noise_ratio}, must be finite and >= 0")
    if not 0.0 <= correlation < 1.0:
        raise ValueError(f"noise correlation is {correlation}, must be >= 0 and < 1")
    if noise_ratio == 0.0:
        return lambda: 1.0
    gauss = random.Random(f"{seed}/truth").gauss
    centre = -noise_ratio * noise_ratio / 2.0
    fresh = noise_ratio * sqrt(1.0 - correlation * correlation)
    state = gauss(0.0, noise_ratio) if correlation else 0.0

    def factor() -> float:
        nonlocal state
        state = correlation * state + gauss(0.0, fresh)
        return exp(centre + state)

    return factor
