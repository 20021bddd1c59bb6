"""Static caps interpolated to an SLO: the best a fixed cap could do within it.

Owns the formula; it gives the caps the benefit of every doubt. The curve of a metric goes
through (metric, offline tokens/s) of cap 0 (online alone, no offline work) and of each cap
in turn, straight in between, as if caps were real numbers. For one limit, the caps' worth
is the *largest* throughput anywhere on the curve at which the metric is within the limit.
For an SLO, it is the least of that over its limits: each metric may be met at a different
cap, which no single cap could do.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise


def within_limit(curve: Sequence[tuple[float, float]], *, limit: float) -> float:
    """The largest throughput on a polyline where the metric is within the limit.

    Args:
        curve: (metric, throughput) by rising cap, cap 0 first.
        limit: of the metric.

    Returns:
        The throughput; 0 where no point of the curve is within the limit.
    """
    best = 0.0
    for metric, throughput in curve:
        if metric <= limit:
            best = max(best, throughput)
    for (m0, y0), (m1, y1) in pairwise(curve):
        if min(m0, m1) <= limit < max(m0, m1):
            share = (limit - m0) / (m1 - m0)
            best = max(best, y0 + share * (y1 - y0))
    return best


def interpolate(
    curves: Mapping[str, Sequence[tuple[float, float]]], *, limits: Mapping[str, float]
) -> float:
    """Offline tokens/s of static caps at an SLO.

    Args:
        curves: by metric, as of `within_limit`.
        limits: by metric.

    Returns:
        Tokens/s; NaN without limits.
    """
    return min(
        (within_limit(curves[metric], limit=limit) for metric, limit in limits.items()),
        default=math.nan,
    )
