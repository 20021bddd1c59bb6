"""Forecasts whose round has not come yet: what is needed to judge them.

Owns them by tracked horizon and round. Refuses judgement. Far horizons are judged on every
few rounds only: neighbours err alike, and so the state stays small. Invariants: at most
about `JUDGED` forecasts await at a horizon, twice as many between two multiples.
"""

import math
from dataclasses import dataclass

from planner.forecast.settings import ForecastSettings
from planner.forecast.stored import number, rows, whole

JUDGED = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """One forecast.

    Args:
        said: By expert; NaN: nothing.
        mean: What they made together.
        upper: Its bound.
    """

    said: list[float]
    mean: float
    upper: float


class Awaiting:
    """The forecasts of one series that await their rounds."""

    def __init__(self, settings: ForecastSettings) -> None:
        self._tracked = settings.tracked
        self._by_track: list[dict[int, Awaited]] = [{} for _ in self._tracked]

    def due(self, index: int) -> list[tuple[int, int]]:
        """Which rounds are to be forecast as a round ends: positions of horizons, and rounds."""
        return [
            (track, index + horizon)
            for track, horizon in enumerate(self._tracked)
            if index % max(1, horizon // JUDGED) == 0
        ]

    def add(self, track: int, target: int, forecast: Awaited) -> None:
        """Keeps a forecast."""
        self._by_track[track][target] = forecast

    def arrived(self, index: int) -> list[tuple[int, Awaited]]:
        """The forecasts of a round, by position of their horizon; older ones are dropped."""
        arrived = []
        for track, awaited in enumerate(self._by_track):
            for late in [target for target in awaited if target < index]:
                del awaited[late]
            if (one := awaited.pop(index, None)) is not None:
                arrived.append((track, one))
        return arrived

    def to_values(self) -> list[object]:
        """Plain values; NaN, which JSON lacks, is None."""
        return [
            [
                [
                    target,
                    [None if math.isnan(value) else value for value in one.said],
                    one.mean,
                    one.upper,
                ]
                for target, one in awaited.items()
            ]
            for awaited in self._by_track
        ]

    def restore(self, values: object, *, experts: int) -> None:
        """Takes on stored values.

        Raises:
            StateError: They are none of forecasts of so many experts.
        """
        stored = rows(values, "awaited", count=len(self._tracked))
        self._by_track = [
            dict(_restored(one, experts=experts) for one in rows(row, "awaited")) for row in stored
        ]


def _restored(values: object, *, experts: int) -> tuple[int, Awaited]:
    target, said, mean, upper = rows(values, "awaited", count=4)
    return whole(target, "awaited round"), Awaited(
        said=[
            math.nan if one is None else number(one, "awaited said")
            for one in rows(said, "awaited said", count=experts)
        ],
        mean=number(mean, "awaited mean"),
        upper=number(upper, "awaited upper"),
    )
