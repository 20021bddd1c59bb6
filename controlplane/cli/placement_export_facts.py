"""What `slacktide placement export` was told of a fleet, and what of it a file has no key for.

Owns naming the latter: a replay without it may answer for a looser fleet, so the file says so,
by id. Refuses what a file can say. Invariant: a fleet that has none of it gets no line.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from slacktide.v1.batch_pb2 import Batch, BatchState
from slacktide.v1.deployment_pb2 import Deployment, DeploymentSpec
from slacktide.v1.node_pb2 import Node, NodeState
from slacktide.v1.placement_pb2 import DeploymentTotals, Freeze, Pin, Placement, Plan
from slacktide.v1.tenant_pb2 import Tenant

from controlplane.cli.wording import bare


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFacts:
    """What the control plane told.

    Args:
        nodes: Of the fleet.
        deployments: Likewise.
        totals: What rounds plan for now, by deployment.
        plan: In force; one without placements where nothing runs.
        batches: Under way.
        tenants: Those that were described.
        pins: All of them.
        freezes: Likewise; those of nodes are told by the nodes.
    """

    nodes: tuple[Node, ...]
    deployments: tuple[Deployment, ...]
    totals: tuple[DeploymentTotals, ...] = ()
    plan: Plan
    batches: tuple[Batch, ...] = ()
    tenants: tuple[Tenant, ...] = ()
    pins: tuple[Pin, ...] = ()
    freezes: tuple[Freeze, ...] = ()


def has_known_size(placement: Placement, wanted: Mapping[str, Deployment]) -> bool:
    """Whether it is of a size its deployment asks for now; a file has no other."""
    deployment = wanted.get(bare(placement.deployment))
    if deployment is None:
        return False
    spec = deployment.spec
    sizes = (max(1, spec.tensor_parallel_size), *spec.other_tensor_parallel_sizes)
    return len(placement.device_indices) in sizes


def left_out(facts: FleetFacts) -> tuple[str, ...]:
    """What the fleet has and the file has not, or has otherwise; one line each."""
    found = []
    wanted = {bare(one.name): one for one in facts.deployments}
    others = Counter(
        bare(one.deployment)
        for one in facts.plan.placements
        if bare(one.deployment) in wanted and not has_known_size(one, wanted)
    )
    for name, one in sorted(wanted.items()):
        spec = one.spec
        if spec.slo_classes:
            classes = ", ".join(each.id for each in spec.slo_classes)
            found.append(
                f"deployment {name}: SLO classes {classes} with their targets and failover; all"
                " its requests have its own slo"
            )
        if spec.other_tensor_parallel_sizes:
            sizes = ", ".join(str(size) for size in spec.other_tensor_parallel_sizes)
            found.append(
                f"deployment {name}: what replicas over {sizes} devices bear; as much as its own"
                " size here"
            )
        if others[name]:
            found.append(f"deployment {name}: replicas of a size it has no more, {others[name]}")
        if unread := _unread(spec):
            found.append(
                f"deployment {name}: bytes of its {unread}, which its agents read; give it"
            )
    if any(one.spec.host_memory_bytes for one in facts.deployments):
        found += [
            f"node {bare(node.name)}: its host memory is not known, so has no limit; 1 TiB here"
            for node in facts.nodes
            if node.devices and not node.host_memory_bytes
        ]
    found += [
        f"node {bare(node.name)}: it drains; only cordoned here"
        for node in facts.nodes
        if node.state == NodeState.NODE_STATE_DRAINING
    ]
    if any(not freeze.target for freeze in facts.freezes):
        found.append("the freeze of the whole fleet; each deployment is frozen here")
    waiting = sum(one.state == BatchState.BATCH_STATE_VALIDATING for one in facts.batches)
    if waiting:
        found.append(f"items not counted yet of batches that are being validated, {waiting}")
    return tuple(found)


def _unread(spec: DeploymentSpec) -> str:
    """What of a replica's memory its spec does not tell."""
    unknown = {
        "weights": not spec.weights_bytes,
        "kv_cache": not spec.kv_bytes_per_token * spec.kv_cache_tokens,
    }
    return " and ".join(name for name, is_unknown in unknown.items() if is_unknown)


def head_of_left_out(lines: tuple[str, ...]) -> str:
    """Lines for the file's head; none where nothing was left out."""
    if not lines:
        return ""
    head = "# Of this fleet the file lacks, so a replay answers for one without:\n"
    return head + "".join(f"#   {line}\n" for line in lines)
