"""Whether online load has left what the plan in force was split for, and not by noise.

Pure. Owns the tolerances. Refuses to do anything about it. What is compared is what a round
would place for: the most of expected, observed and forecast. While load stays under its
forecast nothing departs, however it trembles; the forecast itself falls in steps only.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.rounds.demand import DEMAND_STEP, key_of
from storage.plan_records import PlanRecord

RISE_RATIO = 0.15
FALL_RATIO = 0.3
"""Wider: work kept free for load that went is filled by batches in the meantime."""
LEAST_WORK = 1.5 * DEMAND_STEP
CONFIRMED = 2
"""Looks in a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """One, in engine-ms per second; `key` as `demand.key_of`."""

    key: str
    split_for: float
    wanted: float

    @property
    def is_rise(self) -> bool:
        """Whether there is more than was reckoned with."""
        return self.wanted > self.split_for

    def __str__(self) -> str:
        return f"{self.key} {self.split_for:.0f} -> {self.wanted:.0f}"


def departed(split_for: Mapping[str, float], wanted: Mapping[str, float]) -> tuple[Departure, ...]:
    """What of the online work is beyond the tolerance, by key.

    Args:
        split_for: What shares were made for; those that lack here: 0.
        wanted: What there is to place for now.
    """
    found = (
        Departure(key=key, split_for=split_for.get(key, 0.0), wanted=work)
        for key, work in sorted(wanted.items())
    )
    return tuple(
        one
        for one in found
        if abs(one.wanted - one.split_for)
        > max(LEAST_WORK, (RISE_RATIO if one.is_rise else FALL_RATIO) * one.split_for)
    )


class Departures:
    """Looks in a row; tells of what was seen in enough of them."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, bool], int] = {}

    def look(
        self, split_for: Mapping[str, float], wanted: Mapping[str, float]
    ) -> tuple[Departure, ...]:
        """Takes in one look; the departures that are confirmed by it."""
        found = departed(split_for, wanted)
        self._seen = {
            (one.key, one.is_rise): self._seen.get((one.key, one.is_rise), 0) + 1 for one in found
        }
        return tuple(one for one in found if self._seen[one.key, one.is_rise] >= CONFIRMED)


def split_for_of(record: PlanRecord | None) -> dict[str, float]:
    """The online work a round's shares were made for, by key."""
    demand = record.demand if record else ()
    return {key_of(one.deployment, one.slo_class): one.placed for one in demand}
