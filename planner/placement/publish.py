"""A draft made into a plan.

Owns the last steps that every candidate takes alike: placements in order, shares, moves,
terms, misfits, status. Invariants: the objective is the sum of the terms shown; a plan
says INFEASIBLE where some wish stays unmet, and OPTIMAL only on a proof. A fair share that
is missed is told of and is no such wish (`fairness`).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from planner.model import OFFLINE_ONLY, Misfit, Placement, Plan, PlanStatus
from planner.placement.diff import moves_of
from planner.placement.explain import unmet
from planner.placement.fleet import Draft, Fleet, Seat
from planner.placement.objective import evaluate, total
from planner.placement.shares import with_shortages

if TYPE_CHECKING:
    from planner.placement.carrying import Shortage
    from planner.placement.counts.standing import Standing


def publish(
    fleet: Fleet,
    draft: Draft,
    *,
    status: PlanStatus,
    solver: str,
    bound: float,
    standing: "Standing | None" = None,
    chosen: str = "",
) -> Plan:
    """Makes the plan of a draft.

    Args:
        fleet: The survey the draft was made from.
        draft: What is kept, new and waiting.
        status: What is known of it, were every wish met.
        solver: What produced it.
        bound: Proven lower bound on the objective.
        standing: Of the draft in counts, where it is known; None to evaluate it here.
        chosen: Why replicas go that it leaves out, where somebody chose it (`diff`).
    """
    known = _classes(fleet)
    kept = [
        Placement(
            replica=a.replica,
            deployment=a.deployment,
            node=a.node,
            devices=a.devices,
            slo_class=a.slo_class if a.slo_class in known[a.deployment] else "",
        )
        for a in fleet.allocations.values()
        if a.replica in draft.kept
    ]
    kept.sort(key=lambda p: (p.deployment, p.replica or ""))
    placements, short = with_shortages(
        fleet, [*kept, *_seated(draft.new, known)], standing=standing
    )
    waiting = tuple(_seated(draft.waiting, known))
    terms = evaluate(fleet, draft, work_terms=_terms(fleet, standing))
    lasting, awaited = unmet(fleet, placements, waiting, short=short)
    objective = total(terms)
    return Plan(
        base_revision=fleet.snapshot.revision,
        status=PlanStatus.INFEASIBLE if lasting else status,
        solver=solver,
        objective=objective,
        bound=min(bound, objective),
        terms=terms,
        placements=placements,
        moves=moves_of(fleet, placements, waiting=waiting, chosen=chosen),
        misfits=lasting + awaited + unfair(short),
        waiting=waiting,
    )


def _terms(fleet: Fleet, standing: "Standing | None") -> Mapping[str, float] | None:
    if standing is None:
        return None
    # Loads OR-Tools, which whoever has a standing loaded before.
    from planner.placement.carrying import terms_of
    from planner.placement.counting import counting_of

    return terms_of(counting_of(fleet), standing)


def unfair(short: "Mapping[str, Shortage] | None") -> tuple[Misfit, ...]:
    """Who is short of a fair share; nobody where deployments stand alone.

    Args:
        short: What is short by deployment, as `with_shortages` says.
    """
    if short is None:
        return ()
    # Loads OR-Tools, which whoever has `short` loaded before.
    from planner.placement.carrying import short_of_shares

    return short_of_shares(short)


def _classes(fleet: Fleet) -> dict[str, frozenset[str]]:
    """SLO classes replicas may be held to, by deployment; none where all serve alike."""
    is_plain = fleet.is_plain
    return {
        name: frozenset()
        if is_plain
        else frozenset({OFFLINE_ONLY, *(one.id for one in deployment.slo_classes)})
        for name, deployment in fleet.deployments.items()
    }


def _seated(seats: tuple[Seat, ...], known: Mapping[str, frozenset[str]]) -> list[Placement]:
    ordered = sorted(seats, key=lambda seat: (seat.deployment, seat.node, seat.devices))
    return [
        Placement(
            replica=None,
            deployment=seat.deployment,
            node=seat.node,
            devices=seat.devices,
            slo_class=seat.slo_class if seat.slo_class in known[seat.deployment] else "",
        )
        for seat in ordered
    ]
