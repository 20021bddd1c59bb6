"""Why a deployment has what it has, as it is told.

Pure. Owns the sentence that sums up. Refuses to decide what binds: that is
`planner.placement.explaining`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from controlplane.rounds.demand import OnlineParts
from controlplane.rounds.totals import Totals, by_deployment, running
from planner.model import Misfit, Snapshot
from planner.placement.explaining.binding import binding_of
from planner.placement.explaining.differences import EPSILON, Difference
from planner.placement.explaining.wording import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What binds a deployment."""

    misfits: tuple[Misfit, ...]
    binding: str
    summary: str
    differences: tuple[Difference, ...]
    totals: Totals


def explained(
    snapshot: Snapshot,
    deployment: str,
    *,
    node: str | None = None,
    is_fleet_frozen: bool = False,
    online: Sequence[OnlineParts] = (),
) -> Explanation:
    """Explains one deployment, on one node where given.

    Args:
        snapshot: The state, with the deployment (and the node) in it.
        deployment: Its id.
        node: Where one more replica is asked about; None: anywhere.
        is_fleet_frozen: Whether no plan is applied at all.
        online: What the online work of the snapshot is the most of, to be told.
    """
    own = tuple(one for one in snapshot.deployments if one.id == deployment)
    totals = by_deployment(replace(snapshot, deployments=own), running(snapshot))[deployment]
    found = binding_of(
        snapshot,
        deployment,
        is_served=_is_served(totals),
        is_short_online=_is_short_online(totals),
        node=node,
        is_fleet_frozen=is_fleet_frozen,
    )
    return Explanation(
        misfits=found.misfits,
        binding=found.word,
        summary=f"deployment {deployment}: {_served(totals, online)}; {found.what}",
        differences=found.differences,
        totals=totals,
    )


def _is_served(totals: Totals) -> bool:
    return not _is_short_online(totals) and _is_enough(
        totals.offline_work_served, of=totals.offline_work_wanted
    )


def _is_short_online(totals: Totals) -> bool:
    return totals.missing_replicas > 0 or not _is_enough(
        totals.online_work_served, of=totals.online_work_wanted
    )


def _is_enough(served: float, *, of: float) -> bool:
    return of <= served * (1.0 + EPSILON) + EPSILON


def _served(totals: Totals, online: Sequence[OnlineParts]) -> str:
    parts = "; ".join(filter(None, map(_parts_words, online)))
    serve = "serves" if totals.replicas == 1 else "serve"
    return (
        f"{counted(totals.replicas, 'replica')} {serve} {totals.online_work_served:.0f} of"
        f" {totals.online_work_wanted:.0f} online{f' ({parts})' if parts else ''}"
        f" and {totals.offline_work_served:.0f} of"
        f" {totals.offline_work_wanted:.0f} offline engine-ms/s"
    )


def _parts_words(parts: OnlineParts) -> str:
    """As `640 observed, 1180 forecast`, with the class before it; nothing of what is none."""
    known = ((parts.expected, "expected"), (parts.forecast, "forecast"))
    words = [f"{work:.0f} {name}" for work, name in known if work > 0.0]
    if not words and parts.observed <= 0.0:
        return ""
    words.insert(0, f"{parts.observed:.0f} observed")
    return f"{parts.slo_class}: {', '.join(words)}" if parts.slo_class else ", ".join(words)
