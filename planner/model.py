"""The domain's values: what exists, what is wanted, what is decided.

Owns the vocabulary every other room speaks. Refuses behaviour beyond validation and
small derived facts. Invariants: values are frozen, collections inside are tuples,
units end names, ids are bare (`n1`, not `nodes/n1`).
"""

from dataclasses import dataclass, field, replace
from enum import Enum


class ReplicaState(Enum):
    """How a replica stands, as its agent last reported it."""

    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"
    LOST = "lost"


class Desired(Enum):
    """What the last plan wants of an allocation."""

    RUNNING = "running"
    STOPPED = "stopped"


class Stage(Enum):
    """How far co-location is enabled for a deployment."""

    OBSERVE = "observe"
    SHADOW = "shadow"
    CANARY = "canary"
    ACTIVE = "active"

    @property
    def runs_offline(self) -> bool:
        """Whether offline work may run at all at this stage."""
        return self in (Stage.CANARY, Stage.ACTIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """Latency targets of online requests; exactly one of `itl_ms` and `tpot_ms` is set."""

    ttft_ms: float
    itl_ms: float | None = None
    tpot_ms: float | None = None
    max_gap_ms: float | None = None
    attainment_ratio: float = 0.99

    @property
    def gap_ms(self) -> float:
        """The longest gap between tokens a request tolerates, in milliseconds."""
        if self.itl_ms is not None:
            return self.itl_ms
        if self.max_gap_ms is not None:
            return self.max_gap_ms
        assert self.tpot_ms is not None
        return 10.0 * self.tpot_ms


OFFLINE_ONLY = "offline-only"
"""SLO class of a replica that serves no online requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SloClass:
    """Online requests of one deployment that share their targets."""

    id: str
    slo: Slo
    online_work: float  # demand, predicted solo engine-ms per second
    failover_ratio: float = 0.0  # of its demand, served though any one failure domain is lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A GPU, or an engine slot of a CPU node."""

    index: int
    device_type: str
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A host with one agent."""

    id: str
    devices: tuple[Device, ...]
    failure_domain: str
    is_ready: bool = True
    is_cordoned: bool = False
    is_draining: bool = False
    is_frozen: bool = False  # nothing is added here and nothing that runs is taken away
    host_memory_bytes: int = 0  # for replicas; 0: not known, so no limit
    group: str = ""  # deployments may name the node groups they go to
    warm_models: tuple[str, ...] = ()  # whose weights lie in host memory

    @property
    def takes_new(self) -> bool:
        """Whether a round may place anything new here."""
        return not (not self.is_ready or self.is_cordoned or self.is_draining or self.is_frozen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A model that is wanted, as the planner needs it."""

    id: str
    model: str
    slo: Slo
    min_replicas: int
    max_replicas: int
    weights_bytes: int
    kv_cache_bytes: int
    tensor_parallel_size: int = 1
    device_types: tuple[str, ...] = ()
    stage: Stage = Stage.OBSERVE
    spread: bool = False
    offline_weight: float = 1.0
    latency_budget_ms: float | None = None
    online_work: float = 0.0  # demand, predicted solo engine-ms per second
    offline_work: float = 0.0  # backlog wanted now, engine-ms per second
    min_offline_work: float = 0.0  # rate its deadlines rest on, engine-ms per second
    generation: int = 1  # of its spec; replicas of an earlier one are replaced
    slo_classes: tuple[SloClass, ...] = ()  # tightest first; (): all requests share `slo`
    failover_ratio: float = 0.0  # as of SloClass, where there are no classes
    other_tensor_parallel_sizes: tuple[int, ...] = ()  # that a replica may have instead
    host_memory_bytes: int = 0  # that a replica takes on its node
    node_groups: tuple[str, ...] = ()  # where it may go; (): anywhere
    anti_affinity: tuple[str, ...] = ()  # deployments, also itself, it shares no node with
    is_frozen: bool = False  # its replicas stay as they are, and no others are added
    load_s: float = 60.0  # until a new replica serves
    warm_load_s: float = 20.0  # the same, where its weights lie in host memory

    @property
    def bytes_per_device(self) -> int:
        """Memory a replica takes on each of its devices, in bytes."""
        return self.bytes_per_device_of(self.tensor_parallel_size)

    def bytes_per_device_of(self, tensor_parallel_size: int) -> int:
        """The same of a replica over so many devices; KV is as large on any."""
        return -(-(self.weights_bytes + self.kv_cache_bytes) // tensor_parallel_size)

    @property
    def tensor_parallel_sizes(self) -> tuple[int, ...]:
        """Devices a replica may have, ascending."""
        return tuple(sorted({self.tensor_parallel_size, *self.other_tensor_parallel_sizes}))

    @property
    def classes(self) -> tuple[SloClass, ...]:
        """Its SLO classes, tightest first; one, without a name, where none is given."""
        return self.slo_classes or (
            SloClass(
                id="",
                slo=self.slo,
                online_work=self.online_work,
                failover_ratio=self.failover_ratio,
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """Who batches belong to."""

    id: str
    weight: float = 1.0  # of its fair share of offline work
    max_offline_work: float | None = None  # quota, engine-ms per second; None: none


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchDemand:
    """Offline work of one tenant for one deployment, at one weight.

    A deployment that no demand names has its own `offline_work`, `min_offline_work` and
    `offline_weight`, of no tenant.
    """

    deployment: str
    tenant: str
    offline_work: float  # wanted now, engine-ms per second
    min_offline_work: float = 0.0  # rate its deadlines rest on
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """An operator's word that a node has at least so many replicas of a deployment."""

    deployment: str
    node: str
    replicas: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One linear piece of a frontier: `alpha*x + beta*y <= gamma` per replica.

    x is online work and y offline work, both in engine-milliseconds per second.
    """

    alpha: float
    beta: float
    gamma: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """What one replica bears within its SLO: x <= `max_online_work` and all `segments`."""

    max_online_work: float
    segments: tuple[Segment, ...]
    source: str  # "default", or the profile it was measured in


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaFrontier:
    """The frontier of one replica: whose, on what, and at which SLO.

    Work counts on the deployment's reference (its own tensor_parallel_size on the first of
    its device types), whatever the replica runs on: a faster device bears more of it.
    """

    deployment: str
    device_type: str
    frontier: Frontier
    tensor_parallel_size: int | None = None  # None: the deployment's own
    slo_class: str = ""  # "" of a deployment without classes; OFFLINE_ONLY serves no online


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """A placement's committed record: desired and observed state."""

    replica: str
    deployment: str
    node: str
    devices: tuple[int, ...]
    desired: Desired = Desired.RUNNING
    state: ReplicaState = ReplicaState.PENDING
    online_share: float = 0.0
    offline_share: float = 0.0
    latency_budget_ms: float = 0.0
    after: tuple[str, ...] = ()  # replicas that must be RUNNING before this one is stopped
    generation: int = 1  # of the deployment's spec it runs
    slo_class: str = ""  # tightest class it serves; "" all of them

    @property
    def holds_devices(self) -> bool:
        """Whether its devices are, or may be, in use."""
        return self.state not in (ReplicaState.STOPPED, ReplicaState.LOST)

    def following(self, placement: "Placement") -> "Allocation":
        """As a plan that places it so wants it: running, with that placement's shares."""
        return replace(
            self,
            desired=Desired.RUNNING,
            after=(),
            online_share=placement.online_share,
            offline_share=placement.offline_share,
            latency_budget_ms=placement.latency_budget_ms,
            slo_class=placement.slo_class,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All a round decides from, at one state revision."""

    revision: int
    nodes: tuple[Node, ...]
    deployments: tuple[Deployment, ...]
    allocations: tuple[Allocation, ...]
    frontiers: tuple[ReplicaFrontier, ...] = ()  # measured or derived
    max_moves: int | None = None  # ADDs per round; None: no bound
    tenants: tuple[Tenant, ...] = ()  # those with a weight or a quota of their own
    batches: tuple[BatchDemand, ...] = ()
    pins: tuple[Pin, ...] = ()
    prices: tuple[tuple[str, float], ...] = ()  # (device type, price of a device-hour)
    device_cost: float = 0.0  # replica-equivalents of weighted offline work that a device of
    # mean price must be worth to be held for it, >= 0; 0: devices are free


class PlanStatus(Enum):
    """How a plan came out."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"
    KEPT_INCUMBENT = "kept_incumbent"
    INFEASIBLE = "infeasible"


class MoveKind(Enum):
    """Kinds of moves."""

    ADD = "add"
    REMOVE = "remove"
    ADJUST = "adjust"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where one replica goes and what it carries.

    `replica` is the id of the allocation it keeps, or None for a new one; the caller
    that commits a plan makes ids for new ones.
    """

    replica: str | None
    deployment: str
    node: str
    devices: tuple[int, ...]
    online_share: float = 0.0
    offline_share: float = 0.0
    latency_budget_ms: float = 0.0
    slo_class: str = ""  # tightest class it serves; "" all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One step from what runs to what is planned; `after` names replicas by id.

    `replica` of an ADD indexes a new placement as `new:<i>`, i its index in the plan's
    placements, until ids are made.
    """

    group: int
    kind: MoveKind
    replica: str
    deployment: str
    node: str
    after: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """Why a wish does not fit, and the nearest thing that would."""

    deployment: str
    node: str | None
    dimension: str  # memory | host_memory | devices | device_type | tensor_parallel | capacity
    # | cordoned | frozen | node_group | anti_affinity | failover | pin | fair_share
    needed: float
    available: float
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveTerm:
    """One summand of the objective: weight times value."""

    name: str
    weight: float
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A verified answer to a snapshot."""

    base_revision: int
    status: PlanStatus
    solver: str
    objective: float
    bound: float
    terms: tuple[ObjectiveTerm, ...]
    placements: tuple[Placement, ...]
    moves: tuple[Move, ...]
    misfits: tuple[Misfit, ...] = field(default=())
    waiting: tuple[Placement, ...] = ()  # decided, but their devices are held until others stop

    @property
    def gap(self) -> float:
        """Difference of objective and bound, relative to max(1, |objective|)."""
        return max(0.0, self.objective - self.bound) / max(1.0, abs(self.objective))
