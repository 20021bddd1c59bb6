"""Demand of later rounds: every rate moves by its own factor.

Owns the walk: the logarithm of each factor reverts to 0 and takes a normal step a round.
Refuses to change fleets, quotas and deadlines' kinds. A quota follows its tenant's minimum
rates where they pass it, since a contradiction is not what drift is about.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from planner.model import BatchDemand, Deployment, Snapshot, Tenant

REVERSION = 0.95
STEP = 0.08


def drifting(snapshot: Snapshot, *, seed: int, step: float = STEP) -> Iterator[Snapshot]:
    """Snapshots of rounds 1, 2, …, without end; only demand differs from the given one.

    Args:
        snapshot: Of round 0.
        seed: Of all steps.
        step: Standard deviation of a step of a factor's logarithm.
    """
    rng = np.random.default_rng([seed, 7])
    classes = sum(len(deployment.slo_classes) for deployment in snapshot.deployments)
    online, offline = np.zeros(classes), np.zeros(len(snapshot.batches))
    while True:
        online = REVERSION * online + rng.normal(0.0, step, classes)
        offline = REVERSION * offline + rng.normal(0.0, step, len(offline))
        factors = iter(np.exp(online).tolist())
        batches = tuple(
            replace(
                batch,
                offline_work=batch.offline_work * factor,
                min_offline_work=batch.min_offline_work * factor,
            )
            for batch, factor in zip(snapshot.batches, np.exp(offline).tolist(), strict=True)
        )
        yield replace(
            snapshot,
            deployments=tuple(_scaled(one, factors) for one in snapshot.deployments),
            batches=batches,
            tenants=tuple(_roomy(tenant, batches) for tenant in snapshot.tenants),
        )


def _scaled(deployment: Deployment, factors: Iterator[float]) -> Deployment:
    return replace(
        deployment,
        slo_classes=tuple(
            replace(one, online_work=one.online_work * next(factors))
            for one in deployment.slo_classes
        ),
    )


def _roomy(tenant: Tenant, batches: tuple[BatchDemand, ...]) -> Tenant:
    least = sum(batch.min_offline_work for batch in batches if batch.tenant == tenant.id)
    if tenant.max_offline_work is None or tenant.max_offline_work >= least:
        return tenant
    return replace(tenant, max_offline_work=least)
