"""Whether a pin can ever hold.

Pure. Owns contradictions: of a pin with its deployment's spec, with the node's devices,
and with other pins. Refuses to judge what only stands in the way now (a cordon, devices in
use): rounds see to that, and say so while they cannot.
"""

from dataclasses import replace

from controlplane.rounds.snapshot import Demand, build_snapshot
from planner.model import Deployment, Node, Snapshot
from planner.placement.explain import misfits
from storage.plan_records import PinRecord
from storage.records import FleetView


def pin_violations(view: FleetView, pin: PinRecord) -> list[tuple[str, str]]:
    """Why a pin can never hold, as (subject, description) pairs; empty where it can.

    Args:
        view: The state, with the deployment and the node in it.
        pin: New, or in place of one of the same two.
    """
    snapshot = build_snapshot(view, Demand())
    deployment = next(one for one in snapshot.deployments if one.id == pin.deployment)
    node = next(one for one in snapshot.nodes if one.id == pin.node)
    record = view.deployment(pin.deployment)
    assert record is not None
    others = [one for one in view.pins if (one.deployment, one.node) != (pin.deployment, pin.node)]
    found: list[tuple[str, str]] = []
    whole = pin.replicas + sum(one.replicas for one in others if one.deployment == pin.deployment)
    most = record.spec.max_replicas
    if whole > most:
        found.append(
            (
                f"deployments/{pin.deployment}",
                f"its pins come to {whole} replicas, max_replicas is {most}; raise max_replicas or"
                " unpin another",
            )
        )
    if pin.deployment in deployment.anti_affinity and pin.replicas > 1:
        found.append(
            (
                f"deployments/{pin.deployment}",
                f"{pin.replicas} replicas on one node, and its anti_affinity names itself; pin 1",
            )
        )
    if deployment.node_groups and node.group not in deployment.node_groups:
        found.append(
            (
                f"nodes/{node.id}",
                f"its group is {node.group or '(none)'}, the deployment goes to"
                f" {', '.join(deployment.node_groups)}; label the node or change node_groups",
            )
        )
    found += _other_pins(snapshot, deployment, node, pin, others)
    if record.engine.is_sized:
        found += _shape(deployment, node)
    return found


def _other_pins(
    snapshot: Snapshot,
    deployment: Deployment,
    node: Node,
    pin: PinRecord,
    others: list[PinRecord],
) -> list[tuple[str, str]]:
    """Contradictions with other pins of the node."""
    by_id = {one.id: one for one in snapshot.deployments}
    here = [one for one in others if one.node == node.id and one.deployment in by_id]
    found = [
        (
            f"deployments/{one.deployment}",
            f"is pinned to node {node.id}, too, and anti_affinity keeps the two apart; unpin one",
        )
        for one in here
        if one.deployment in deployment.anti_affinity
        or deployment.id in by_id[one.deployment].anti_affinity
    ]
    needed = pin.replicas * deployment.tensor_parallel_sizes[0] + sum(
        one.replicas * by_id[one.deployment].tensor_parallel_sizes[0] for one in here
    )
    if needed > len(node.devices):
        found.append(
            (
                f"nodes/{node.id}",
                f"its pins need {needed} devices, it has {len(node.devices)}; pin fewer replicas"
                " or unpin another deployment",
            )
        )
    return found


def _shape(deployment: Deployment, node: Node) -> list[tuple[str, str]]:
    """Why not even the empty, open node takes a replica over any of its device counts."""
    alone = replace(node, is_ready=True, is_cordoned=False, is_draining=False, is_frozen=False)
    why: list[tuple[str, str]] = []
    for size in deployment.tensor_parallel_sizes:
        shaped = replace(deployment, tensor_parallel_size=size, is_frozen=False)
        fleet = Snapshot(revision=0, nodes=(alone,), deployments=(shaped,), allocations=())
        found = misfits(fleet, shaped)
        if not found:
            return []
        why = [(f"nodes/{node.id}", one.message) for one in found[:1]]
    return why
