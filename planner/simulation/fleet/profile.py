"""What one replica bears, measured at a few levels of online load.

Owns the curve between the levels: offline work beside, attainment with and without it, and
the frontier a round plans by. Refuses to measure. Invariants: offline work never rises with
online work; what lies between two levels is on the straight line; attainment is never above
that of a lighter level.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from planner.interference.derive_hull import frontier_through
from planner.interference.frontier import offline_limit, online_limit
from planner.model import Frontier, Segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level of steady online load.

    Args:
        online_work: Engine-ms per second.
        offline_work: What a batch without end gets beside it.
        alone_ratio: Attainment without offline work.
        beside_ratio: Attainment beside that batch.
        stay_s: How long a mean request is in the engine.
    """

    online_work: float
    offline_work: float
    alone_ratio: float = 1.0
    beside_ratio: float = 1.0
    stay_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaProfile:
    """Levels, lightest first, and what lies beyond them.

    Args:
        levels: The first at 0.
        capacity_work: What the engine does when requests queue without end.
        saturated_ratio: Share of requests that attain there but for their wait.
        wait_s: How long a request may wait at capacity and still attain.
        queue_work: Online work that a replica holds before the gateway sheds; inf: no bound.
        source: Where it is from.
    """

    levels: tuple[Level, ...]
    capacity_work: float
    saturated_ratio: float
    wait_s: float
    queue_work: float = math.inf
    source: str = "default"

    def __post_init__(self) -> None:
        works = [level.online_work for level in self.levels]
        if not works or works[0] != 0.0 or any(a >= b for a, b in pairwise(works)):
            raise ValueError(f"profile: levels at {works}; they begin at 0 and ascend")
        if not self.capacity_work >= works[-1]:
            raise ValueError(
                f"profile: capacity {self.capacity_work:g} below its last level {works[-1]:g}"
            )

    def offline_work(self, online_work: float) -> float:
        """Offline work beside that online work; 0 at capacity."""
        return self._at(online_work, lambda level: level.offline_work, at_capacity=0.0)

    def attainment(self, online_work: float, *, offline_ratio: float) -> float:
        """Share of requests that attain in steady state.

        Args:
            online_work: Engine-ms per second.
            offline_ratio: Offline work done, of what could be done beside, 0..1.
        """
        alone = self._at(online_work, lambda one: one.alone_ratio, at_capacity=self.saturated_ratio)
        beside = self._at(
            online_work, lambda one: one.beside_ratio, at_capacity=self.saturated_ratio
        )
        return alone + (beside - alone) * offline_ratio

    def stay_s(self, online_work: float) -> float:
        """How long a mean request is in the engine; the last level's beyond it."""
        last = self.levels[-1].stay_s
        return self._at(online_work, lambda level: level.stay_s, at_capacity=last)

    def frontier(self, *, attainment_ratio: float) -> Frontier:
        """What a round plans by: online load that attains beside a batch, and a curve under it.

        Args:
            attainment_ratio: That must hold.
        """
        return frontier_through(self._borne(attainment_ratio), source=self.source)

    def envelope(self, *, attainment_ratio: float) -> Frontier:
        """What no split over many such replicas can pass: the upper concave hull.

        Args:
            attainment_ratio: That must hold.
        """
        hull = _upper_hull(self._borne(attainment_ratio))
        segments = [
            Segment(alpha=-slope, beta=1.0, gamma=y - slope * x)
            for (x, y), (x2, y2) in pairwise(hull)
            for slope in ((y2 - y) / (x2 - x),)
        ]
        return Frontier(
            max_online_work=hull[-1][0],
            segments=tuple(segments) or (Segment(alpha=0.0, beta=1.0, gamma=hull[0][1]),),
            source=self.source,
        )

    def _borne(self, attainment_ratio: float) -> list[tuple[float, float]]:
        """The levels within the SLO, and where it ends."""
        most = self._most_online(attainment_ratio)
        points = [
            (level.online_work, level.offline_work)
            for level in self.levels
            if level.online_work < most
        ]
        return [*points, (most, self.offline_work(most))]

    def _most_online(self, attainment_ratio: float) -> float:
        best = 0.0
        for one, other in pairwise(self.levels):
            if other.beside_ratio >= attainment_ratio:
                best = other.online_work
                continue
            if one.beside_ratio > attainment_ratio:
                drop = (one.beside_ratio - attainment_ratio) / (
                    one.beside_ratio - other.beside_ratio
                )
                best = one.online_work + drop * (other.online_work - one.online_work)
            break
        return best

    def _at(
        self, online_work: float, value: Callable[[Level], float], *, at_capacity: float
    ) -> float:
        levels = self.levels
        at = bisect_right(levels, online_work, key=lambda level: level.online_work)
        if at < len(levels):
            low, high = levels[at - 1], levels[at]
            span = high.online_work - low.online_work
            share = (online_work - low.online_work) / span
            return value(low) + share * (value(high) - value(low))
        last = levels[-1]
        span = self.capacity_work - last.online_work
        share = min(1.0, (online_work - last.online_work) / span) if span > 0.0 else 1.0
        return value(last) + share * (at_capacity - value(last))


def profile_of(frontier: Frontier, *, wait_s: float, attainment_ratio: float) -> ReplicaProfile:
    """A profile where only a frontier is known.

    Up to its end requests attain as the SLO asks; the end is taken as the share of the
    engine's time that a tight TTFT target leaves (`interference.frontier`).

    Args:
        frontier: Of one replica.
        wait_s: How long a request may queue and still attain.
        attainment_ratio: The SLO's.
    """
    most = online_limit(frontier)
    if most <= 0.0:
        raise ValueError("frontier: bears no online work; give one with max_online_work > 0")
    grid = sorted({0.0, *(most * share / 8 for share in range(1, 9))})
    levels = tuple(
        Level(
            online_work=x,
            offline_work=offline_limit(frontier, x),
            beside_ratio=1.0 - (1.0 - attainment_ratio) * x / most,
        )
        for x in grid
    )
    return ReplicaProfile(
        levels=levels,
        capacity_work=most / _ONLINE_TIME_RATIO,
        saturated_ratio=0.5,
        wait_s=wait_s,
        source=frontier.source,
    )


_ONLINE_TIME_RATIO = 0.7  # as of interference.frontier.DEFAULT_FRONTIER


def tidied(levels: Sequence[Level]) -> tuple[Level, ...]:
    """Levels with what noise did undone: nothing improves as load grows."""
    found: list[Level] = []
    for level in levels:
        if found:
            before = found[-1]
            level = replace(  # noqa: PLW2901
                level,
                offline_work=min(level.offline_work, before.offline_work),
                alone_ratio=min(level.alone_ratio, before.alone_ratio),
                beside_ratio=min(level.beside_ratio, before.beside_ratio),
            )
        found.append(level)
    return tuple(found)


def _upper_hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    hull: list[tuple[float, float]] = []
    for point in points:
        while len(hull) > 1 and _turns_left(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return hull


def _turns_left(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) >= (b[1] - a[1]) * (c[0] - a[0])
