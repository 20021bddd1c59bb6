"""What a simulated iteration of a machine lasts.

Owns the disturbances around its mean: correlated noise, drift, stalls. Refuses clocks: drift
follows the time that iterations took. Deterministic by seed and by the order of calls.
"""

import random

from planner.hardware.duration import Duration
from planner.hardware.effects import Effects
from planner.hardware.machine import Machine
from planner.latency.features import BatchShape
from planner.simulation.noise import correlated_noise
from planner.simulation.truth import Truth

_HOUR_MS = 3_600_000.0


def ground_truth(
    machine: Machine,
    *,
    effects: Effects | None = None,
    noise_ratio: float = 0.03,
    noise_correlation: float = 0.8,
    seed: int = 0,
    drift_ratio: float = 0.0,
    stall_ratio: float = 0.0,
    stall_ms: float = 0.0,
) -> Truth:
    """How long each iteration takes, one call an iteration, in their order.

    Args:
        machine: What runs.
        effects: What it does beyond the smooth sum; None: all effects.
        noise_ratio: Standard deviation of the logarithm, >= 0; its mean is 1.
        noise_correlation: Of an iteration's noise with that of the one before, 0 to < 1.
        seed: Equal seeds give equal noise and stalls.
        drift_ratio: By how much of the start the mean has grown after an hour of iterations,
            >= 0; it grows in a straight line.
        stall_ratio: Share of iterations that stall, 0 to 1.
        stall_ms: How long a stalled one takes more, >= 0.

    Raises:
        ValueError: A number is out of range.
    """
    if not 0.0 <= drift_ratio < float("inf"):
        raise ValueError(f"drift_ratio is {drift_ratio}, must be finite and >= 0")
    if not 0.0 <= stall_ratio <= 1.0 or not 0.0 <= stall_ms < float("inf"):
        raise ValueError(
            f"stalls: stall_ratio {stall_ratio} must be within 0 and 1, stall_ms {stall_ms} "
            "finite and >= 0"
        )
    noise = correlated_noise(noise_ratio=noise_ratio, correlation=noise_correlation, seed=seed)
    duration = Duration(machine, effects or Effects())
    if noise_ratio == drift_ratio == stall_ratio == 0.0:
        return duration
    drawn = random.Random(f"{seed}/stalls").random
    drift_per_ms = drift_ratio / _HOUR_MS
    busy_ms = 0.0

    def disturbed_ms(shape: BatchShape) -> float:
        nonlocal busy_ms
        lasted_ms = duration(shape) * noise() * (1.0 + drift_per_ms * busy_ms)
        if stall_ratio and lasted_ms and drawn() < stall_ratio:
            lasted_ms += stall_ms
        busy_ms += lasted_ms
        return lasted_ms

    return disturbed_ms
