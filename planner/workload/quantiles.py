"""Lengths drawn from a table of quantiles.

Owns the inverse of a published distribution, linear between its quantiles. Refuses to
extrapolate: nothing below the first row or above the last is ever drawn.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence

Quantiles = Sequence[tuple[float, float]]
"""Rows of (share of requests, value at most), rising, from share 0 to share 1."""


def invert(quantiles: Quantiles, share: float) -> float:
    """The value that `share` of the requests, 0..1, do not exceed."""
    above = min(bisect_right(quantiles, (share, math.inf)), len(quantiles) - 1)
    (low_share, low), (high_share, high) = quantiles[above - 1], quantiles[above]
    return low + (high - low) * (share - low_share) / (high_share - low_share)


def invert_tokens(quantiles: Quantiles, share: float) -> int:
    """The same in whole tokens, at least one."""
    return max(1, round(invert(quantiles, share)))
