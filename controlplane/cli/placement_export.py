"""`slacktide placement export`: the running fleet as a file for `slacktide replay --fleet`.

Owns which answers the file needs and what each of them becomes. Refuses to replay. What a
control plane does not tell stands in the file as a guess that says so: the work of a batch's
item, and frontiers, which are the planner's default. What the file has no key for is told by
`placement_export_facts`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
import yaml
from google.protobuf.duration_pb2 import Duration
from slacktide.v1.batch_pb2 import Batch, BatchState
from slacktide.v1.batch_service_pb2 import ListBatchesRequest
from slacktide.v1.deployment_pb2 import Deployment, DeploymentSpec, Stage
from slacktide.v1.node_pb2 import Node, NodeState
from slacktide.v1.placement_pb2 import Plan
from slacktide.v1.placement_service_pb2 import WhatIfRequest
from slacktide.v1.slo_pb2 import Slo
from slacktide.v1.tenant_pb2 import Tenant

from controlplane.cli.connection import connect
from controlplane.cli.failures import CommandError
from controlplane.cli.listed import listed_deployments, listed_nodes, listed_tenants
from controlplane.cli.placement_export_facts import (
    FleetFacts,
    has_known_size,
    head_of_left_out,
    left_out,
)
from controlplane.cli.placement_hold import list_pins
from controlplane.cli.placement_show import in_force
from controlplane.cli.wording import bare, enum_word, parse_duration_s
from controlplane.client import CALL_DEADLINE_S, SOLVE_DEADLINE_S, Fleet, pages

_PAGE = 1000
_REQUEST_WORK_MS = 1000.0  # any: an aggregated replay knows rates of work, not requests
_OPEN = (BatchState.BATCH_STATE_VALIDATING, BatchState.BATCH_STATE_IN_PROGRESS)

_HEAD = """\
# A fleet as it was at {time}, for `slacktide replay --fleet`. Edit what is to be supposed:
# a line of nodes (its replicas under running, too), a demand's scale, a swing, failures.
# Every key: slacktide replay --fleet-keys
# demand.work is what rounds plan for now, held all day unless a swing is given.
# frontier: none stands here, so the planner's default is taken; copy in those of your profiles.
# item_work: a guess, {request_work:g} engine-ms; a batch's work is its items times that.
# prices, rounds.interval, rounds.max_moves: not told by the control plane; set your own.
"""


def export(
    duration: Annotated[str, typer.Option(help="How long the replay is to be.")] = "24h",
) -> None:
    """Writes the running fleet as a file that `slacktide replay --fleet` reads.

    Nodes, deployments with the load rounds plan for, replicas, batches under way, tenants,
    pins and freezes. What the fleet has and a file cannot say, its head names.

    Example:  slacktide placement export > fleet.yaml
              slacktide replay --fleet fleet.yaml --scale-load chat=2 --lose-node n1
    """
    now = datetime.now(UTC)
    _require_duration(duration)
    with connect() as fleet:
        asked = read_facts(fleet)
    values = fleet_values(asked, duration=duration, now=now)
    head = _HEAD.format(time=f"{now:%Y-%m-%d %H:%M} UTC", request_work=_REQUEST_WORK_MS)
    print(
        head
        + head_of_left_out(left_out(asked))
        + yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=100),
        end="",
    )


def _require_duration(duration: str) -> None:
    """What replay would refuse is not written."""
    try:
        is_long_enough = parse_duration_s(duration) >= 1.0
    except ValueError as error:
        raise CommandError(f"--duration {error}") from error
    if not is_long_enough:
        raise CommandError(f"--duration {duration!r}: must be at least 1s, e.g. 24h")


def read_facts(fleet: Fleet) -> FleetFacts:
    """Asks for all that the file holds.

    Raises:
        CommandError: Nothing to replay.
    """
    nodes, deployments = listed_nodes(fleet), listed_deployments(fleet)
    if not nodes or not deployments:
        raise CommandError(
            f"{len(nodes)} nodes and {len(deployments)} deployments: one of each is needed to"
            " replay; next: slacktide status"
        )
    batches = [
        batch
        for page in pages(
            lambda t: fleet.batches.ListBatches(
                ListBatchesRequest(page_size=_PAGE, page_token=t), timeout=CALL_DEADLINE_S
            )
        )
        for batch in page.batches
        if batch.state in _OPEN
    ]
    totals = fleet.placement.WhatIf(WhatIfRequest(), timeout=SOLVE_DEADLINE_S).deployments
    placement = in_force(fleet)
    return FleetFacts(
        nodes=tuple(nodes),
        deployments=tuple(deployments),
        totals=tuple(totals),
        plan=placement.plan if placement is not None else Plan(),
        batches=tuple(batches),
        tenants=tuple(listed_tenants(fleet)),
        pins=tuple(list_pins(fleet).pins),
        freezes=tuple(placement.freezes) if placement is not None else (),
    )


def fleet_values(facts: FleetFacts, *, duration: str, now: datetime) -> dict[str, Any]:
    """The file's keys and values.

    Args:
        facts: What the control plane told.
        duration: Of the replay.
        now: What deadlines are told from.

    Raises:
        CommandError: A node with devices of two types.
    """
    work = {bare(one.deployment): one.totals.online_work_wanted for one in facts.totals}
    listed = {bare(node.name): _node(node) for node in facts.nodes if node.devices}
    up = {bare(n.name) for n in facts.nodes if n.devices and n.state != NodeState.NODE_STATE_LOST}
    wanted = {bare(one.name): one for one in facts.deployments}
    frozen = {one.target for one in facts.freezes}
    values: dict[str, Any] = {
        "duration": duration,
        "rounds": {"forecast": "last"} | _device_cost(facts.plan),
        "nodes": list(listed.values()),
        "deployments": [
            _deployment(
                name,
                one.spec,
                work=work.get(name, 0.0),
                known=wanted,
                is_frozen=not frozen.isdisjoint(("", one.name)),
            )
            for name, one in sorted(wanted.items())
        ],
        "running": [
            {
                "deployment": bare(one.deployment),
                "node": bare(one.node),
                "devices": list(one.device_indices),
            }
            for one in facts.plan.placements
            if bare(one.node) in up and has_known_size(one, wanted)
        ],
        "batches": [
            found
            for batch in facts.batches
            if (found := _batch(batch, wanted, now=now)) is not None
        ],
        "tenants": {bare(one.name): _tenant(one) for one in facts.tenants},
        "pins": [
            {"deployment": name, "node": node, "replicas": max(1, one.replicas)}
            for one in facts.pins
            if (name := bare(one.deployment)) in wanted and (node := bare(one.node)) in listed
        ],
    }
    return {key: value for key, value in values.items() if value not in ([], {})}


def _tenant(tenant: Tenant) -> float | dict[str, float]:
    """Its weight, and its quota where it has one."""
    weight = tenant.weight or 1.0  # as the contract has it
    if not tenant.HasField("max_offline_work"):
        return weight
    return {"weight": weight, "quota": tenant.max_offline_work}


def _device_cost(plan: Plan) -> dict[str, float]:
    """What a device of mean price has to be worth, as the plan weighed it beside offline work."""
    weights = {term.name: abs(term.weight) for term in plan.terms}
    offline = weights.get("offline_work", 0.0)
    cost = round(weights.get("devices", 0.0) / offline, 6) if offline > 0.0 else 0.0
    return {"device_cost": cost} if cost > 0.0 else {}


def _node(node: Node) -> dict[str, Any]:
    name = bare(node.name)
    types = sorted({device.device_type for device in node.devices})
    if len(types) > 1:
        raise CommandError(f"node {name}: devices of {' and '.join(types)}; a file has one a node")
    is_out = node.cordoned or node.state != NodeState.NODE_STATE_READY
    return {
        "id": name,
        "type": types[0],
        "memory": min(device.memory_bytes for device in node.devices),
        "devices": len(node.devices),
        "domains": [node.failure_domain or name],
        **({"host_memory": node.host_memory_bytes} if node.host_memory_bytes else {}),
        **({"group": node.group} if node.group else {}),
        **({"cordoned": True} if is_out else {}),
        **({"frozen": True} if node.frozen else {}),
    }


def _deployment(
    name: str,
    spec: DeploymentSpec,
    *,
    work: float,
    known: Mapping[str, Deployment],
    is_frozen: bool,
) -> dict[str, Any]:
    has_load = spec.HasField("load_duration")
    has_warm = spec.HasField("warm_load_duration")
    optional = {
        "other_tensor_parallel_sizes": list(spec.other_tensor_parallel_sizes),
        "device_types": list(spec.device_types),
        "spread": spec.spread,
        "node_groups": list(spec.node_groups),
        "anti_affinity": [other for one in spec.anti_affinity if (other := bare(one)) in known],
        "host_memory": spec.host_memory_bytes,
        "frozen": is_frozen,
        "failover": spec.failover_ratio,
        "latency_budget": spec.latency_budget_ms,
        "weights": spec.weights_bytes,
        "kv_cache": spec.kv_bytes_per_token * spec.kv_cache_tokens,
        "offline_weight": spec.offline_weight,
        "load": _seconds(spec.load_duration) if has_load else "",
        "warm_load": _seconds(spec.warm_load_duration) if has_warm else "",
    }
    return {
        "name": name,
        "model": spec.model,
        "tensor_parallel_size": max(1, spec.tensor_parallel_size),
        "slo": _slo(spec.slo),
        "min_replicas": spec.min_replicas,
        "max_replicas": max(1, spec.max_replicas),
        "stage": _stage(spec),
        **{key: value for key, value in optional.items() if value},
        "request_work": _REQUEST_WORK_MS,
        "item_work": _REQUEST_WORK_MS,
        "demand": {"work": round(work, 3), "scale": 1.0},
    }


def _seconds(duration: Duration) -> str:
    return f"{duration.ToTimedelta().total_seconds():.6f}".rstrip("0").rstrip(".") + "s"


def _stage(spec: DeploymentSpec) -> str:
    return "observe" if not spec.stage else enum_word(Stage, spec.stage).lower()


def _slo(slo: Slo) -> dict[str, Any]:
    targets = {
        name: _seconds(getattr(slo, name))
        for name in ("ttft", "itl", "tpot", "max_gap")
        if slo.HasField(name) and (name != "max_gap" or slo.HasField("tpot"))
    }
    return targets | ({"attainment": slo.attainment_ratio} if slo.attainment_ratio else {})


def _batch(
    batch: Batch, wanted: Mapping[str, Deployment], *, now: datetime
) -> dict[str, Any] | None:
    counts, name = batch.counts, bare(batch.deployment)
    left = counts.total - counts.succeeded - counts.failed
    if left <= 0 or name not in wanted:
        return None
    found: dict[str, Any] = {"deployment": name, "items": left, "tenant": batch.tenant or "default"}
    if batch.HasField("deadline_time"):
        left_s = (batch.deadline_time.ToDatetime(tzinfo=UTC) - now).total_seconds()
        if left_s > 1.0:  # one that is over binds nothing any more
            found["deadline"] = f"{left_s:.0f}s"
    return found
