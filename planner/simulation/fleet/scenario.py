"""What a replayed fleet is made of.

Owns the scenario's values: nodes, services with their demand, batches, outages, and how
rounds run. Refuses to replay. Times are seconds after the replay begins; work is in
predicted solo engine-milliseconds of the deployment's reference, as everywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from planner.latency.work import TokenWork
from planner.model import Allocation, Deployment, Node, Pin, Tenant
from planner.simulation.fleet.demand import Demand
from planner.simulation.fleet.profile import ReplicaProfile
from planner.simulation.kind import EngineKind
from planner.workload.generate import Lengths


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A deployment with what comes to it and what its replicas bear.

    Args:
        deployment: As a round sees it; its demand is overwritten each round.
        demand: Online requests over time.
        request_work_ms: Work of a mean online request, > 0.
        item_work_ms: Work of a mean batch item, > 0.
        profiles: What one replica bears, by device type, whatever its size; a type without
            one is not used.
        engines: By device type, for an exact replay; may be empty for an aggregated one.
        items: Lengths of batch items, for an exact replay.
        item_work: Work of their tokens, likewise.
    """

    deployment: Deployment
    demand: Demand
    request_work_ms: float
    item_work_ms: float
    profiles: Mapping[str, ReplicaProfile]
    engines: Mapping[str, EngineKind] = field(default_factory=dict)
    items: Lengths | None = None
    item_work: TokenWork | None = None

    def __post_init__(self) -> None:
        for name in ("request_work_ms", "item_work_ms"):
            if not getattr(self, name) > 0.0:
                raise ValueError(
                    f"service {self.deployment.id}: {name} is {getattr(self, name)}, must be > 0"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetBatch:
    """An offline submission: `items` alike, of one deployment."""

    id: str
    deployment: str
    items: int
    submit_s: float = 0.0
    deadline_s: float | None = None  # on the replay's clock
    tenant: str = "default"
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """Nodes that fail together, and come back together."""

    nodes: tuple[str, ...]
    at_s: float
    for_s: float

    def __post_init__(self) -> None:
        if not self.at_s >= 0.0 or not self.for_s > 0.0:
            raise ValueError(f"outage at {self.at_s} s for {self.for_s} s: must be >= 0 and > 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSettings:
    """How rounds run.

    Args:
        interval_s: From one round to the next.
        resplit_s: Between rounds, placement fixed: how often shares follow the load.
        lease_s: Without a word from a node for so long, its replicas are LOST and a round
            is triggered.
        backlog_horizon_s: A backlog is wanted done within this; inf: by its deadlines.
        deadline_margin_ratio: Added to the rate that deadlines rest on.
        max_moves: ADDs a round may make; None: no bound.
        device_cost: Of a device of mean price, as of a snapshot; 0: devices are free.
        is_priced: Whether rounds are told the prices; else all devices cost alike.
        is_triggered_by_failure: Whether a lost node, or one that is back, starts a round.
    """

    interval_s: float = 900.0
    resplit_s: float = 60.0
    lease_s: float = 10.0
    backlog_horizon_s: float = 60.0
    deadline_margin_ratio: float = 0.1
    max_moves: int | None = None
    device_cost: float = 0.0
    is_priced: bool = True
    is_triggered_by_failure: bool = True

    def __post_init__(self) -> None:
        for name in ("interval_s", "resplit_s", "backlog_horizon_s"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"rounds: {name} is {getattr(self, name)}, must be > 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetScenario:
    """A fleet over time.

    Args:
        nodes: All there are, up or not.
        services: One a deployment.
        batches: In any order.
        outages: Likewise; one node's must not overlap.
        duration_s: Simulated, > 0.
        interval_s: Of flows and of the recorded series, > 0.
        rounds: How rounds run.
        prices: Of a device-hour, by device type; one without has none.
        tenant_weights: Share of each tenant against the others; 1 where not given.
        tenant_quotas: Offline work a tenant may have, engine-ms per second; one without has
            no quota.
        pins: Nodes that are to have replicas of a deployment, all the time.
        allocations: That run when the replay begins, loaded, such as those of a live fleet.
        begins_loaded: Whether what the first round places has loaded at once, as of a fleet
            that ran before.
        seed: Of all that is random.
    """

    nodes: tuple[Node, ...]
    services: tuple[Service, ...]
    duration_s: float
    batches: tuple[FleetBatch, ...] = ()
    outages: tuple[Outage, ...] = ()
    interval_s: float = 60.0
    rounds: RoundSettings = RoundSettings()
    prices: Mapping[str, float] = field(default_factory=dict)
    tenant_weights: Mapping[str, float] = field(default_factory=dict)
    tenant_quotas: Mapping[str, float] = field(default_factory=dict)
    pins: tuple[Pin, ...] = ()
    allocations: tuple[Allocation, ...] = ()
    begins_loaded: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.duration_s > 0.0 or not self.interval_s > 0.0:
            raise ValueError(
                f"fleet: duration_s {self.duration_s} and interval_s {self.interval_s} must be > 0"
            )
        known = {node.id for node in self.nodes}
        wanted = {service.deployment.id for service in self.services}
        if len(known) != len(self.nodes) or len(wanted) != len(self.services):
            raise ValueError("fleet: ids of nodes and of deployments must be unique")
        for outage in self.outages:
            if missing := sorted(set(outage.nodes) - known):
                raise ValueError(f"outage at {outage.at_s:g} s: no node {missing[0]}")
        for one in self.allocations:
            if one.node not in known or one.deployment not in wanted:
                raise ValueError(
                    f"replica {one.replica}: of deployment {one.deployment} on node {one.node};"
                    " the fleet must have both"
                )
        for pin in self.pins:
            if pin.node not in known or pin.deployment not in wanted:
                raise ValueError(
                    f"pin of deployment {pin.deployment} to node {pin.node}: the fleet must"
                    " have both"
                )
        for batch in self.batches:
            if batch.deployment not in wanted:
                raise ValueError(f"batch {batch.id}: no deployment {batch.deployment}")

    @property
    def by_id(self) -> dict[str, Service]:
        """Services by deployment."""
        return {service.deployment.id: service for service in self.services}

    @property
    def tenants(self) -> tuple[Tenant, ...]:
        """Those with a weight or a quota of their own, by id."""
        return tuple(
            Tenant(
                id=name,
                weight=self.tenant_weights.get(name, 1.0),
                max_offline_work=self.tenant_quotas.get(name),
            )
            for name in sorted({*self.tenant_weights, *self.tenant_quotas})
        )
