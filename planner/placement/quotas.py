"""Whose quota stands in the way of deadlines, by how much, and what would help.

Owns the words for it. Refuses to say so of a tenant whose quota is not used up by what
deadlines rest on: there more replicas would help, and `explain` says so. Invariant: a demand
that is told of here is short however many replicas there are.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from math import ceil

from planner.model import Misfit
from planner.placement.counting import Counting
from planner.placement.counts.standing import Standing
from planner.placement.weights import REPLICA_WORK

QUOTA = "quota"
"""Dimension of such a misfit; needed and available are the tenant's, in engine-ms per second."""

_NOTHING = 1e-6  # replica-equivalents


@dataclass(frozen=True, slots=True, kw_only=True)
class Capped:
    """What quotas keep from deadlines.

    Attributes:
        demands: Indices of those that are short for a quota.
        misfits: By deployment, one a tenant.
    """

    demands: frozenset[int]
    misfits: dict[str, tuple[Misfit, ...]] = field(default_factory=dict)


def capped_deadlines(counting: Counting, standing: Standing) -> Capped:
    """Deadlines that are missed since their tenants' quotas are used up by deadlines.

    Args:
        counting: The fleet in counts.
        standing: What its replicas carry.
    """
    problem = counting.problem
    wanted: dict[int, float] = defaultdict(float)  # by tenant, what deadlines rest on
    carried: dict[int, float] = defaultdict(float)  # and what of it is done
    for j, demand in enumerate(problem.offline):
        wanted[demand.tenant] += demand.least
        carried[demand.tenant] += min(demand.least, standing.offline.get(j, 0.0))
    short: dict[tuple[str, int], float] = defaultdict(float)
    demands = set()
    for (j, *_), missing in standing.missing.get("deadline", {}).items():
        demand = problem.offline[j]
        quota = problem.tenants[demand.tenant].most
        if missing <= _NOTHING or quota is None or carried[demand.tenant] < quota - _NOTHING:
            continue
        demands.add(j)
        short[counting.deployments[demand.deployment], demand.tenant] += missing
    misfits: dict[str, tuple[Misfit, ...]] = {}
    for (name, tenant), missing in sorted(short.items()):
        quota = problem.tenants[tenant].most
        assert quota is not None  # it is short for one
        told = _misfit(
            name,
            counting.tenants[tenant],
            needed=wanted[tenant] * REPLICA_WORK,
            quota=quota * REPLICA_WORK,
            short=missing * REPLICA_WORK,
        )
        misfits[name] = (*misfits.get(name, ()), told)
    return Capped(demands=frozenset(demands), misfits=misfits)


def _misfit(name: str, tenant: str, *, needed: float, quota: float, short: float) -> Misfit:
    return Misfit(
        deployment=name,
        node=None,
        dimension=QUOTA,
        needed=needed,
        available=quota,
        message=f"deployment {name}: deadlines of tenant {tenant} need {needed:.0f} engine-ms/s of"
        f" offline work, its quota is {quota:.6g}, and {short:.0f} are not done here; raise its"
        f" quota to {ceil(needed - _NOTHING)}, or give its batches later deadlines",
    )
