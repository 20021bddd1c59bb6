"""What a round of the replay is asked: the fleet's state and its demand as a snapshot.

Owns demand in a round's terms: the forecast's upper bound of online work, offline work
wanted, and the rate that deadlines rest on (for EDF per deployment: the greatest, over its
deadlines, of the work due by one over the time to it). Refuses decisions.
"""

import math
from collections.abc import Iterable
from dataclasses import replace

from planner.model import (
    Allocation,
    BatchDemand,
    Deployment,
    Node,
    ReplicaFrontier,
    Snapshot,
)
from planner.simulation.fleet.book import Book
from planner.simulation.fleet.forecasts import Forecast
from planner.simulation.fleet.scenario import FleetScenario, Service

DEMAND_STEPS = 40
"""Work is rounded up to this part of a replica's, so that noise makes no round."""

_REPLICA_WORK = 1000.0  # of the constraint max_replicas puts on what can be wanted


class Desires:
    """Makes snapshots."""

    def __init__(self, scenario: FleetScenario, *, forecast: Forecast, book: Book) -> None:
        self._scenario, self._forecast, self._book = scenario, forecast, book
        self._tenants = scenario.tenants
        self._frontiers = tuple(frontiers(scenario.services))
        self._steps = {service.deployment.id: step_of(service) for service in scenario.services}

    def snapshot(
        self,
        *,
        revision: int,
        nodes: tuple[Node, ...],
        allocations: tuple[Allocation, ...],
        now_s: float,
        horizon_s: float,
    ) -> Snapshot:
        """What a round at `now_s` decides from; demand is that of the next `horizon_s`."""
        settings = self._scenario.rounds
        return Snapshot(
            revision=revision,
            nodes=nodes,
            deployments=tuple(
                self._wanted(service, now_s=now_s, horizon_s=horizon_s)
                for service in self._scenario.services
            ),
            allocations=allocations,
            frontiers=self._frontiers,
            max_moves=settings.max_moves,
            tenants=self._tenants,
            batches=self._batches(now_s=now_s),
            pins=self._scenario.pins,
            prices=tuple(sorted(self._scenario.prices.items())) if settings.is_priced else (),
            device_cost=settings.device_cost,
        )

    def _wanted(self, service: Service, *, now_s: float, horizon_s: float) -> Deployment:
        deployment = service.deployment
        step = self._steps[deployment.id]
        online = self._forecast.upper(deployment.id, at_s=now_s, horizon_s=horizon_s)
        wanted, least = self._offline(deployment.id, now_s=now_s)
        classes = deployment.slo_classes
        return replace(
            deployment,
            online_work=_stepped(online, step),
            offline_work=_stepped(wanted, step),
            min_offline_work=_stepped(least, step),
            slo_classes=tuple(
                replace(one, online_work=_stepped(online / len(classes), step)) for one in classes
            ),
        )

    def _offline(self, deployment: str, *, now_s: float) -> tuple[float, float]:
        settings = self._scenario.rounds
        left_ms = self._book.left_work_ms(deployment)
        if left_ms <= 0.0:
            return 0.0, 0.0
        least = due_ms = 0.0
        for deadline_s, work_ms in self._book.due(deployment, now_s=now_s):
            due_ms += work_ms
            least = max(least, due_ms / max(settings.resplit_s, deadline_s - now_s))
        least *= 1.0 + settings.deadline_margin_ratio
        return max(least, left_ms / settings.backlog_horizon_s), least

    def _batches(self, *, now_s: float) -> tuple[BatchDemand, ...]:
        """One for each tenant and weight where a deployment has more than one of them.

        Also where tenants are described: weights and quotas count over all deployments.
        """
        settings = self._scenario.rounds
        found: dict[tuple[str, str, float], tuple[float, float]] = {}
        kinds: dict[str, set[tuple[str, float]]] = {}
        for progress in self._book.all():
            if progress.is_finished:
                continue
            batch = progress.batch
            key = (batch.deployment, batch.tenant, batch.weight)
            kinds.setdefault(batch.deployment, set()).add((batch.tenant, batch.weight))
            left_ms = progress.left_work_ms
            least = 0.0
            if batch.deadline_s is not None and batch.deadline_s > now_s:
                least = left_ms / max(settings.resplit_s, batch.deadline_s - now_s)
                least *= 1.0 + settings.deadline_margin_ratio
            wanted = max(least, left_ms / settings.backlog_horizon_s)
            before = found.get(key, (0.0, 0.0))
            found[key] = (before[0] + wanted, before[1] + least)
        return tuple(
            BatchDemand(
                deployment=deployment,
                tenant=tenant,
                offline_work=wanted,
                min_offline_work=least,
                weight=weight,
            )
            for (deployment, tenant, weight), (wanted, least) in sorted(found.items())
            if self._tenants or len(kinds[deployment]) > 1
        )


def frontiers(services: Iterable[Service]) -> Iterable[ReplicaFrontier]:
    """Of every deployment on every type it is profiled on; replicas of any size bear as much."""
    for service in services:
        deployment = service.deployment
        for device_type, profile in sorted(service.profiles.items()):
            frontier = profile.frontier(attainment_ratio=deployment.slo.attainment_ratio)
            for size in (None, *deployment.other_tensor_parallel_sizes):
                yield ReplicaFrontier(
                    deployment=deployment.id,
                    device_type=device_type,
                    frontier=frontier,
                    tensor_parallel_size=size,
                )


def step_of(service: Service) -> float:
    """The step a deployment's demand is rounded up to, engine-ms per second."""
    most = max((p.capacity_work for p in service.profiles.values()), default=_REPLICA_WORK)
    return most / DEMAND_STEPS


def _stepped(work: float, step: float) -> float:
    return math.ceil(work / step - 1e-9) * step
