"""Deployments of a fleet file whose replicas are given, not simulated.

Owns those that say `request_work`: what a live control plane knows of its fleet, in the work
it counts, with frontiers instead of engines. So any model on any device can be replayed,
aggregated. Refuses engines; the others are `replay_fleet_services`'.
"""

from pathlib import Path

from controlplane.cli.replay_fleet_part import Part
from controlplane.cli.replay_fleet_wishes import (
    MadeService,
    checked_types,
    demand_of,
    deployment_of,
    facts_of,
    frontiers_of,
    slo_of,
)
from planner.interference.frontier import DEFAULT_FRONTIER
from planner.simulation.fleet.profile import profile_of
from planner.simulation.fleet.scenario import Service
from planner.workload.generate import azure_lengths

_MOST_WORK_MS = 1e9  # of one request
_MOST_SIZE = 64  # devices of a replica


def is_given(part: Part) -> bool:
    """Whether the deployment is of this kind."""
    return "request_work" in part


def read_given(
    part: Part, *, types: tuple[str, ...], folder: Path, duration_s: float, seed: int
) -> MadeService:
    """One deployment of the file.

    Args:
        part: Its keys.
        types: Device types of the fleet.
        folder: Where its trace lies.
        duration_s: Of the replay.
        seed: Of its wandering demand.

    Raises:
        CommandError: A value that does not fit, by its key.
    """
    model = part.text("model")
    devices = checked_types(part, types)
    slo = slo_of(part.part("slo"))
    request_ms = part.number("request_work", least=1e-6, most=_MOST_WORK_MS)
    item_ms = part.number("item_work", request_ms, least=1e-6, most=_MOST_WORK_MS)
    deployment = deployment_of(
        part,
        model=model,
        slo=slo,
        size=part.whole("tensor_parallel_size", 1, least=1, most=_MOST_SIZE),
        devices=devices,
        weights_bytes=part.size("weights", 0),
        kv_cache_bytes=part.size("kv_cache", 0),
        latency_budget_ms=part.number("latency_budget", 0.0) or None,
        other_sizes=part.wholes("other_tensor_parallel_sizes", least=1, most=_MOST_SIZE),
    )
    given = frontiers_of(part, types)
    demand = demand_of(
        part,
        lengths=azure_lengths,
        folder=folder,
        duration_s=duration_s,
        seed=seed,
        request_work_ms=request_ms,
    )
    part.close()
    service = Service(
        deployment=deployment,
        demand=demand,
        request_work_ms=request_ms,
        item_work_ms=item_ms,
        profiles={
            device: profile_of(
                given.get(device, DEFAULT_FRONTIER),
                wait_s=slo.ttft_ms / 1e3,
                attainment_ratio=slo.attainment_ratio,
            )
            for device in devices
        },
    )
    return MadeService(service=service, facts=facts_of(service))
