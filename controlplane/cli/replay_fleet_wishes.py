"""What every deployment of a fleet file says alike.

Its bounds, SLO, stage, types, demand and frontiers.

Owns those keys, and the facts a report tells of a deployment. Refuses engines.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from controlplane.cli.failures import CommandError
from controlplane.cli.replay_fleet_part import Part
from planner.model import Deployment, Frontier, Segment, Slo, Stage
from planner.simulation.fleet.demand import Demand, diurnal, traced
from planner.simulation.fleet.scenario import Service
from planner.workload.generate import Lengths
from planner.workload.traces import read_trace

_STAGES = {stage.value: stage for stage in Stage}


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeService:
    """A service, and what was said of it."""

    service: Service
    facts: Mapping[str, str | int | float]


def checked_types(part: Part, types: tuple[str, ...]) -> tuple[str, ...]:
    """Device types it may run on: those it names, which the fleet must have, else all."""
    wanted = part.words("device_types") or types
    if missing := [one for one in wanted if one not in types]:
        part.refuse("device_types", f"{missing[0]!r}: no node has it; there are {', '.join(types)}")
    return wanted


def check_types(part: Part, types: tuple[str, ...]) -> None:
    """Refuses values by device type where no node has the type: they would say nothing.

    Raises:
        CommandError: Such a type.
    """
    for name in part.names:
        if name not in types:
            known = ", ".join(types)
            part.refuse(name, f"no node has devices of this type; there are {known}; take it out")


def deployment_of(
    part: Part,
    *,
    model: str,
    slo: Slo,
    size: int,
    devices: tuple[str, ...],
    weights_bytes: int,
    kv_cache_bytes: int,
    latency_budget_ms: float | None = None,
    other_sizes: tuple[int, ...] = (),
) -> Deployment:
    """The deployment that the keys describe.

    Args:
        part: Its keys.
        model: Its model's name.
        slo: What its online requests are promised.
        size: Devices of a replica.
        devices: Types of device it may run on.
        weights_bytes: Of one replica.
        kv_cache_bytes: Of one replica.
        latency_budget_ms: Where it is given.
        other_sizes: Devices a replica may have instead.
    """
    least = part.whole("min_replicas", 1)
    most = part.whole("max_replicas", max(least, 1_000))
    if most < least:
        part.refuse("max_replicas", f"{most} is below min_replicas {least}")
    return Deployment(
        id=part.text("name"),
        model=model,
        slo=slo,
        min_replicas=least,
        max_replicas=most,
        weights_bytes=weights_bytes,
        kv_cache_bytes=kv_cache_bytes,
        tensor_parallel_size=size,
        other_tensor_parallel_sizes=other_sizes,
        device_types=devices,
        stage=_STAGES[part.word("stage", _STAGES, "active")],
        spread=part.flag("spread", default=False),
        offline_weight=part.number("offline_weight", 1.0, least=1e-6),
        failover_ratio=part.number("failover", 0.0, most=1.0),
        node_groups=part.words("node_groups"),
        anti_affinity=part.words("anti_affinity"),
        host_memory_bytes=part.size("host_memory", 0),
        is_frozen=part.flag("frozen", default=False),
        latency_budget_ms=latency_budget_ms,
        load_s=part.seconds("load", 60.0),
        warm_load_s=part.seconds("warm_load", 20.0),
    )


def slo_of(part: Part) -> Slo:
    """What its online requests are promised."""
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


def demand_of(
    part: Part,
    *,
    lengths: Lengths,
    folder: Path,
    duration_s: float,
    seed: int,
    request_work_ms: float | None = None,
) -> Demand:
    """Online requests over time; none where the file says nothing of them.

    Args:
        part: The deployment's keys.
        lengths: Of its requests, where no trace has them.
        folder: Where its trace lies.
        duration_s: Of the replay.
        seed: Of a rate that wanders.
        request_work_ms: Of a mean request, for a rate given as work; None: it may not be.
    """
    if "demand" not in part:
        return diurnal(0.0, lengths=lengths)
    return _demand(
        part.part("demand"),
        lengths=lengths,
        folder=folder,
        duration_s=duration_s,
        seed=seed,
        request_work_ms=request_work_ms,
    )


def _demand(
    part: Part,
    *,
    lengths: Lengths,
    folder: Path,
    duration_s: float,
    seed: int,
    request_work_ms: float | None,
) -> Demand:
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
    if request_work_ms is None or "work" not in part:
        rate = part.number("rate")
    elif "rate" in part:
        part.refuse("rate", "give either rate or work, and only one of them")
    else:
        rate = part.number("work") / request_work_ms
    demand = diurnal(
        rate * part.number("scale", 1.0),
        swing_ratio=part.number("swing", 0.0, most=1.0),
        peak_s=part.seconds("peak", 14 * 3600.0),
        wander_seed=seed if part.flag("wander", default=False) else None,
        duration_s=max(60.0, duration_s),
        lengths=lengths,
    )
    part.close()
    return demand


def frontiers_of(part: Part, types: tuple[str, ...]) -> dict[str, Frontier]:
    """Frontiers that the file gives, by device type, which the fleet must have."""
    found: dict[str, Frontier] = {}
    given = part.part("frontier")
    check_types(given, types)
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


def facts_of(service: Service) -> dict[str, str | int | float]:
    """What a report tells of it."""
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
