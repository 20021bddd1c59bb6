"""Devices alike and replicas alike: what the count model counts.

Owns pools of devices and cohorts of replicas, and turns a draft into counts. Refuses to
decide. Invariants: in small fleets a pool lies on one node, so counts lose nothing; in
large ones the nodes of a pool differ only in what they hold, and `disaggregate` finds the
seats.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from planner.model import Allocation, Deployment, Device, Node
from planner.placement.fleet import Draft, Fleet, Seat, Standing

# Up to here each node has its own pools; above, nodes alike share them, which shrinks the
# model and breaks its symmetry (the probe's crossover lay between 50 and 100 nodes).
NODE_POOLS_UP_TO = 60


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Pool:
    """What its devices share. `node` is "" where nodes are pooled."""

    device_type: str
    memory_bytes: int
    domain: str
    is_open: bool
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """Existing replicas alike: one may be kept for another. `pool` is None on lost devices."""

    deployment: str
    standing: Standing
    pool: Pool | None
    width: int  # devices each holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """A draft in counts."""

    kept: Mapping[Cohort, int]
    new: Mapping[tuple[Pool, str], int]
    waiting: Mapping[tuple[Pool, str], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pools:
    """The fleet's pools and cohorts, in a fixed order."""

    devices: Mapping[Pool, Mapping[str, frozenset[int]]]  # pool -> node -> indices
    cohorts: Mapping[Cohort, tuple[Allocation, ...]]
    _of_device: Mapping[tuple[str, int], Pool] = field(repr=False)

    def of(self, node: str, devices: tuple[int, ...]) -> Pool | None:
        """The pool of a replica's first device."""
        return self._of_device.get((node, devices[0])) if devices else None

    def free(self, fleet: Fleet, pool: Pool) -> dict[str, frozenset[int]]:
        """Free devices of a pool, by node."""
        return {
            node: indices & fleet.free.get(node, frozenset())
            for node, indices in self.devices[pool].items()
        }

    def count(self, draft: Draft) -> Counts:
        """A draft in counts."""
        return Counts(
            kept={
                cohort: sum(a.replica in draft.kept for a in members)
                for cohort, members in self.cohorts.items()
            },
            new=self._count_seats(draft.new),
            waiting=self._count_seats(draft.waiting),
        )

    def _count_seats(self, seats: tuple[Seat, ...]) -> dict[tuple[Pool, str], int]:
        return Counter(
            (self._of_device[seat.node, seat.devices[0]], seat.deployment) for seat in seats
        )


def pools_of(fleet: Fleet) -> Pools:
    """Groups the fleet's devices and replicas."""
    is_by_node = len(fleet.nodes) <= NODE_POOLS_UP_TO
    of_device: dict[tuple[str, int], Pool] = {}
    devices: dict[Pool, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for node in fleet.nodes.values():
        for device in node.devices:
            pool = _pool(node, device, is_by_node=is_by_node)
            of_device[node.id, device.index] = pool
            devices[pool][node.id].add(device.index)
    cohorts: dict[Cohort, list[Allocation]] = defaultdict(list)
    for replica, allocation in fleet.allocations.items():
        if fleet.standing[replica].is_keepable:
            cohort = Cohort(
                deployment=allocation.deployment,
                standing=fleet.standing[replica],
                pool=of_device.get((allocation.node, allocation.devices[0])),
                width=len(allocation.devices),
            )
            cohorts[cohort].append(allocation)
    return Pools(
        devices={
            pool: {node: frozenset(indices) for node, indices in sorted(by_node.items())}
            for pool, by_node in sorted(devices.items())
        },
        cohorts={cohort: tuple(members) for cohort, members in cohorts.items()},
        _of_device=of_device,
    )


def capacity(fleet: Fleet, deployment: Deployment, by_node: Mapping[str, frozenset[int]]) -> int:
    """Replicas of the deployment that `by_node`'s devices, all alike, hold at the most."""
    return sum(
        len(indices) // deployment.tensor_parallel_size
        for node, indices in by_node.items()
        if (deployment.id, node) not in fleet.avoided
    )


def _pool(node: Node, device: Device, *, is_by_node: bool) -> Pool:
    return Pool(
        device_type=device.device_type,
        memory_bytes=device.memory_bytes,
        domain=node.failure_domain,
        is_open=node.takes_new,
        node=node.id if is_by_node else "",
    )
