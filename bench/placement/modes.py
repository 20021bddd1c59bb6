"""What one replica bears, by SLO class, in device-equivalents.

Owns the step from frontiers to curves scaled by the deployment's reference: the online or
offline work of one of its devices at its limits is 1. Refuses fleets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from planner.interference.frontier import DEFAULT_FRONTIER, offline_limit, online_limit
from planner.model import OFFLINE_ONLY, Deployment, Frontier

CLASSES = 2
"""Most SLO classes of one deployment; rank 0 is the tightest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """What a replica of a choice bears in one SLO class, in device-equivalents.

    Attributes:
        rank: Of the class; CLASSES for offline only.
        most_online: Alone.
        segments: (alpha, beta, gamma) each.
        most_offline: Alone.
    """

    rank: int
    most_online: float
    segments: tuple[tuple[float, float, float], ...]
    most_offline: float

    def offline_beside(self, online: float) -> float:
        """Offline work beside `online`, which is within `most_online`."""
        return max(0.0, min((g - a * online) / b for a, b, g in self.segments if b > 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A way to run a deployment: on which devices.

    `most_online` is the online work it bears alone, by class: 0 where it bears none.
    """

    deployment: int
    kind: int
    devices: int
    host_memory_bytes: int
    modes: tuple[Mode, ...]
    most_online: tuple[float, ...]
    most_offline: float

    @classmethod
    def of(
        cls,
        modes: tuple[Mode, ...],
        *,
        deployment: int,
        kind: int,
        devices: int,
        host_memory_bytes: int,
    ) -> "Choice":
        """The choice with its modes."""
        return cls(
            deployment=deployment,
            kind=kind,
            devices=devices,
            host_memory_bytes=host_memory_bytes,
            modes=modes,
            most_online=tuple(
                max((mode.most_online for mode in modes if mode.rank <= rank), default=0.0)
                for rank in range(CLASSES)
            ),
            most_offline=max((mode.most_offline for mode in modes), default=0.0),
        )


Curves: TypeAlias = Mapping[tuple[str, str, int | None, str], Frontier]


def curve_of(
    deployment: Deployment, kind: str, size: int, slo_class: str, curves: Curves
) -> Frontier | None:
    """The known frontier; the default stands in for unknown ones but OFFLINE_ONLY's."""
    found = curves.get((deployment.id, kind, size, slo_class))
    if found is None and size == deployment.tensor_parallel_size:
        found = curves.get((deployment.id, kind, None, slo_class))
    if found is None and slo_class != OFFLINE_ONLY:
        return DEFAULT_FRONTIER
    return found


def scale_of(deployment: Deployment, kinds: tuple[str, ...], curves: Curves) -> tuple[float, float]:
    """Online and offline work of one device of the reference at its limits."""
    kind = (deployment.device_types or kinds)[0]
    size = deployment.tensor_parallel_size
    known = [
        curve
        for slo_class in (*(one.id for one in deployment.classes), OFFLINE_ONLY)
        if (curve := curve_of(deployment, kind, size, slo_class, curves)) is not None
    ]
    online = max((online_limit(curve) for curve in known), default=0.0) / size
    offline = max((offline_limit(curve, 0.0) for curve in known), default=0.0) / size
    return online or 1.0, offline or 1.0


def modes_of(
    deployment: Deployment,
    kind: str,
    size: int,
    curves: Curves,
    scale: tuple[float, float],
) -> tuple[Mode, ...]:
    """Curves of one choice, tightest class first, without those that bear nothing."""
    found = []
    ranked = [(rank, one.id) for rank, one in enumerate(deployment.classes)]
    for rank, slo_class in (*ranked, (CLASSES, OFFLINE_ONLY)):
        curve = curve_of(deployment, kind, size, slo_class, curves)
        if curve is None:
            continue
        online = online_limit(curve) / scale[0] if rank < CLASSES else 0.0
        offline = offline_limit(curve, 0.0) / scale[1]
        if online <= 0.0 and offline <= 0.0:
            continue
        found.append(
            Mode(
                rank=rank,
                most_online=online,
                segments=tuple(
                    (one.alpha * scale[0] / scale[1], one.beta, one.gamma / scale[1])
                    for one in curve.segments
                ),
                most_offline=offline,
            )
        )
    return tuple(found)
