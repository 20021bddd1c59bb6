"""What a replayed fleet did: sums over intervals, and totals.

Owns the record. Refuses to judge it. Invariants: what is counted in an interval is what
happened in it; totals are the sums of the series.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SERIES = (
    "requests",
    "attained",
    "shed",
    "failed",
    "online_work_ms",
    "offline_work_ms",
    "held_device_s",
    "serving_device_s",
    "used_device_s",
    "node_device_s",
    "cost",
    "adds",
    "removes",
    "adjusts",
    "down_node_s",
)
"""Sums kept for each interval; `held` from a load's begin to a drain's end, `node` of all
devices of nodes that hold any replica, `used` weighted by how far replicas are used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceTotals:
    """One deployment over the whole replay."""

    deployment: str
    requests: float
    attained: float
    shed: float
    failed: float
    online_work_ms: float
    offline_work_ms: float
    attainment_target: float

    @property
    def attainment_ratio(self) -> float:
        """Share of requests that attained; 1 of none."""
        return self.attained / self.requests if self.requests else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTotals:
    """One batch at the end of the replay."""

    batch: str
    deployment: str
    tenant: str
    items: int
    done: float
    submit_s: float
    deadline_s: float | None
    finish_s: float | None
    is_missed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRecord:
    """One round; `solver` is "" where it gave no plan."""

    at_s: float
    trigger: str
    solver: str
    status: str
    objective: float
    gap: float
    adds: int
    removes: int
    adjusts: int
    misfits: int
    changes: tuple[tuple[str, int, int], ...] = ()  # (deployment, added, removed)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRecord:
    """All of one replay."""

    mode: str
    duration_s: float
    interval_s: float
    series: Mapping[str, Sequence[float]]
    services: tuple[ServiceTotals, ...]
    batches: tuple[BatchTotals, ...]
    rounds: tuple[RoundRecord, ...]
    device_hours: Mapping[str, float]  # held, by device type
    node_device_hours: float
    devices: Mapping[str, int]  # of the fleet, by device type
    nodes: int

    def total(self, name: str) -> float:
        """Sum of one series."""
        return sum(self.series[name])

    @property
    def attainment_ratio(self) -> float:
        """Share of all online requests that attained; 1 of none."""
        requests = self.total("requests")
        return self.total("attained") / requests if requests else 1.0

    @property
    def missed_deadlines(self) -> int:
        """Batches whose deadline passed before they were done."""
        return sum(batch.is_missed for batch in self.batches)

    @property
    def moves(self) -> int:
        """Replicas added and removed by rounds."""
        return sum(one.adds + one.removes for one in self.rounds)


_SERVICE_SUMS = (
    "requests", "attained", "shed", "failed", "online_work_ms", "offline_work_ms",
)  # fmt: skip


def no_sums() -> dict[str, float]:
    """A deployment's totals before anything happened."""
    return dict.fromkeys(_SERVICE_SUMS, 0.0)


@dataclass(slots=True, kw_only=True)
class Recorder:
    """Sums as they come."""

    interval_s: float
    intervals: int
    series: dict[str, list[float]] = field(init=False)
    services: dict[str, dict[str, float]] = field(default_factory=dict)
    device_s: dict[str, float] = field(default_factory=dict)
    rounds: list[RoundRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.series = {name: [0.0] * self.intervals for name in SERIES}

    def add(self, at_s: float, **sums: float) -> None:
        """Adds to the interval of a moment."""
        index = self._index(at_s)
        for name, value in sums.items():
            self.series[name][index] += value

    def add_service(self, deployment: str, at_s: float, **sums: float) -> None:
        """Likewise, also to a deployment's totals."""
        own = self.services.setdefault(deployment, no_sums())
        index = self._index(at_s)
        for name, value in sums.items():
            own[name] += value
            self.series[name][index] += value

    def hold(self, at_s: float, *, device_type: str, device_s: float, price: float) -> None:
        """Adds devices held, and what they cost at a price per hour."""
        self.device_s[device_type] = self.device_s.get(device_type, 0.0) + device_s
        self.add(at_s, held_device_s=device_s, cost=device_s / 3600.0 * price)

    def _index(self, at_s: float) -> int:
        return min(self.intervals - 1, max(0, int(at_s / self.interval_s + 1e-9)))
