"""The online and offline work that given replicas carry together.

Owns the exact answer for one deployment with its replicas counted by device type.
Frontiers are concave, so n identical replicas carry n times one frontier's points and
the even split attains it; online work goes first, to where each unit displaces the least
offline work. Refuses to place anything.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from planner.interference.frontier import offline_limit, online_limit
from planner.model import Frontier


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Work of each device type's replicas together, in engine-ms per second."""

    online: Mapping[str, float]
    offline: Mapping[str, float]

    @property
    def online_work(self) -> float:
        """All online work carried."""
        return sum(self.online.values())

    @property
    def offline_work(self) -> float:
        """All offline work carried."""
        return sum(self.offline.values())


def carry(
    counts: Mapping[str, float],
    frontiers: Mapping[str, Frontier],
    *,
    online_work: float,
    offline_work: float,
) -> Flow:
    """Splits the wanted work over device types: all online work that fits, then offline.

    Args:
        counts: Replicas by device type; a fraction counts as that share of a replica.
        frontiers: One replica's frontier by device type.
        online_work: Wanted, engine-ms per second.
        offline_work: Wanted, engine-ms per second.

    Returns:
        What is carried, never more than wanted.
    """
    pieces = sorted(
        piece
        for kind, count in sorted(counts.items())
        if count > 0
        for piece in _pieces(kind, frontiers[kind])
    )
    online = dict.fromkeys(sorted(counts), 0.0)
    rest = online_work
    for _, kind, width in pieces:
        taken = min(rest, width * counts[kind])
        online[kind] += taken
        rest -= taken
    offline = {
        kind: count * offline_limit(frontiers[kind], online[kind] / count) if count > 0 else 0.0
        for kind, count in sorted(counts.items())
    }
    room = sum(offline.values())
    if room > offline_work:
        offline = {kind: work * offline_work / room for kind, work in offline.items()}
    return Flow(online=online, offline=offline)


def _pieces(kind: str, frontier: Frontier) -> list[tuple[float, str, float]]:
    """(offline work displaced by a unit of online work, kind, width) along the curve."""
    end = online_limit(frontier)
    curve = [segment for segment in frontier.segments if segment.beta > 0]
    crossings = {0.0, end}
    for i, one in enumerate(curve):
        for other in curve[i + 1 :]:
            slope = one.alpha / one.beta - other.alpha / other.beta
            if slope:
                crossings.add((one.gamma / one.beta - other.gamma / other.beta) / slope)
    points = sorted(x for x in crossings if 0.0 <= x <= end)
    return [
        (
            (offline_limit(frontier, left) - offline_limit(frontier, right)) / (right - left),
            kind,
            right - left,
        )
        for left, right in itertools.pairwise(points)
        if right > left
    ]
