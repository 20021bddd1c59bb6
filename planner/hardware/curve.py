"""A line through measured points.

Owns reading between and beyond them. Invariant: a monotone curve never falls anywhere.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Curve:
    """The line through points; `Curve.through` makes one.

    Before the first point it is level. After the last it goes on as it rose over the upper
    half of its range, or level if it fell: two neighbours differ by jitter more than by what
    lies between them.

    Attributes:
        at: Where it was measured, rising, at least two.
        values: What was measured there.
    """

    at: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.at) < 2 or len(self.at) != len(self.values):
            raise ValueError(
                f"curve: {len(self.at)} places and {len(self.values)} values; give at least "
                "two places and a value for each"
            )

    @classmethod
    def through(cls, points: Mapping[float, float]) -> "Curve":
        """The curve through these points, in any order."""
        at = tuple(sorted(points))
        return cls(at, tuple(points[place] for place in at))

    def __call__(self, at: float) -> float:
        """The value at `at`."""
        last = self.at[-1]
        if at <= last:
            return self._between(max(at, self.at[0]))
        middle = max(self.at[0], last / 2.0)
        rise = max(0.0, self.values[-1] - self._between(middle))
        return self.values[-1] + rise / (last - middle) * (at - last)

    def _between(self, at: float) -> float:
        after = min(max(bisect_right(self.at, at), 1), len(self.at) - 1)
        x0, x1 = self.at[after - 1 : after + 1]
        y0, y1 = self.values[after - 1 : after + 1]
        return y0 + (y1 - y0) * (at - x0) / (x1 - x0)

    def monotone(self) -> "Curve":
        """The nearest that never falls: pool adjacent violators, least squares."""
        pools: list[tuple[float, int]] = []  # mean, of how many points
        for value in self.values:
            mean, count = value, 1
            while pools and pools[-1][0] > mean:
                before, others = pools.pop()
                mean = (before * others + mean * count) / (others + count)
                count += others
            pools.append((mean, count))
        return Curve(self.at, tuple(mean for mean, count in pools for _ in range(count)))
