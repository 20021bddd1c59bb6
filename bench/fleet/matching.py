"""Rivals at equal service: the day that costs a rival least where it attains as much as Slacktide.

Owns the grid of quantiles and the choice. Refuses replays. A rival whose fleet attains less, or
more, is no equal: it plans by another quantile of the same forecast until it attains no less.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.fleet.arms import Ran
from bench.fleet.figures import OURS, held_hours, unlike, worst_ratio
from bench.harness import Figure
from planner.simulation.fleet.recording import FleetRecord

MATCHED = ("separate", "per-model-greedy")
"""Rivals whose rounds are fast enough for a day at each quantile."""
QUANTILES = (0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99)
_TARGETS = {"separate": "<= 0.7"}
_NO_LESS = 5e-4  # of all online requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A rival's day at one quantile of the forecast."""

    arm: str
    quantile: float
    record: FleetRecord

    def as_values(self) -> dict[str, float | str]:
        """JSON-like, without the day's course."""
        return {
            "arm": self.arm,
            "quantile": self.quantile,
            "device_hours": held_hours(self.record),
            "attainment": self.record.attainment_ratio,
            "least_attainment": worst_ratio(self.record),
            "missed_deadlines": float(self.record.missed_deadlines),
        }


def matched(tried: Sequence[Tried], ours: FleetRecord) -> Tried:
    """The one that holds least of those that attain no less; else the one that attains most."""
    equal = [
        one for one in tried if one.record.attainment_ratio >= ours.attainment_ratio - _NO_LESS
    ]
    if equal:
        return min(equal, key=lambda one: held_hours(one.record))
    return max(tried, key=lambda one: one.record.attainment_ratio)


def matched_figures(tried: Sequence[Tried], runs: Sequence[Ran]) -> list[Figure]:
    """Device-hours and cost beside each rival at equal service."""
    ours = next((run.record for run in runs if run.arm == OURS), None)
    if ours is None:
        return []
    figures = []
    for arm in dict.fromkeys(one.arm for one in tried):
        rival = matched([one for one in tried if one.arm == arm], ours)
        words = f"{arm} at equal service (quantile {rival.quantile:g}){unlike(ours, rival.record)}"
        figures += [
            Figure(
                name=f"device-hours: {OURS} / {words}",
                value=held_hours(ours) / held_hours(rival.record),
                unit="ratio",
                target=_TARGETS.get(arm),
            ),
            Figure(
                name=f"cost: {OURS} / {words}",
                value=ours.total("cost") / rival.record.total("cost"),
                unit="ratio",
            ),
        ]
    return figures
