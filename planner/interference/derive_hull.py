"""A frontier through simulated points.

Owns the curve: it falls, is concave, and lies on or under every point, so that the planner is
never promised more than was seen. Refuses to simulate.

Where the points are concave their chords are the curve. Often they are not: the first online
request costs offline work more than the next. Then some points are touched and the others lie
above; of all such curves the one with the largest area under it is taken. Where hardly any
offline work fits beside the last of the online work, a curve to its end would leave none
anywhere: then the curve may end before it.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from math import inf

from planner.model import Frontier, Segment

Point = tuple[float, float]
"""Online work, and the offline work seen beside it, in engine-milliseconds per second."""

MOST_POINTS = 12  # every choice of touched points is tried
_WORTH_RATIO = 1.5  # by so much the area has to grow where online work is given up for it
_ROUNDING = 1e-9  # of the highest point, and of the furthest


def frontier_through(
    points: Sequence[Point], *, source: str, least_online_ratio: float = 1.0
) -> Frontier:
    """The largest falling concave curve that touches some points and exceeds none.

    Args:
        points: One to MOST_POINTS, all numbers finite and >= 0; the largest online work is
            how much the replica bears. Of points with equal online work the lowest counts.
        source: As `Frontier.source`.
        least_online_ratio: Of the largest online work, as far as the curve has to go, 0 to 1;
            it ends at a point.

    Raises:
        ValueError: No point, too many, or a number out of range.
    """
    if not 1 <= len(points) <= MOST_POINTS or any(
        not (0.0 <= x < inf and 0.0 <= y < inf) for x, y in points
    ):
        raise ValueError(f"frontier: points {points} must be 1 to {MOST_POINTS}, finite and >= 0")
    fallen = _fallen(points)
    curve = max(_curves(fallen), key=_area)
    for last in range(len(fallen) - 1, 0, -1):
        if fallen[last - 1][0] < least_online_ratio * fallen[-1][0]:
            break
        shorter = max(_curves(fallen[:last]), key=_area)
        if _area(shorter) > _WORTH_RATIO * _area(curve):
            curve = shorter
    return Frontier(
        max_online_work=curve[-1][0],
        segments=tuple(_chord(one, other) for one, other in pairwise(curve))
        or (Segment(alpha=0.0, beta=1.0, gamma=curve[0][1]),),
        source=source,
    )


def _fallen(points: Sequence[Point]) -> list[Point]:
    """By online work, none higher than one with less of it: more never makes room.

    Points as good as equal in online work are one, the lowest of them.
    """
    ordered = sorted(points, key=lambda point: (point[0], -point[1]))
    apart = _ROUNDING * ordered[-1][0]
    fallen: list[Point] = []
    least = inf
    for x, y in ordered:
        least = min(least, y)
        if fallen and x - fallen[-1][0] <= apart:
            fallen[-1] = (x, least)
        else:
            fallen.append((x, least))
    return fallen


def _curves(fallen: Sequence[Point]) -> Iterator[list[Point]]:
    """Concave curves over all the online work, by their corners; none exceeds a point."""
    begin, end = fallen[0][0], fallen[-1][0]
    lowest = fallen[-1][1]
    yield [(begin, lowest), (end, lowest)] if end > begin else [(begin, lowest)]
    for size in range(2, len(fallen) + 1):
        for touched in combinations(fallen, size):
            curve = _extended(touched, begin=begin, end=end)
            if _is_concave(curve) and all(
                _height(curve, x) <= y + _ROUNDING * fallen[0][1] for x, y in fallen
            ):
                yield curve


def _extended(touched: Sequence[Point], *, begin: float, end: float) -> list[Point]:
    """The chords through the touched points, the first and the last carried on to the ends."""
    first, second, *_ = touched
    *_, last_but_one, last = touched
    curve = list(touched)
    if first[0] > begin:
        curve[0] = (begin, _on_line(first, second, begin))
    if last[0] < end:
        curve[-1] = (end, _on_line(last_but_one, last, end))
    return curve


def _is_concave(curve: Sequence[Point]) -> bool:
    slopes = [_slope(one, other) for one, other in pairwise(curve)]
    return all(one >= other for one, other in pairwise(slopes)) and curve[-1][1] >= 0.0


def _area(curve: Sequence[Point]) -> float:
    return sum((right - left) * (high + low) / 2 for (left, high), (right, low) in pairwise(curve))


def _height(curve: Sequence[Point], x: float) -> float:
    for one, other in pairwise(curve):
        if one[0] <= x <= other[0]:
            return _on_line(one, other, x)
    raise ValueError(f"online work {x} lies beyond {curve[0][0]} to {curve[-1][0]}")


def _slope(one: Point, other: Point) -> float:
    return (other[1] - one[1]) / (other[0] - one[0])


def _on_line(one: Point, other: Point, x: float) -> float:
    return one[1] + _slope(one, other) * (x - one[0])


def _chord(one: Point, other: Point) -> Segment:
    alpha = max(0.0, -_slope(one, other))
    return Segment(alpha=alpha, beta=1.0, gamma=one[1] + alpha * one[0])
