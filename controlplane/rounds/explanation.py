"""Why a deployment has what it has: what binds it, and what would help.

Pure. Owns the name of what binds and the sentence that says it. Refuses to guess: what
does not fit says why and what the nearest remedy is, and what a change would bring is
evaluated (`differences`).
"""

from dataclasses import dataclass, replace

from controlplane.rounds.differences import EPSILON, ChangeKind, Difference, differences
from controlplane.rounds.totals import Totals, by_deployment, running
from planner.model import Deployment, Misfit, Snapshot
from planner.placement.explain import misfits


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What binds a deployment."""

    misfits: tuple[Misfit, ...]
    binding: str
    summary: str
    differences: tuple[Difference, ...]
    totals: Totals


def explained(
    snapshot: Snapshot, deployment: str, *, node: str | None = None, is_fleet_frozen: bool = False
) -> Explanation:
    """Explains one deployment, on one node where given.

    Args:
        snapshot: The state, with the deployment (and the node) in it.
        deployment: Its id.
        node: Where one more replica is asked about; None: anywhere.
        is_fleet_frozen: Whether no plan is applied at all.
    """
    here = snapshot
    if node is not None:
        # Other nodes are kept for what runs there, and closed to the question.
        here = replace(
            snapshot,
            nodes=tuple(
                one if one.id == node else replace(one, is_cordoned=True) for one in snapshot.nodes
            ),
        )
    asked = next(one for one in here.deployments if one.id == deployment)
    why = tuple(
        one for one in misfits(here, asked) if node is None or one.node == node or one.node is None
    )
    found = differences(here, asked, node, why)
    totals = by_deployment(snapshot, running(snapshot))[deployment]
    binding, what = _binding(here, asked, totals, why, found, is_fleet_frozen=is_fleet_frozen)
    return Explanation(
        misfits=why,
        binding=binding,
        summary=f"deployment {deployment}: {_served(totals)}; {what}",
        differences=found,
        totals=totals,
    )


def _binding(
    snapshot: Snapshot,
    deployment: Deployment,
    totals: Totals,
    why: tuple[Misfit, ...],
    found: tuple[Difference, ...],
    *,
    is_fleet_frozen: bool,
) -> tuple[str, str]:
    """What binds, and what to do, in words."""
    most = deployment.max_replicas
    more = next((one for one in found if one.kind is ChangeKind.ONE_MORE_REPLICA), None)
    if _is_served(totals):
        return "none", "all it wants is served"
    if is_fleet_frozen or deployment.is_frozen:
        what = "the fleet" if is_fleet_frozen else "it"
        return "frozen", f"{what} is frozen; thaw it with `slacktide placement unfreeze`"
    if totals.replicas >= most:
        return "max_replicas", f"it has its max_replicas {most}; raise max_replicas"
    if why:
        return why[0].dimension, why[0].message.removeprefix(f"deployment {deployment.id}: ")
    if more is not None and more.misfit is not None:
        said = more.misfit.message.removeprefix(f"deployment {deployment.id}: ")
        return more.misfit.dimension, said
    if more is not None and more.fits and more.objective < -EPSILON:
        if snapshot.max_moves is not None:
            return (
                "max_moves",
                f"rounds make {snapshot.max_moves} moves at the most; the next go on",
            )
        return "next_round", f"{more.change} gains {-more.objective:.4g}; the next round adds it"
    cost = more.objective if more is not None else 0.0
    return "not_worth", f"one more replica fits and costs {cost:.4g} more than it gains"


def _is_served(totals: Totals) -> bool:
    return totals.missing_replicas == 0 and all(
        wanted <= served * (1.0 + EPSILON) + EPSILON
        for wanted, served in (
            (totals.online_work_wanted, totals.online_work_served),
            (totals.offline_work_wanted, totals.offline_work_served),
        )
    )


def _served(totals: Totals) -> str:
    return (
        f"{totals.replicas} replicas serve {totals.online_work_served:.0f} of"
        f" {totals.online_work_wanted:.0f} online and {totals.offline_work_served:.0f} of"
        f" {totals.offline_work_wanted:.0f} offline engine-ms/s"
    )
