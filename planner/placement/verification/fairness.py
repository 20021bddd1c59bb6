"""What a plan says of fair shares.

Owns that such a misfit can be true: two or more want offline work, the deployment it names is
one that somebody wants it of, and what is missing is a part of the share. Refuses to find
shares: they follow from a linear programme over the whole fleet, which the bench's referee
solves again by itself and compares.
"""

from collections.abc import Iterator
from math import inf

from planner.model import Plan
from planner.placement.verification.facts import Facts
from planner.placement.verification.violation import Violation, broken


def fairness(facts: Facts, plan: Plan) -> Iterator[Violation]:
    """Nobody is said to lack what nobody could have."""
    told = [misfit for misfit in plan.misfits if misfit.dimension == "fair_share"]
    lacking = sum(term.value for term in plan.terms if term.name == "fair_shortfall")
    if not (0.0 <= lacking < inf):
        yield broken("fair_share", "plan", f"claims below fair shares sum to {lacking}")
    for misfit in told:
        name = misfit.deployment
        if not 0.0 <= misfit.available < misfit.needed < inf:
            yield broken(
                "fair_share", name, f"{misfit.available} of a share of {misfit.needed} devices"
            )
    if plan.base_revision != facts.snapshot.revision or not (told or lacking > 0.0):
        return  # what is wanted may have changed since, and the plan still be good
    wanted = _wanted(facts)
    if len({tenant for tenant, _ in wanted}) < 2:
        yield broken("fair_share", "plan", "fewer than two want offline work, none can lack")
    for misfit in told:
        if not any(of == misfit.deployment for _, of in wanted):
            yield broken("fair_share", misfit.deployment, "none of its offline work is wanted")


def _wanted(facts: Facts) -> set[tuple[str, str]]:
    """(tenant, deployment) of all offline work that may run; "" is work of no tenant."""
    named = {demand.deployment for demand in facts.snapshot.batches}
    pairs = {
        (demand.tenant, demand.deployment, demand.offline_work) for demand in facts.snapshot.batches
    } | {
        ("", one.id, max(one.offline_work, one.min_offline_work))
        for one in facts.deployments.values()
        if one.id not in named
    }
    return {
        (tenant, name)
        for tenant, name, work in pairs
        if work > 0.0 and name in facts.deployments and facts.deployments[name].stage.runs_offline
    }
