"""The fleet that is replayed: 200 nodes of three types, 20 models, a day.

Owns nodes, demand, batches and failures, all by seed. Refuses arms. Demand follows the hour of
Azure's conversations on top of a day's shape, or a generated wander; `sources` says which.
"""

import random
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing import get_context

from bench.fleet.families import (
    FAMILIES,
    Profiled,
    budget_ms,
    lines_of,
    online_lengths,
    profile,
)
from bench.hygen.settings import traces_folder
from planner.hardware.device import device_named
from planner.hardware.model import model_named
from planner.hardware.operators import table_names
from planner.model import Deployment, Device, Node, Stage
from planner.simulation.fleet.demand import Demand, diurnal, shaped, traced
from planner.simulation.fleet.scenario import (
    FleetBatch,
    FleetScenario,
    Outage,
    RoundSettings,
    Service,
)
from planner.workload.traces import read_trace

PRICES: Mapping[str, float] = {"h100": 3.0, "a100-80gb": 1.8, "a40": 0.7}
"""Of a device-hour; assumed, near what clouds asked on demand in 2025."""

TYPE_SHARES: Mapping[str, float] = {"h100": 0.3, "a100-80gb": 0.45, "a40": 0.25}
_DOMAINS = 8
_DEVICES = 8
_AZURE_FILE = "azure_llm_2023_conv.csv"
_LOAD_BYTES_PER_S = 2e9  # weights from storage; a 7B model in 7 s, and the engine's start
_START_S = 45.0  # of an engine beside its weights: graphs, warm-up


_OF_MODELS = (0, 5, 1, 0, 2, 4, 3, 1, 0, 5, 2, 3, 1, 4, 0, 2, 5, 3, 1, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSettings:
    """What is asked for.

    Args:
        nodes: Of all types together.
        models: Deployments.
        hours: Simulated.
        online_ratio: Online work of a mean hour, of what the fleet bears within its SLOs.
        offline_ratio: Batch work of the day, of the day's online work in devices' time.
        swing_ratio: Of the day's shape.
        round_s: Between full solves.
        quantile: Of the forecast that all arms plan by: of 0.8, 0.9 and 0.95 the least at which
            every deployment of a smaller fleet attained its SLO.
        seed: Of all that is random.
        probe_s: Window of each probe of a profile.
    """

    nodes: int = 200
    models: int = 20
    hours: float = 24.0
    online_ratio: float = 0.3
    offline_ratio: float = 0.5
    swing_ratio: float = 0.5
    round_s: float = 900.0
    quantile: float = 0.9
    seed: int = 0
    probe_s: float = 45.0


def profiled(settings: FleetSettings, *, processes: int) -> tuple[Profiled, ...]:
    """Profiles of every family, taken side by side."""
    jobs = [(index, settings.probe_s) for index in range(len(FAMILIES))]
    if processes <= 1:
        return tuple(profile(*job) for job in jobs)
    # spawn: a forked worker would inherit whatever threads numpy has started
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return tuple(pool.map(profile, *zip(*jobs, strict=True)))


def scenario(settings: FleetSettings, families: tuple[Profiled, ...]) -> FleetScenario:
    """The day."""
    nodes = _nodes(settings)
    services = tuple(_services(settings, families, nodes))
    return FleetScenario(
        nodes=nodes,
        services=services,
        batches=tuple(_batches(settings, services)),
        outages=tuple(_outages(settings, nodes)),
        duration_s=settings.hours * 3600.0,
        interval_s=60.0,
        rounds=RoundSettings(
            interval_s=settings.round_s, resplit_s=300.0, backlog_horizon_s=float("inf")
        ),
        prices=PRICES,
        begins_loaded=True,
        seed=settings.seed,
    )


def sources() -> dict[str, str]:
    """What is public data, and what stands in for it."""
    has_trace = (traces_folder() / _AZURE_FILE).is_file()
    derived = sorted(
        f"{device} {family.model}"
        for family in FAMILIES
        for device in family.device_types
        if lines_of(table_names(device_named(device), model_named(family.model))[0]) is None
    )
    return {
        "demand": "a day's cosine, shaped by "
        + (f"{_AZURE_FILE} (one hour, over and over)" if has_trace else "a generated wander"),
        "operators": f"derived from sheets for {', '.join(derived)}; measured for the rest",
        "prices": "assumed",
    }


# ------------------------------------------------------------ details


def _nodes(settings: FleetSettings) -> tuple[Node, ...]:
    """Types mixed over racks, so that no domain holds a type alone."""
    nodes: list[Node] = []
    for device_type, share in TYPE_SHARES.items():
        memory_bytes = int(device_named(device_type).memory_bytes)
        for _ in range(max(1, round(settings.nodes * share))):
            number = len(nodes)
            nodes.append(
                Node(
                    id=f"n{number:04d}",
                    devices=tuple(
                        Device(index=i, device_type=device_type, memory_bytes=memory_bytes)
                        for i in range(_DEVICES)
                    ),
                    failure_domain=f"rack{number % _DOMAINS}",
                    host_memory_bytes=1 << 40,
                )
            )
    return tuple(nodes)


def _services(
    settings: FleetSettings, families: tuple[Profiled, ...], nodes: tuple[Node, ...]
) -> list[Service]:
    """Popularity falls as 1/rank; each peaks at its own hour, as users of several zones do."""
    source = random.Random(f"{settings.seed}/services")
    weights = [1.0 / (rank + 1) ** 0.8 for rank in range(settings.models)]
    whole = sum(weights)
    devices = _DEVICES * len(nodes)
    by = _trace()
    services = []
    for rank, weight in enumerate(weights):
        one = families[_OF_MODELS[rank % len(_OF_MODELS)]]
        family = one.family
        share = settings.online_ratio * devices * weight / whole / family.tensor_parallel_size
        work = share * _typical(one)
        demand = diurnal(
            work / one.request_work_ms,
            swing_ratio=settings.swing_ratio,
            peak_s=(14.0 + source.choice((-6.0, 0.0, 0.0, 3.0))) * 3600.0,
            wander_seed=settings.seed * 100 + rank if by is None else None,
            lengths=online_lengths,
        )
        if by is not None:
            demand = shaped(demand, by=_turned(by, source.random()))
        model = model_named(family.model)
        services.append(
            Service(
                deployment=Deployment(
                    id=f"m{rank:02d}-{family.model}",
                    model=f"{family.model}-{rank:02d}",  # weights of its own
                    slo=family.slo,
                    min_replicas=1,
                    max_replicas=devices // family.tensor_parallel_size,
                    weights_bytes=model.weights_bytes,
                    kv_cache_bytes=int(0.3 * model.weights_bytes) + int(8e9),
                    tensor_parallel_size=family.tensor_parallel_size,
                    device_types=family.device_types,
                    stage=Stage.ACTIVE,
                    latency_budget_ms=budget_ms(family.slo),
                    load_s=_START_S + model.weights_bytes / _LOAD_BYTES_PER_S,
                    warm_load_s=_START_S,
                ),
                demand=demand,
                request_work_ms=one.request_work_ms,
                item_work_ms=one.item_work_ms,
                profiles=one.profiles,
            )
        )
    return services


def _typical(one: Profiled) -> float:
    """Online work that a replica bears, in the mean of its types."""
    family = one.family
    shares = {device: TYPE_SHARES[device] for device in family.device_types}
    bears = sum(
        share
        * one.profiles[device]
        .frontier(attainment_ratio=family.slo.attainment_ratio)
        .max_online_work
        for device, share in shares.items()
    )
    return bears / sum(shares.values())


def _batches(settings: FleetSettings, services: tuple[Service, ...]) -> list[FleetBatch]:
    """Three to five submissions a model and day, due six to twelve hours later."""
    source = random.Random(f"{settings.seed}/batches")
    end_s = settings.hours * 3600.0
    batches = []
    for service in services:
        reference = service.profiles[service.deployment.device_types[0]]
        online_s = (
            service.demand.rate(0.0, end_s)
            * end_s
            * service.request_work_ms
            / reference.capacity_work
        )
        work_ms = settings.offline_ratio * online_s * reference.levels[0].offline_work
        count = source.randint(3, 5)
        for index in range(count):
            submit_s = end_s * 0.7 * (index + source.random()) / count
            grace_s = source.uniform(0.25, 0.5) * end_s
            batches.append(
                FleetBatch(
                    id=f"{service.deployment.id}-b{index}",
                    deployment=service.deployment.id,
                    items=max(1, round(work_ms / count / service.item_work_ms)),
                    submit_s=round(submit_s),
                    deadline_s=round(min(end_s - 600.0, submit_s + grace_s)),
                    tenant=f"t{source.randrange(4)}",
                    weight=float(source.choice((1, 1, 2, 4))),
                )
            )
    return batches


def _outages(settings: FleetSettings, nodes: tuple[Node, ...]) -> list[Outage]:
    """A node fails every two hours for half an hour, and once a fifth of a rack."""
    source = random.Random(f"{settings.seed}/outages")
    end_s = settings.hours * 3600.0
    outages = []
    busy: set[str] = set()
    for index in range(int(settings.hours / 2)):
        node = source.choice([one.id for one in nodes if one.id not in busy])
        busy.add(node)
        at_s = round((index + source.random()) * 7200.0)
        if at_s < end_s:
            outages.append(Outage(nodes=(node,), at_s=at_s, for_s=1800.0))
    rack = [n.id for n in nodes if n.failure_domain == "rack3" and n.id not in busy]
    some = tuple(rack[: max(1, len(rack) // 5)])
    if some:
        outages.append(Outage(nodes=some, at_s=round(0.6 * end_s), for_s=3600.0))
    return outages


@lru_cache(maxsize=1)
def _trace() -> Demand | None:
    path = traces_folder() / _AZURE_FILE
    if not path.is_file():
        return None
    with path.open() as lines:
        return traced(read_trace(lines), step_s=60.0)


def _turned(demand: Demand, share: float) -> Demand:
    """The same series from another of its moments on."""
    first = int(share * len(demand.rates))
    return replace(demand, rates=(*demand.rates[first:], *demand.rates[:first]))
