"""How far two samples lie apart."""

from bisect import bisect_right
from collections.abc import Sequence


def kolmogorov_smirnov(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The largest difference of the two distribution functions."""
    left, right = sorted(ours), sorted(theirs)
    return max(
        abs(bisect_right(left, v) / len(left) - bisect_right(right, v) / len(right))
        for v in set(left) | set(right)
    )


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's, with mean ranks for ties."""
    ranks = [_ranks(values) for values in (first, second)]
    middle = (len(first) - 1) / 2
    covariance = sum((a - middle) * (b - middle) for a, b in zip(*ranks, strict=True))
    squares = [sum((rank - middle) ** 2 for rank in side) for side in ranks]
    return covariance / (squares[0] * squares[1]) ** 0.5


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for place in order[start:end]:
            ranks[place] = (start + end - 1) / 2
        start = end
    return ranks
