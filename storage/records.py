"""What the store keeps beyond the planner's values: frozen records.

Owns the full specification of a deployment, and what an operator or an agent said of a
node. Refuses decisions and I/O. Invariants: as `planner.model`; times are Unix seconds.
"""

from dataclasses import dataclass, field, replace

from planner.model import Allocation, Desired, Device, Node, Slo, Stage
from storage.plan_records import FLEET_TARGET, FreezeRecord, PinRecord, PlanRecord, TenantRecord

GROUP_LABEL = "group"
"""Label of a node that names its group."""
FAILURE_DOMAIN_LABEL = "failure-domain"
"""Label of a node that names its failure domain, in place of the agent."""
HOST_MEMORY_LABEL = "host-memory-bytes"
"""Label of a node that says how much host memory replicas may take, in place of the agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """The part of a specification that an engine is started with.

    A change here needs new replicas; any other change reaches running ones. A zero in
    `weights_bytes`, `kv_bytes_per_token` or `max_context_tokens` means "as the model
    folder says".
    """

    model: str
    tensor_parallel_size: int = 1
    weights_bytes: int = 0
    kv_cache_tokens: int = 32_768
    kv_bytes_per_token: int = 0
    max_context_tokens: int = 0
    max_running_requests: int = 32
    chunked_prefill_size: int = 512
    dtype: str = ""

    @property
    def is_sized(self) -> bool:
        """Whether its memory need is known."""
        return self.weights_bytes > 0 and self.kv_bytes_per_token > 0

    @property
    def launch(self) -> "EngineSpec":
        """The part that a running engine cannot change: all but its size on paper."""
        return replace(self, weights_bytes=0, kv_bytes_per_token=0)

    def filled(self, facts: "ModelNeeds") -> "EngineSpec":
        """A copy with every unset need taken from the model folder's facts."""
        return replace(
            self,
            weights_bytes=self.weights_bytes or facts.weights_bytes,
            kv_bytes_per_token=self.kv_bytes_per_token or facts.kv_bytes_per_token,
            max_context_tokens=self.max_context_tokens or facts.max_context_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNeeds:
    """What a model folder needs, as an agent read it."""

    weights_bytes: int
    kv_bytes_per_token: int
    max_context_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SloClassSpec:
    """Online requests of a deployment that share their targets, as the operator states them."""

    id: str
    slo: Slo
    expected_online_work: float = 0.0
    failover_ratio: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSpec:
    """What the operator asked for, defaults filled in."""

    engine: EngineSpec
    slo: Slo
    min_replicas: int
    max_replicas: int
    device_types: tuple[str, ...] = ()
    stage: Stage = Stage.OBSERVE
    expected_online_work: float = 0.0
    spread: bool = False
    latency_budget_ms: float = 0.0
    offline_weight: float = 1.0
    slo_classes: tuple[SloClassSpec, ...] = ()  # tightest first
    failover_ratio: float = 0.0
    other_tensor_parallel_sizes: tuple[int, ...] = ()
    host_memory_bytes: int = 0
    node_groups: tuple[str, ...] = ()
    anti_affinity: tuple[str, ...] = ()  # deployments, by id
    load_s: float = 0.0  # 0: not known
    warm_load_s: float = 0.0

    @property
    def tensor_parallel_sizes(self) -> tuple[int, ...]:
        """Devices a replica may have, ascending."""
        return tuple(sorted({self.engine.tensor_parallel_size, *self.other_tensor_parallel_sizes}))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRecord:
    """A deployment as stored.

    `needs` are the facts of its model folder, None until an agent reported them;
    `needs_error` says why no agent could.
    """

    id: str
    generation: int
    spec: DeploymentSpec
    needs: ModelNeeds | None = None
    needs_error: str = ""
    is_deleted: bool = False
    create_s: float = 0.0
    update_s: float = 0.0

    @property
    def engine(self) -> EngineSpec:
        """What its engines are started with, as far as known."""
        return self.spec.engine.filled(self.needs) if self.needs else self.spec.engine


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """A node as its agent registered it and its operators marked it."""

    id: str
    devices: tuple[Device, ...]
    failure_domain: str
    address: str = ""
    agent_version: str = ""
    sglang_version: str = ""
    protocol_version: int = 1
    incarnation: str = ""
    labels: tuple[tuple[str, str], ...] = ()  # as its agent reports them
    operator_labels: tuple[tuple[str, str], ...] = ()  # in place of the agent's
    host_memory_bytes: int = 0
    warm_models: tuple[str, ...] = ()
    is_ready: bool = True
    is_cordoned: bool = False
    reason: str = ""
    drain_deadline_s: float | None = None
    message: str = ""

    @property
    def is_draining(self) -> bool:
        """Whether what runs here is to leave, by `drain_deadline_s`."""
        return self.drain_deadline_s is not None

    @property
    def shown_labels(self) -> tuple[tuple[str, str], ...]:
        """Its labels, an operator's in place of the agent's."""
        return tuple(sorted({**dict(self.labels), **dict(self.operator_labels)}.items()))

    @property
    def group(self) -> str:
        """Its node group, "" for none."""
        return dict(self.shown_labels).get(GROUP_LABEL, "")

    @property
    def domain(self) -> str:
        """Its failure domain, an operator's in place of the agent's."""
        return dict(self.shown_labels).get(FAILURE_DOMAIN_LABEL, "") or self.failure_domain

    @property
    def host_memory(self) -> int:
        """Host memory for replicas in bytes, 0 where nobody said."""
        said = dict(self.shown_labels).get(HOST_MEMORY_LABEL, "")
        return int(said) if said.isascii() and said.isdigit() else self.host_memory_bytes

    @property
    def planned(self) -> Node:
        """The node as the planner sees it."""
        return Node(
            id=self.id,
            devices=self.devices,
            failure_domain=self.domain,
            is_ready=self.is_ready,
            is_cordoned=self.is_cordoned,
            is_draining=self.is_draining,
            host_memory_bytes=self.host_memory,
            group=self.group,
            warm_models=self.warm_models,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationRecord:
    """An allocation with the engine it was made for and the round that made it."""

    allocation: Allocation
    engine: EngineSpec
    round: int
    message: str = ""
    create_s: float = 0.0

    def runs(self, deployment: DeploymentRecord) -> bool:
        """Whether it runs what the deployment asks for now, over any allowed devices."""
        wanted = deployment.engine.launch
        runs = replace(self.engine.launch, tensor_parallel_size=wanted.tensor_parallel_size)
        return (
            runs == wanted
            and self.engine.tensor_parallel_size in deployment.spec.tensor_parallel_sizes
        )

    @property
    def is_released(self) -> bool:
        """Whether its stop may begin: it is wanted and waits for no other replica."""
        return self.allocation.desired is Desired.STOPPED and not self.allocation.after


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayRecord:
    """A gateway that watched routes."""

    id: str
    version: str
    address: str
    seen_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetState:
    """The one row of facts about the whole fleet."""

    revision: int = 0
    epoch: int = 0
    leader: str = ""
    round: int = 0  # of the ledger's newest entry
    plan_round: int = 0  # of the plan in force; 0: none
    rollback_round: int = 0  # of the placement rounds return to; 0: none
    kill_switch: bool = False
    kill_switch_reason: str = ""
    kill_switch_change_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetView:
    """The committed state at one revision, sorted by id."""

    state: FleetState
    nodes: tuple[NodeRecord, ...] = ()
    deployments: tuple[DeploymentRecord, ...] = ()
    allocations: tuple[AllocationRecord, ...] = ()
    plan: PlanRecord | None = field(default=None)
    pins: tuple[PinRecord, ...] = ()
    freezes: tuple[FreezeRecord, ...] = ()
    tenants: tuple[TenantRecord, ...] = ()

    @property
    def is_frozen(self) -> bool:
        """Whether no plan is applied at all."""
        return self.is_frozen_target(FLEET_TARGET)

    def is_frozen_target(self, target: str) -> bool:
        """Whether that target itself is frozen: "", `deployments/<id>` or `nodes/<id>`."""
        return any(one.target == target for one in self.freezes)

    def node(self, id_: str) -> NodeRecord | None:
        """The node of that id."""
        return next((node for node in self.nodes if node.id == id_), None)

    def deployment(self, id_: str) -> DeploymentRecord | None:
        """The deployment of that id, deleted or not."""
        return next((one for one in self.deployments if one.id == id_), None)

    def on_node(self, node: str) -> tuple[AllocationRecord, ...]:
        """The allocations of a node."""
        return tuple(one for one in self.allocations if one.allocation.node == node)

    def of_deployment(self, deployment: str) -> tuple[AllocationRecord, ...]:
        """The allocations of a deployment."""
        return tuple(one for one in self.allocations if one.allocation.deployment == deployment)
