"""An instance as a Snapshot, drawn by its seed.

Owns the fleet, the deployments and the scale of their demand. Refuses anything that is
not drawn or derived: no instance is edited by hand. The model, quantity by quantity:

    nodes        8 devices of one type: H100 30 %, A100 40 %, L40S 30 %, each at least once;
                 failure domains round robin within each type
    models       drawn from `catalogue` by frequency; if two replicas of every deployment
                 would take more than 30 % of the devices, the largest models are replaced
                 by smaller ones, as an operator would have done
    TP sizes     the smallest at which weights take at most 60 % of the reference's memory,
                 and the two next larger
    KV           1.5 times the weights and 16 GB, within 85 % of the reference's memory
    host memory  1.1 times the weights, 20 GB, 4 GB a device (claimed)
    requests     prompts of 300 to 3,000 tokens, outputs of 100 to 400; offline prompts of
                 500 to 3,000, outputs of 100 to 600
    frontiers    `roofline` and `frontiers`, for every type and TP size that has the memory
    online       Zipf shares of `Load.online`, within 10 %: a share is of devices, turned to
                 work by what the fleet's mix of devices bears at best; 60 % tight, 40 %
                 loose, all loose where no device bears it tight; failover 1.0 and 0.7
    offline      `batches`
    loads        20 s and 2 GB/s of weights from disk; 15 s and 20 GB/s from host memory

Invariant: the same instance, the same snapshot, in any process.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.placement.batches import OfflineUnit, draw_batches, draw_tenants
from bench.placement.catalogue import CATALOGUE, FEW, ServedModel
from bench.placement.frontiers import LOOSE, NOTHING, TIGHT, derive
from bench.placement.hardware import DEVICES_PER_NODE, GB, GPUS, REFERENCE, Gpu
from bench.placement.instances import LOADS, SHAPES, SIZES, Instance, Shape
from bench.placement.roofline import Roofline, Tokens
from planner.model import (
    OFFLINE_ONLY,
    Deployment,
    Device,
    Frontier,
    Node,
    ReplicaFrontier,
    Slo,
    SloClass,
    Snapshot,
    Stage,
)

_SLOS = {TIGHT: Slo(ttft_ms=1000.0, itl_ms=50.0), LOOSE: Slo(ttft_ms=4000.0, itl_ms=150.0)}
_FAILOVER = {TIGHT: 1.0, LOOSE: 0.7}
_TIGHT_SHARE = 0.6
_MOST_FOOTPRINT = 0.3  # of the devices, by two replicas of everything


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    """A deployment before its demand is known."""

    id: str
    model: ServedModel
    tensor_parallel_sizes: tuple[int, ...]
    kv_cache_bytes: int
    frontiers: tuple[ReplicaFrontier, ...]
    online_per_device: dict[str, float]  # by class: what the fleet's mix bears at best
    offline_per_device: float
    offline_reference: float  # per device of the reference


def generate(instance: Instance) -> Snapshot:
    """The snapshot of an instance: nothing runs yet."""
    size, load, shape = SIZES[instance.size], LOADS[instance.load], SHAPES[instance.shape]
    rng = np.random.default_rng([instance.seed, size.nodes, size.models])
    nodes = _nodes(rng, count=size.nodes, domains=size.domains, shape=shape)
    devices = DEVICES_PER_NODE * size.nodes
    mix = _mix(nodes)
    offers = [
        _offer(rng, f"d{number:03d}-{model.name}", model, shape=shape, mix=mix)
        for number, model in enumerate(
            _models(rng, count=size.models, devices=devices, shape=shape)
        )
    ]
    shares = 1.0 / np.arange(1, size.models + 1) ** size.zipf
    shares = rng.permutation(shares / shares.sum()) * rng.uniform(0.9, 1.1, size.models)
    deployments = tuple(
        _deployment(offer, online_devices=devices * load.online * float(share))
        for offer, share in zip(offers, shares, strict=True)
    )
    batches = draw_batches(
        rng,
        [
            (
                offer.id,
                OfflineUnit(
                    work_per_device=offer.offline_per_device,
                    value=1000.0 / offer.offline_reference,
                ),
            )
            for offer in offers
        ],
        devices=devices,
        deadlines=load.deadlines,
        elastic=load.elastic,
    )
    return Snapshot(
        revision=1,
        nodes=nodes,
        deployments=deployments,
        allocations=(),
        frontiers=tuple(frontier for offer in offers for frontier in offer.frontiers),
        tenants=draw_tenants(rng, batches),
        batches=batches,
        prices=tuple((gpu.name, gpu.price) for gpu in GPUS),
    )


def _nodes(rng: np.random.Generator, *, count: int, domains: int, shape: Shape) -> tuple[Node, ...]:
    kinds = rng.choice(len(GPUS), size=count, p=[gpu.share for gpu in GPUS])
    kinds[: len(GPUS)] = np.arange(len(GPUS))
    seen = [0] * len(GPUS)
    nodes = []
    for number, kind in enumerate(kinds):
        gpu = GPUS[kind]
        nodes.append(
            Node(
                id=f"n{number:04d}",
                devices=tuple(
                    Device(index=i, device_type=gpu.name, memory_bytes=gpu.memory_bytes)
                    for i in range(DEVICES_PER_NODE)
                ),
                failure_domain=f"domain{(seen[kind] + kind) % domains:02d}",
                host_memory_bytes=int(gpu.host_memory_bytes * shape.host_memory_ratio),
            )
        )
        seen[kind] += 1
    return tuple(nodes)


def _mix(nodes: Sequence[Node]) -> dict[str, float]:
    """Share of the devices, by type."""
    kinds = [node.devices[0].device_type for node in nodes]
    return {gpu.name: kinds.count(gpu.name) / len(kinds) for gpu in GPUS}


def _models(
    rng: np.random.Generator, *, count: int, devices: int, shape: Shape
) -> list[ServedModel]:
    if count <= len(FEW):
        return [model for model in CATALOGUE if model.name in FEW][:count]
    odds = np.array([model.frequency for model in CATALOGUE])
    drawn = rng.choice(len(CATALOGUE), size=count, p=odds / odds.sum())

    def footprint(number: int) -> int:
        return 2 * _sizes(CATALOGUE[number], shape)[0]

    while sum(footprint(number) for number in drawn) > _MOST_FOOTPRINT * devices:
        largest = int(np.argmax([CATALOGUE[number].weights_bytes for number in drawn]))
        drawn[largest] = rng.integers(drawn[largest])
    return [CATALOGUE[number] for number in drawn]


def _sizes(model: ServedModel, shape: Shape) -> tuple[int, ...]:
    """TP sizes of its replicas, ascending."""
    fitting = [
        size
        for size in shape.tensor_parallel_sizes
        if model.weights_bytes <= 0.6 * size * REFERENCE.memory_bytes
    ]
    return tuple((fitting or [max(shape.tensor_parallel_sizes)])[:3])


def _offer(
    rng: np.random.Generator, name: str, model: ServedModel, *, shape: Shape, mix: dict[str, float]
) -> _Offer:
    sizes = _sizes(model, shape)
    room = 0.85 * sizes[0] * REFERENCE.memory_bytes - model.weights_bytes
    kv_cache_bytes = int(min(room, 1.5 * model.weights_bytes + 16 * GB))
    tokens = Tokens(
        prompt=float(rng.choice((300, 800, 1500, 3000))),
        output=float(rng.choice((100, 200, 400))),
        offline_prompt=float(rng.choice((500, 1000, 3000))),
        offline_output=float(rng.choice((100, 300, 600))),
    )

    def replica(gpu: Gpu, devices: int) -> Roofline:
        return Roofline.of(
            model, gpu, devices=devices, kv_cache_bytes=kv_cache_bytes, tokens=tokens
        )

    reference = replica(REFERENCE, sizes[0])
    work = {"online_ms": reference.solo_ms(is_online=True)}
    work["offline_ms"] = reference.solo_ms(is_online=False)
    needed = model.weights_bytes + kv_cache_bytes
    frontiers = []
    online: dict[str, dict[str, float]] = {TIGHT: {}, LOOSE: {}}
    offline: dict[str, float] = {}
    for gpu in GPUS:
        for size in sizes:
            if -(-needed // size) > gpu.memory_bytes:
                continue
            for slo_class in (TIGHT, LOOSE, OFFLINE_ONLY):
                found, _ = derive(replica(gpu, size), slo_class=slo_class, **work)
                frontiers.append(_named(name, gpu, size, slo_class, found))
                if slo_class == OFFLINE_ONLY:
                    rate = found.segments[0].gamma / size
                    offline[gpu.name] = max(offline.get(gpu.name, 0.0), rate)
                elif found is not NOTHING:
                    rate = found.max_online_work / size
                    best = online[slo_class]
                    best[gpu.name] = max(best.get(gpu.name, 0.0), rate)
    return _Offer(
        id=name,
        model=model,
        tensor_parallel_sizes=sizes,
        kv_cache_bytes=kv_cache_bytes,
        frontiers=tuple(frontiers),
        online_per_device={one: _over_mix(best, mix) for one, best in online.items()},
        offline_per_device=_over_mix(offline, mix),
        offline_reference=offline[REFERENCE.name],
    )


def _named(
    deployment: str, gpu: Gpu, size: int, slo_class: str, frontier: Frontier
) -> ReplicaFrontier:
    return ReplicaFrontier(
        deployment=deployment,
        device_type=gpu.name,
        frontier=frontier,
        tensor_parallel_size=size,
        slo_class=slo_class,
    )


def _over_mix(rates: dict[str, float], mix: dict[str, float]) -> float:
    """Mean rate over the fleet's devices of the types that have one."""
    whole = sum(mix[kind] for kind in rates)
    return sum(mix[kind] * rate for kind, rate in rates.items()) / whole if whole else 0.0


def _deployment(offer: _Offer, *, online_devices: float) -> Deployment:
    shares = {TIGHT: _TIGHT_SHARE, LOOSE: 1.0 - _TIGHT_SHARE}
    if not offer.online_per_device[TIGHT]:
        shares = {TIGHT: 0.0, LOOSE: 1.0}
    weights = offer.model.weights_bytes
    return Deployment(
        id=offer.id,
        model=offer.model.name,
        slo=_SLOS[LOOSE],
        min_replicas=1,
        max_replicas=100_000,
        weights_bytes=weights,
        kv_cache_bytes=offer.kv_cache_bytes,
        tensor_parallel_size=offer.tensor_parallel_sizes[0],
        other_tensor_parallel_sizes=offer.tensor_parallel_sizes[1:],
        device_types=tuple(gpu.name for gpu in GPUS),
        stage=Stage.ACTIVE,
        slo_classes=tuple(
            SloClass(
                id=slo_class,
                slo=_SLOS[slo_class],
                online_work=online_devices * share * offer.online_per_device[slo_class],
                failover_ratio=_FAILOVER[slo_class],
            )
            for slo_class, share in shares.items()
        ),
        host_memory_bytes=int(1.1 * weights + 20 * GB + 4 * GB * offer.tensor_parallel_sizes[0]),
        load_s=20.0 + weights / (2 * GB),
        warm_load_s=15.0 + weights / (20 * GB),
    )
