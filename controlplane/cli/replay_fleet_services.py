"""Deployments of a fleet file: lengths, demand, and what a replica bears.

Owns turning a deployment's keys into a service. Replicas are profiled on the simulated
engine unless the file gives a frontier. Refuses the rest of the file.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from controlplane.cli.failures import CommandError
from controlplane.cli.replay_fleet_engines import Fitted, context_of, engine_of, lengths_of
from controlplane.cli.replay_fleet_part import Part
from planner.hardware.device import device_named
from planner.hardware.model import MODELS, ModelShape, model_named
from planner.model import Deployment, Frontier, Segment, Slo, Stage
from planner.rollout.budgets import engine_budgets
from planner.simulation.fleet.demand import Demand, diurnal, traced
from planner.simulation.fleet.engines import Lengths, mean_work_ms, token_work
from planner.simulation.fleet.measure import Probing
from planner.simulation.fleet.profile import ReplicaProfile, profile_of
from planner.simulation.fleet.scenario import Service
from planner.workload.traces import read_trace

_PROBE_S = 60.0
_KV_SHARE = 0.9  # of what a device has beside the weights, as machines count it
_STAGES = {stage.value: stage for stage in Stage}


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeService:
    """A service, and what was said of it."""

    service: Service
    facts: Mapping[str, str | int | float]


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
    wanted = part.words("device_types") or types
    if missing := [one for one in wanted if one not in types]:
        part.refuse("device_types", f"{missing[0]!r}: no node has it; there are {', '.join(types)}")
    chunk = part.whole("chunked_prefill_size", 1024, least=16)
    slo = _slo(part.part("slo"))
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
    deployment = _deployment(part, name=name, model=model, slo=slo, size=size, devices=tuple(kinds))
    given = _frontiers(part)
    if "demand" in part:
        demand = _demand(
            part.part("demand"), lengths=requests, folder=folder, duration_s=duration_s, seed=seed
        )
        if demand.lengths is not requests and has_lengths:
            demand = replace(demand, lengths=requests)
        elif demand.lengths is not requests:  # a trace's own
            demand = replace(demand, lengths=Fitted(demand.lengths, context_of(model)))
    else:
        demand = diurnal(0.0, lengths=requests)
    part.close()
    reference = next(iter(kinds.values())).model
    request_ms = mean_work_ms(reference, demand.lengths)
    item_work = token_work(reference, items)
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
    return MadeService(service=service, facts=_facts(service))


def _model(part: Part) -> ModelShape:
    name = part.text("model")
    try:
        return model_named(name)
    except ValueError:
        known = ", ".join(model.name for model in MODELS)
        part.refuse("model", f"{name!r} is not known; known are {known}")


def _slo(part: Part) -> Slo:
    has_itl, has_tpot = "itl" in part, "tpot" in part
    if has_itl == has_tpot:
        part.refuse("tpot", "give either itl or tpot, and only one of them, e.g. tpot: 60ms")
    slo = Slo(
        ttft_ms=1e3 * part.seconds("ttft", least=1e-3),
        itl_ms=1e3 * part.seconds("itl", least=1e-3) if has_itl else None,
        tpot_ms=1e3 * part.seconds("tpot", least=1e-3) if has_tpot else None,
        max_gap_ms=1e3 * part.seconds("max_gap") if "max_gap" in part else None,
        attainment_ratio=part.number("attainment", 0.99, least=0.01, most=1.0),
    )
    part.close()
    return slo


def _deployment(
    part: Part, *, name: str, model: ModelShape, slo: Slo, size: int, devices: tuple[str, ...]
) -> Deployment:
    least = part.whole("min_replicas", 1)
    most = part.whole("max_replicas", max(least, 1_000))
    if most < least:
        part.refuse("max_replicas", f"{most} is below min_replicas {least}")
    least_bytes = min(device_named(device).memory_bytes for device in devices)
    kv_bytes = int(_KV_SHARE * size * least_bytes) - model.weights_bytes
    return Deployment(
        id=name,
        model=model.name,
        slo=slo,
        min_replicas=least,
        max_replicas=most,
        weights_bytes=model.weights_bytes,
        kv_cache_bytes=max(1, kv_bytes),
        tensor_parallel_size=size,
        device_types=devices,
        stage=_STAGES[part.word("stage", _STAGES, "active")],
        spread=part.flag("spread", default=False),
        offline_weight=part.number("offline_weight", 1.0, least=1e-6),
        failover_ratio=part.number("failover", 0.0, most=1.0),
        node_groups=part.words("node_groups"),
        load_s=part.seconds("load", 60.0),
        warm_load_s=part.seconds("warm_load", 20.0),
    )


def _demand(part: Part, *, lengths: Lengths, folder: Path, duration_s: float, seed: int) -> Demand:
    if "trace" in part:
        path = folder / part.text("trace")
        scale, phase_s = part.number("scale", 1.0), part.seconds("phase", 0.0)
        part.close()
        try:
            with path.open(encoding="utf-8") as lines:
                requests = read_trace(lines)
        except (OSError, UnicodeDecodeError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise CommandError(f"{part.where}.trace: {path}: {why}") from error
        return traced(requests, scale=scale, phase_s=phase_s)
    demand = diurnal(
        part.number("rate"),
        swing_ratio=part.number("swing", 0.0, most=1.0),
        peak_s=part.seconds("peak", 14 * 3600.0),
        wander_seed=seed if part.flag("wander", default=False) else None,
        duration_s=max(60.0, duration_s),
        lengths=lengths,
    )
    part.close()
    return demand


def _frontiers(part: Part) -> dict[str, Frontier]:
    found: dict[str, Frontier] = {}
    given = part.part("frontier")
    for device in given.names:
        one = given.part(device)
        segments = one.raw("segments")
        if not isinstance(segments, list) or not all(_is_segment(s) for s in segments):
            one.refuse("segments", f"{segments!r:.60}: a list of [alpha, beta, gamma], beta > 0")
        found[device] = Frontier(
            max_online_work=one.number("max_online_work", least=1e-6),
            segments=tuple(Segment(alpha=a, beta=b, gamma=c) for a, b, c in segments),
            source="file",
        )
        one.close()
    return found


def _is_segment(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(isinstance(one, int | float) and not isinstance(one, bool) for one in value)
        and value[0] >= 0
        and value[1] > 0
        and value[2] > 0
    )


def _facts(service: Service) -> dict[str, str | int | float]:
    deployment = service.deployment
    facts: dict[str, str | int | float] = {
        "model": deployment.model,
        "tensor_parallel_size": deployment.tensor_parallel_size,
        "ttft_ms": deployment.slo.ttft_ms,
        "request_work_ms": round(service.request_work_ms, 1),
        "item_work_ms": round(service.item_work_ms, 1),
    }
    for device, profile in service.profiles.items():
        frontier = profile.frontier(attainment_ratio=deployment.slo.attainment_ratio)
        facts[f"max_online_work on {device}"] = round(frontier.max_online_work, 1)
        facts[f"offline work alone on {device}"] = round(profile.levels[0].offline_work, 1)
        facts[f"profile of {device}"] = profile.source
    return facts
