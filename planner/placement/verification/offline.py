"""Offline work: whose it is, and how much of it there may be.

Owns that a deployment's offline shares are no more than its stage, its batches and their
tenants' quotas allow together. Shares do not say whose work they carry, so a plan is refused
where no attribution of them to tenants holds: a transport from tenants to deployments, over
what each tenant wants of each.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import inf, isfinite

from planner.model import Placement
from planner.placement.verification.facts import Facts
from planner.placement.verification.transport import fed
from planner.placement.verification.violation import Violation, broken, slack

# Committed shares stay as they are while demand changes by noise: as much above what is
# wanted a placement may lie. Quotas know no such allowance.
_STEADY_RATIO = 0.1
_STEADY = 10.0  # engine-ms per second


def offline(facts: Facts, placements: Sequence[Placement]) -> Iterator[Violation]:
    """Offline shares are within stage, demand and quotas."""
    carried: dict[str, float] = defaultdict(float)
    allowance: dict[str, float] = defaultdict(float)
    for placement in placements:
        share = placement.offline_share
        if isfinite(share) and share > 0.0:  # else `loads` refuses it
            carried[placement.deployment] += share
            allowance[placement.deployment] += max(_STEADY, _STEADY_RATIO * share)
    for name, work in sorted(carried.items()):
        deployment = facts.deployments[name]
        if not deployment.stage.runs_offline:
            yield broken(
                "stage", name, f"offline work {work}, none runs at stage {deployment.stage.value}"
            )
    yield from _attributed(facts, carried, allowance)


def _attributed(
    facts: Facts, carried: Mapping[str, float], allowance: Mapping[str, float]
) -> Iterator[Violation]:
    quotas = {
        tenant.id: inf if tenant.max_offline_work is None else tenant.max_offline_work
        for tenant in facts.snapshot.tenants
    }
    wanted: dict[tuple[str, str], float] = defaultdict(float)
    named: set[str] = set()
    for demand in facts.snapshot.batches:
        named.add(demand.deployment)
        if demand.deployment in carried:
            most = max(demand.offline_work, demand.min_offline_work)
            wanted[demand.tenant, demand.deployment] += most
            quotas.setdefault(demand.tenant, inf)
    for name, work in sorted(carried.items()):
        if name in named:
            continue
        deployment = facts.deployments[name]
        most = max(deployment.offline_work, deployment.min_offline_work)
        if work > most + allowance[name] + slack(work):
            yield broken("demand", name, f"offline work {work}, {most} is wanted")
    received = fed(
        quotas,
        {pair: most + allowance[pair[1]] for pair, most in wanted.items()},
        {name: work for name, work in carried.items() if name in named},
    )
    for name, work in sorted(received.items()):
        if carried[name] - work > slack(carried[name]):
            tenants = sorted(tenant for tenant, of in wanted if of == name)
            yield broken(
                "quota",
                name,
                f"offline work {carried[name]}, demands and quotas of {tenants} leave {work}",
            )
