"""Offline demand: batches with deadlines, weights and tenants.

Owns how batches become rates. Refuses placement. Under earliest deadline first the rate
that a set of batches rests on is max over deadlines D of (work due by D) / D, exact at
constant capacity. A weight is a priority times the devices a unit of work takes on the
reference, so that equal priorities value a device's time alike whatever the model. A tenant's
claim on its fair share counts devices too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.placement.board import Board
from planner.model import BatchDemand, Tenant

TENANTS = 5
_DEMANDS = 4  # of each deployment: so many (tenant, priority) pairs
_PRIORITIES = (1.0, 1.5, 2.0, 3.0, 4.0)
_HAS_DEADLINE = 0.6
_QUOTA_RATIO = 0.3  # of all offline work: what one tenant may take, where even is a fifth


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineUnit:
    """What offline work of one deployment weighs.

    Attributes:
        work_per_device: Engine-ms per second that a device of the fleet's mix carries of
            it, alone; what demands are scaled by.
        value: Weight of a unit of its work at priority 1.
    """

    work_per_device: float
    value: float


def edf_rate(batches: Sequence[tuple[float, float]]) -> float:
    """The rate that keeps every deadline.

    Args:
        batches: (work left, seconds until its deadline), any order, seconds > 0.

    Returns:
        Work per second.
    """
    due = rate = 0.0
    for work, seconds in sorted(batches, key=lambda batch: batch[1]):
        due += work
        rate = max(rate, due / seconds)
    return rate


def draw_batches(
    rng: np.random.Generator,
    units: Sequence[tuple[str, OfflineUnit]],
    *,
    devices: int,
    deadlines: float,
    elastic: float,
) -> tuple[BatchDemand, ...]:
    """Demands of all deployments.

    Args:
        rng: Drawn from.
        units: Deployment and its unit, in order.
        devices: Of the fleet.
        deadlines: Share of the devices that rates of deadlines need.
        elastic: Share that may be used besides.

    Returns:
        Four a deployment; over all of them, rates add up to exactly those shares.
    """
    shares = rng.dirichlet(np.full(len(units), 0.7))
    keys = [
        (number, tenant)
        for number in range(len(units))
        for tenant in rng.permutation(TENANTS)[:_DEMANDS].tolist()
    ]
    # In devices: of deadlines, then of all else.
    urgent = np.array(
        [
            shares[number] * rng.exponential() * edf_rate(_draw_set(rng))
            if rng.random() < _HAS_DEADLINE
            else 0.0
            for number, _ in keys
        ]
    )
    urgent *= devices * deadlines / max(float(urgent.sum()), 1e-12)
    spare = np.array([shares[number] * rng.exponential() for number, _ in keys])
    spare *= devices * elastic / float(spare.sum())
    return tuple(
        BatchDemand(
            deployment=units[number][0],
            tenant=f"tenant{tenant}",
            offline_work=float(least + more) * units[number][1].work_per_device,
            min_offline_work=float(least) * units[number][1].work_per_device,
            weight=float(rng.choice(_PRIORITIES)) * units[number][1].value,
        )
        for (number, tenant), least, more in zip(keys, urgent, spare, strict=True)
    )


def draw_tenants(rng: np.random.Generator, demands: Sequence[BatchDemand]) -> tuple[Tenant, ...]:
    """Tenants with weights and quotas; no quota lies under its own deadlines' rates."""
    whole = sum(demand.offline_work for demand in demands)
    tenants = []
    for number in range(TENANTS):
        name = f"tenant{number}"
        least = sum(d.min_offline_work for d in demands if d.tenant == name)
        tenants.append(
            Tenant(
                id=name,
                weight=float(rng.choice((1.0, 2.0))),
                max_offline_work=max(_QUOTA_RATIO * whole, 1.05 * least),
            )
        )
    return tuple(tenants)


def claims_of(board: Board) -> tuple[float, ...]:
    """Devices that a unit of each batch's work takes at the least; 0 where it fits none."""
    bears = [
        max((board.choices[k].most_offline / board.choices[k].devices for k in own), default=0.0)
        for own in board.of_deployment
    ]
    return tuple(
        1.0 / bears[batch.deployment] if bears[batch.deployment] > 0.0 else 0.0
        for batch in board.batches
    )


def _draw_set(rng: np.random.Generator) -> list[tuple[float, float]]:
    """One to four batches, their work of any unit, due within 1 to 24 hours."""
    count = int(rng.integers(1, 5))
    return [
        (float(work), 3600.0 * float(hours))
        for work, hours in zip(
            rng.lognormal(0.0, 0.8, count), rng.uniform(1.0, 24.0, count), strict=True
        )
    ]
