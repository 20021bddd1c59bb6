"""What chance alone does to small counts.

Owns the Poisson quantile, the bound on a rate of which nothing was seen, and the z of a
normal. Refuses to learn: `spread` does.
"""

import math
from functools import lru_cache
from statistics import NormalDist

_EXACT_MEAN = 60.0  # below, the distribution is summed; above, Cornish-Fisher is within 1


@lru_cache(maxsize=64)
def normal_z(quantile: float) -> float:
    """Deviations from the mean below which that share of a normal lies."""
    return NormalDist().inv_cdf(quantile)


def poisson_quantile(mean: float, quantile: float) -> float:
    """The least count that a Poisson variable stays within so often.

    Args:
        mean: >= 0.
        quantile: Within 0..1, both excluded.
    """
    if mean > _EXACT_MEAN:
        z = normal_z(quantile)
        return mean + z * math.sqrt(mean) + (z * z - 1.0) / 6.0
    count, chance = 0, math.exp(-mean)
    within = chance
    while within < quantile:
        count += 1
        chance *= mean / count
        if chance <= 0.0:
            break
        within += chance
    return float(count)


def quiet_bound(rounds: float, quantile: float) -> float:
    """The rate per round that nothing seen for so many rounds still leaves possible.

    Args:
        rounds: Without an arrival, in a row, > 0; less than one counts as one.
        quantile: Confidence; 0.95 gives the rule of three.
    """
    return -math.log(1.0 - quantile) / max(1.0, rounds)
