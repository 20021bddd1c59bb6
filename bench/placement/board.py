"""A snapshot as arrays, and placements as counts.

Owns the index of all that contestants and referee count: kinds (device types), nodes,
choices (deployment, kind, tensor parallel size) and their curves. Refuses to value a
placement. Work is scaled to device-equivalents: the online or offline work of one device
of the deployment's reference at its limits is 1, so that sums over models mean something
and the programmes are well scaled. A placement is `counts[node, choice]`, integers; SLO
classes are not part of it, since a replica changes class by a budget and a routing rule.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bench.placement.modes import CLASSES, Choice, modes_of, scale_of
from planner.model import (
    OFFLINE_ONLY,
    Allocation,
    Deployment,
    Desired,
    Node,
    Placement,
    Snapshot,
)

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A demand for offline work, in device-equivalents; `value` is per device-equivalent."""

    deployment: int
    tenant: int
    most: float
    least: float
    value: float
    work_per_unit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """The snapshot, indexed.

    Attributes:
        snapshot: It.
        kinds: Device types, in order.
        kind: Of each node, shape (nodes,).
        domain: Of each node, shape (nodes,).
        domains: Their count.
        devices: Of each node, shape (nodes,).
        host_memory_bytes: Of each node; inf where not known.
        choices: All that fit some device.
        of_deployment: Choices by deployment.
        online: Demand by deployment and rank, device-equivalents.
        failover: The part of it that must survive the loss of a domain.
        batches: Offline demand.
        quotas: Work of each tenant, engine-ms per second; inf without one.
        prices: Of a device-hour, by kind.
        fair: Devices that tenants are entitled to, by index; none where that is not asked for
            (`fairness` finds them).
    """

    snapshot: Snapshot
    kinds: tuple[str, ...]
    kind: Counts
    domain: Counts
    domains: int
    devices: Counts
    host_memory_bytes: Floats
    choices: tuple[Choice, ...]
    of_deployment: tuple[tuple[int, ...], ...]
    online: Floats
    failover: Floats
    batches: tuple[Batch, ...]
    quotas: Floats
    prices: Floats
    fair: Mapping[int, float] = field(default_factory=dict)

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """In the order of indices."""
        return self.snapshot.deployments

    def empty(self) -> Counts:
        """The placement of nothing."""
        return np.zeros((len(self.kind), len(self.choices)), dtype=np.int64)

    def by_domain(self, counts: Counts) -> Counts:
        """Replicas by choice and failure domain, shape (choices, domains)."""
        summed = np.zeros((self.domains, len(self.choices)), dtype=np.int64)
        np.add.at(summed, self.domain, counts)
        return summed.T

    def count(self, placed: Iterable[Placement | Allocation]) -> Counts:
        """Counts of placements or allocations.

        Raises:
            ValueError: One is of a deployment, node or TP size that the board lacks.
        """
        nodes = {node.id: index for index, node in enumerate(self.snapshot.nodes)}
        deployments = {one.id: index for index, one in enumerate(self.deployments)}
        choices = {
            (one.deployment, one.kind, one.devices): index for index, one in enumerate(self.choices)
        }
        counts = self.empty()
        for one in placed:
            try:
                node = nodes[one.node]
                choice = choices[
                    deployments[one.deployment], int(self.kind[node]), len(one.devices)
                ]
            except KeyError as error:
                raise ValueError(f"no such placement: {one}") from error
            counts[node, choice] += 1
        return counts


def modes_of_plan(board: Board, placed: Iterable[Placement]) -> Counts:
    """Replicas by choice and the class they are held to, shape (choices, CLASSES + 1).

    The last column is offline only; a replica of no named class serves all of them.
    """
    kinds = {n.id: int(k) for n, k in zip(board.snapshot.nodes, board.kind, strict=True)}
    choices = {
        (board.deployments[one.deployment].id, one.kind, one.devices): index
        for index, one in enumerate(board.choices)
    }
    ranks = {
        (one.id, slo_class.id): rank
        for one in board.deployments
        for rank, slo_class in enumerate(one.classes)
    }
    modes = np.zeros((len(board.choices), CLASSES + 1), dtype=np.int64)
    for one in placed:
        rank = (
            CLASSES
            if one.slo_class == OFFLINE_ONLY
            else ranks.get((one.deployment, one.slo_class), 0)
        )
        modes[choices[one.deployment, kinds[one.node], len(one.devices)], rank] += 1
    return modes


def running(snapshot: Snapshot) -> tuple[Allocation, ...]:
    """Allocations wanted to run."""
    return tuple(one for one in snapshot.allocations if one.desired is Desired.RUNNING)


def lay_out(snapshot: Snapshot) -> Board:
    """The board of a snapshot.

    Raises:
        ValueError: A node mixes device types, or a deployment has more than two classes.
    """
    kinds = tuple(sorted({d.device_type for node in snapshot.nodes for d in node.devices}))
    memory = {kind: _memory(snapshot.nodes, kind) for kind in kinds}
    domains = {
        name: index for index, name in enumerate(sorted({n.failure_domain for n in snapshot.nodes}))
    }
    curves = {
        (known.deployment, known.device_type, known.tensor_parallel_size, known.slo_class): (
            known.frontier
        )
        for known in snapshot.frontiers
    }
    scales = [scale_of(deployment, kinds, curves) for deployment in snapshot.deployments]
    choices = tuple(
        Choice.of(
            modes_of(deployment, kinds[kind], size, curves, scale),
            deployment=number,
            kind=kind,
            devices=size,
            host_memory_bytes=deployment.host_memory_bytes,
        )
        for number, (deployment, scale) in enumerate(zip(snapshot.deployments, scales, strict=True))
        for kind in range(len(kinds))
        for size in deployment.tensor_parallel_sizes
        if deployment.bytes_per_device_of(size) <= memory[kinds[kind]]
        and (not deployment.device_types or kinds[kind] in deployment.device_types)
    )
    online = np.zeros((len(snapshot.deployments), CLASSES))
    failover = np.zeros_like(online)
    for number, (deployment, scale) in enumerate(zip(snapshot.deployments, scales, strict=True)):
        if len(deployment.classes) > CLASSES:
            raise ValueError(f"{deployment.id}: more than {CLASSES} SLO classes")
        for rank, slo_class in enumerate(deployment.classes):
            online[number, rank] = slo_class.online_work / scale[0]
            failover[number, rank] = slo_class.failover_ratio * online[number, rank]
    batches, quotas = _batches(snapshot, scales)
    prices = dict(snapshot.prices)
    return Board(
        snapshot=snapshot,
        kinds=kinds,
        kind=np.array([_kind(node, kinds) for node in snapshot.nodes], dtype=np.int64),
        domain=np.array([domains[n.failure_domain] for n in snapshot.nodes], dtype=np.int64),
        domains=len(domains),
        devices=np.array([len(node.devices) for node in snapshot.nodes], dtype=np.int64),
        host_memory_bytes=np.array(
            [node.host_memory_bytes or np.inf for node in snapshot.nodes], dtype=np.float64
        ),
        choices=choices,
        of_deployment=tuple(
            tuple(i for i, choice in enumerate(choices) if choice.deployment == number)
            for number in range(len(snapshot.deployments))
        ),
        online=online,
        failover=failover,
        batches=batches,
        quotas=quotas,
        prices=np.array([prices.get(kind, 1.0) for kind in kinds]),
    )


def _memory(nodes: Iterable[Node], kind: str) -> int:
    return max(d.memory_bytes for n in nodes for d in n.devices if d.device_type == kind)


def _kind(node: Node, kinds: tuple[str, ...]) -> int:
    own = {device.device_type for device in node.devices}
    if len(own) != 1:
        raise ValueError(f"node {node.id} has devices of {sorted(own)}; the bench knows one type")
    return kinds.index(own.pop())


def _batches(
    snapshot: Snapshot, scales: list[tuple[float, float]]
) -> tuple[tuple[Batch, ...], Floats]:
    """Demands; of a deployment that none names, its own, of no tenant."""
    named = {batch.deployment for batch in snapshot.batches}
    index = {one.id: number for number, one in enumerate(snapshot.deployments)}
    tenants = {one.id: number for number, one in enumerate(snapshot.tenants)}
    rows = [
        (one.deployment, one.tenant, one.offline_work, one.min_offline_work, one.weight)
        for one in snapshot.batches
    ] + [
        (one.id, "", one.offline_work, one.min_offline_work, one.offline_weight)
        for one in snapshot.deployments
        if one.id not in named
    ]
    found = []
    for deployment, tenant, most, least, weight in rows:
        number = index[deployment]
        if not snapshot.deployments[number].stage.runs_offline or max(most, least) <= 0.0:
            continue
        scale = scales[number][1]
        found.append(
            Batch(
                deployment=number,
                tenant=tenants.get(tenant, -1),
                most=max(most, least) / scale,
                least=least / scale,
                value=weight * scale / 1000.0,
                work_per_unit=scale,
            )
        )
    quotas = np.array(
        [np.inf if t.max_offline_work is None else t.max_offline_work for t in snapshot.tenants]
    )
    return tuple(found), quotas


def held(counts: Counts) -> Counter[tuple[int, int]]:
    """Replicas by node and choice, without zeros."""
    nodes, choices = np.nonzero(counts)
    return Counter(
        {
            (int(node), int(choice)): int(counts[node, choice])
            for node, choice in zip(nodes, choices, strict=True)
        }
    )
