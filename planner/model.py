"""The domain's values: what exists, what is wanted, what is decided.

Owns the vocabulary every other room speaks. Refuses behaviour beyond validation and
small derived facts. Invariants: values are frozen, collections inside are tuples,
units end names, ids are bare (`n1`, not `nodes/n1`).
"""

from dataclasses import dataclass, field
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

    @property
    def takes_new(self) -> bool:
        """Whether a round may place anything new here."""
        return self.is_ready and not self.is_cordoned and not self.is_draining


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

    @property
    def bytes_per_device(self) -> int:
        """Memory a replica takes on each of its devices, in bytes."""
        return -(-(self.weights_bytes + self.kv_cache_bytes) // self.tensor_parallel_size)


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

    @property
    def holds_devices(self) -> bool:
        """Whether its devices are, or may be, in use."""
        return self.state not in (ReplicaState.STOPPED, ReplicaState.LOST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All a round decides from, at one state revision."""

    revision: int
    nodes: tuple[Node, ...]
    deployments: tuple[Deployment, ...]
    allocations: tuple[Allocation, ...]
    frontiers: tuple[tuple[str, str, Frontier], ...] = ()  # (deployment, device type, measured)
    max_moves: int | None = None  # ADDs per round; None: no bound


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
    dimension: str  # memory | devices | device_type | tensor_parallel | capacity | cordoned
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
