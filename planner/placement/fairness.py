"""Who lacks of its fair share, by how much, and what binds.

Owns the words for it. Refuses to define a share (`counts.claims`) or to judge a plan by it:
a share is a floor that later rounds go on asking for, so a plan that misses one is feasible.
ADR 0012.
"""

from collections import Counter
from collections.abc import Sequence

from planner.model import Misfit, Placement
from planner.placement.counting import Counting
from planner.placement.counts.standing import Standing
from planner.placement.explaining.wording import MORE_MOVES, spent
from planner.placement.fleet import Fleet

FAIR_SHARE = "fair_share"
"""Dimension of such a misfit; needed and available are in devices."""

_LEAST = 0.01  # devices


def fair_misfits(
    fleet: Fleet, counting: Counting, standing: Standing, placements: Sequence[Placement]
) -> dict[str, tuple[Misfit, ...]]:
    """One misfit a tenant that is short, by the deployment of which it lacks most.

    Args:
        fleet: The survey.
        counting: The fleet in counts, with shares.
        standing: What the placements carry.
        placements: All that run or are to run.
    """
    problem = counting.problem
    replicas = Counter(p.deployment for p in placements)
    is_spent = problem.max_moves is not None and (
        sum(p.replica is None for p in placements) >= problem.max_moves
    )
    found: dict[str, tuple[Misfit, ...]] = {}
    for (tenant,), short in sorted(standing.missing.get("fair", {}).items()):
        lacking = short / problem.claim_unit
        if lacking <= _LEAST:
            continue
        share = problem.tenants[tenant].fair / problem.claim_unit
        unserved = {
            j: (one.most - standing.offline.get(j, 0.0)) * one.claim
            for j, one in enumerate(problem.offline)
            if one.tenant == tenant
        }
        most = max(unserved, key=lambda j: (unserved[j], -j))
        name = counting.deployments[problem.offline[most].deployment]
        whose = f"tenant {counting.tenants[tenant]}" if counting.tenants[tenant] else "no tenant"
        remedy = _remedy(fleet, name, replicas[name], is_spent=is_spent)
        misfit = Misfit(
            deployment=name,
            node=None,
            dimension=FAIR_SHARE,
            needed=share,
            available=max(0.0, share - lacking),
            message=f"deployment {name}: offline work of {whose} takes"
            f" {max(0.0, share - lacking):.2f} of the {share:.2f} devices of its fair share;"
            f" {remedy}",
        )
        found[name] = (*found.get(name, ()), misfit)
    return found


def _remedy(fleet: Fleet, name: str, replicas: int, *, is_spent: bool) -> str:
    """What binds, said as what would help."""
    deployment = fleet.deployments[name]
    if replicas >= deployment.max_replicas:
        return f"raise max_replicas above {deployment.max_replicas}"
    if deployment.is_frozen:
        return "the deployment is frozen: unfreeze it"
    if is_spent:
        moves = fleet.snapshot.max_moves
        return f"{spent(moves)}; later ones go on" if moves else MORE_MOVES
    if not any(node.takes_new for node in fleet.nodes.values()):
        return "no node takes new replicas: uncordon one"
    return "its replicas are full and no room was found for another: add devices that it fits"
