"""Deployments of a fleet file whose replicas are simulated: lengths, and what a replica bears.

Owns turning a deployment's keys into a service. Replicas are profiled on the simulated
engine unless the file gives a frontier. Refuses the rest of the file.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from controlplane.cli.replay_fleet_engines import Fitted, context_of, engine_of, lengths_of
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
from planner.hardware.device import device_named
from planner.hardware.model import MODELS, ModelShape, model_named
from planner.model import Stage
from planner.rollout.budgets import engine_budgets
from planner.simulation.fleet.lengths import drawn_token_work, mean_work_ms
from planner.simulation.fleet.measure import Probing
from planner.simulation.fleet.profile import ReplicaProfile, profile_of
from planner.simulation.fleet.scenario import Service

_PROBE_S = 60.0
_KV_SHARE = 0.9  # of what a device has beside the weights, as machines count it


def read_service(
    part: Part,
    *,
    types: tuple[str, ...],
    folder: Path,
    duration_s: float,
    seed: int,
    tell: Callable[[str], None],
) -> MadeService:
    """One deployment of the file.

    Args:
        part: Its keys.
        types: Device types of the fleet.
        folder: Where its trace lies.
        duration_s: Of the replay.
        seed: Of its wandering demand and its probes.
        tell: Told of the probes.

    Raises:
        CommandError: A value that does not fit, by its key.
    """
    name, model = part.text("name"), _model(part)
    size = part.whole("tensor_parallel_size", 1, least=1, most=64)
    wanted = checked_types(part, types)
    chunk = part.whole("chunked_prefill_size", 1024, least=16)
    slo = slo_of(part.part("slo"))
    requests = lengths_of(part, "requests", "azure", model=model)
    has_lengths = "requests" in part
    items = lengths_of(part, "items", "arxiv", model=model)
    kinds = {
        device: kind
        for device in wanted
        if (kind := engine_of(part, model, device, size=size, chunk=chunk)) is not None
    }
    if not kinds:
        part.refuse(
            "device_types",
            f"{model.name} does not fit {size} × {', '.join(wanted)}; give a larger"
            " tensor_parallel_size or other devices",
        )
    deployment = deployment_of(
        part,
        model=model.name,
        slo=slo,
        size=size,
        devices=tuple(kinds),
        weights_bytes=model.weights_bytes,
        kv_cache_bytes=_kv_cache_bytes(model, kinds, size=size),
    )
    given = frontiers_of(part, types)
    demand = demand_of(part, lengths=requests, folder=folder, duration_s=duration_s, seed=seed)
    if demand.lengths is not requests:  # a trace's own
        own = Fitted(demand.lengths, context_of(model))
        demand = replace(demand, lengths=requests if has_lengths else own)
    part.close()
    reference = next(iter(kinds.values())).model
    request_ms = mean_work_ms(reference, demand.lengths)
    item_work = drawn_token_work(reference, items)
    profiles: dict[str, ReplicaProfile] = {}
    for device, kind in kinds.items():
        if device in given:
            profiles[device] = profile_of(
                given[device], wait_s=slo.ttft_ms / 1e3, attainment_ratio=slo.attainment_ratio
            )
            continue
        tell(f"measuring what a replica of {name} bears on {device}")
        profiles[device] = Probing(
            kind=kind,
            slo=slo,
            budgets=engine_budgets(
                slo=slo, latency_budget_ms=0.0, stage=Stage.ACTIVE, may_run_offline=True
            ),
            lengths=demand.lengths,
            items=items,
            request_work_ms=request_ms,
            item_work=item_work,
            window_s=_PROBE_S,
            seed=seed,
        ).profile()
    service = Service(
        deployment=deployment,
        demand=demand,
        request_work_ms=request_ms,
        item_work_ms=mean_work_ms(reference, items),
        profiles=profiles,
        engines=kinds,
        items=items,
        item_work=item_work,
    )
    return MadeService(service=service, facts=facts_of(service))


def _model(part: Part) -> ModelShape:
    name = part.text("model")
    try:
        return model_named(name)
    except ValueError:
        known = ", ".join(model.name for model in MODELS)
        part.refuse("model", f"{name!r} is not known; known are {known}")


def _kv_cache_bytes(model: ModelShape, devices: Iterable[str], *, size: int) -> int:
    """What the smallest of the devices leave beside the weights."""
    least_bytes = min(device_named(device).memory_bytes for device in devices)
    return max(1, int(_KV_SHARE * size * least_bytes) - model.weights_bytes)
