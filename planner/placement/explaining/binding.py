"""What binds a deployment: one word, and the sentence that says it.

Owns that word. Refuses to guess: what does not fit says why and what the nearest remedy is.
"""

from collections import Counter
from dataclasses import dataclass

from planner.model import Deployment, Misfit, Pin, Snapshot
from planner.placement.explaining.differences import (
    EPSILON,
    ChangeKind,
    Difference,
    differences,
)
from planner.placement.explaining.nodefit import misfits
from planner.placement.explaining.scope import Base, scope_of
from planner.placement.explaining.wording import MORE_MOVES, counted
from planner.placement.fleet import Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What binds, and what small changes would bring."""

    word: str
    what: str  # in words, with what to do
    misfits: tuple[Misfit, ...]  # of one more replica, the nearest first
    differences: tuple[Difference, ...]


def binding_of(
    snapshot: Snapshot,
    deployment: str,
    *,
    is_served: bool,
    is_short_online: bool,
    node: str | None = None,
    is_fleet_frozen: bool = False,
) -> Binding:
    """What binds one deployment, on one node where given.

    Args:
        snapshot: The state, with the deployment (and the node) in it.
        deployment: Its id.
        is_served: Whether what runs serves all the work that is wanted of it.
        is_short_online: Whether replicas or online work are short.
        node: Where one more replica is asked about; None: anywhere.
        is_fleet_frozen: Whether no plan is applied at all.

    Raises:
        SolverError: Work could not be routed, in a fleet that is not plain.
    """
    asked = next(one for one in snapshot.deployments if one.id == deployment)
    why = _misfits(snapshot, asked, node)
    scope = scope_of(snapshot, deployment, node=node)
    base = scope.base()
    found = differences(scope, base, asked, node=node, why=why)
    word, what = _word(
        snapshot,
        asked,
        base,
        why,
        found,
        is_served=is_served,
        is_short_online=is_short_online,
        is_fleet_frozen=is_fleet_frozen,
    )
    return Binding(word=word, what=what, misfits=why, differences=found)


def _misfits(snapshot: Snapshot, asked: Deployment, node: str | None) -> tuple[Misfit, ...]:
    """Why one more fits nowhere; of one node why not there, whatever the others say."""
    if node is None:
        return misfits(snapshot, asked)
    return misfits(snapshot, asked, only=node)


def _word(
    snapshot: Snapshot,
    deployment: Deployment,
    base: Base,
    why: tuple[Misfit, ...],
    found: tuple[Difference, ...],
    *,
    is_served: bool,
    is_short_online: bool,
    is_fleet_frozen: bool,
) -> tuple[str, str]:
    lost = base.worth.unsurvived.get(deployment.id, 0.0)
    pins = _missed_pins(snapshot, deployment, base)
    survives = ""
    if lost > EPSILON:
        survives = (
            f"{lost:.0f} engine-ms/s that are to survive the loss of a failure domain do not; "
        )
    if is_served and not survives and not pins:
        return "none", "all it wants is served"
    if is_fleet_frozen or deployment.is_frozen:
        what = "the fleet" if is_fleet_frozen else "it"
        return "frozen", f"{survives}{what} is frozen; thaw it with `slacktide placement unfreeze`"
    kept = [one for one in base.fleet.of(deployment.id) if one.replica in base.draft.kept]
    if len(kept) >= deployment.max_replicas:
        most = deployment.max_replicas
        return "max_replicas", f"{survives}it has its max_replicas {most}; raise max_replicas"
    if is_served and not survives:
        pin = pins[0]
        there = next(iter(_misfits(snapshot, deployment, pin.node)), None)
        later = MORE_MOVES if snapshot.max_moves == 0 else "the next round adds what is missing"
        remedy = _said(there) if there else later
        return "pin", f"pinned to node {pin.node} with {counted(pin.replicas, 'replica')}; {remedy}"
    tenants = base.worth.capped.get(deployment.id, ())
    if tenants and not survives and not is_short_online:
        names = ", ".join(tenant or "(none)" for tenant in tenants)
        return "quota", f"all that is left over is of tenant {names}, at its quota; raise the quota"
    if why:
        return why[0].dimension, survives + _said(why[0])
    more = next(one for one in found if one.kind is ChangeKind.ONE_MORE_REPLICA)
    if more.objective < -EPSILON:
        if snapshot.max_moves is not None:
            go_on = "the next go on" if snapshot.max_moves else MORE_MOVES
            what = f"rounds make {counted(snapshot.max_moves, 'move')} at the most; {go_on}"
            return "max_moves", survives + what
        what = f"{more.change} gains {-more.objective:.4g}; the next round can add it"
        return "next_round", survives + what
    what = f"one more replica fits and costs {more.objective:.4g} more than it gains"
    return "not_worth", survives + what


def _missed_pins(snapshot: Snapshot, deployment: Deployment, base: Base) -> list[Pin]:
    there = Counter(
        one.node
        for one in base.fleet.of(deployment.id)
        if one.replica in base.draft.kept
        and base.fleet.standing[one.replica] is not Standing.BROKEN
    )
    return [
        pin
        for pin in snapshot.pins
        if pin.deployment == deployment.id and there[pin.node] < pin.replicas
    ]


def _said(misfit: Misfit) -> str:
    return misfit.message.removeprefix(f"deployment {misfit.deployment}: ")
