"""Replicas that share a node.

Owns that no device is given twice, that new replicas find host memory, and that none joins
a deployment it is to be apart from. What a new replica meets on its node is whatever holds
devices there: what stays, what leaves until it has left, and what else is new. What waits
meets only what is planned, since it comes when the others have gone.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from planner.model import Deployment, Placement, Plan
from planner.placement.verification import seating
from planner.placement.verification.facts import Facts
from planner.placement.verification.violation import Violation, broken


def shared(facts: Facts, placements: Sequence[Placement]) -> Iterator[Violation]:
    """New replicas beside all that holds devices."""
    yield from _exclusive(facts, placements)
    arrivals: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for index, placement in enumerate(placements):
        if placement.replica is None:
            arrivals[placement.node].append((f"new:{index}", placement.deployment))
    for node, coming in arrivals.items():
        present = [allocation.deployment for allocation in facts.holding.get(node, ())]
        yield from _node_mates(facts, node, present=present, coming=coming)


def waits(facts: Facts, plan: Plan) -> Iterator[Violation]:
    """What waits goes where it may, onto devices that nothing planned keeps."""
    if not plan.waiting:
        return
    planned = {(p.node, device) for p in plan.placements for device in p.devices}
    arrivals: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for index, placement in enumerate(plan.waiting):
        key = f"waiting:{index}"
        refused = tuple(seating.new(facts, placement, key))
        yield from refused
        for device in placement.devices:
            if (placement.node, device) in planned:
                yield broken(
                    "exclusive", key, f"device {device} of node {placement.node} is not to go"
                )
            planned.add((placement.node, device))
        if not refused:
            arrivals[placement.node].append((key, placement.deployment))
    present: dict[str, list[str]] = defaultdict(list)
    for placement in plan.placements:
        present[placement.node].append(placement.deployment)
    for node, coming in arrivals.items():
        yield from _node_mates(facts, node, present=present[node], coming=coming)


def _exclusive(facts: Facts, placements: Sequence[Placement]) -> Iterator[Violation]:
    """No device is given twice, nor while a replica that goes still holds it."""
    holders: dict[tuple[str, int], str] = {}
    for node, allocations in facts.holding.items():
        for allocation in allocations:
            for device in allocation.devices:
                holders[node, device] = allocation.replica
    seen: set[str] = set()
    for index, placement in enumerate(placements):
        if placement.replica is not None:
            if placement.replica in seen:
                yield broken("exclusive", placement.replica, "placed twice")
            seen.add(placement.replica)
            continue
        key = f"new:{index}"
        for device in placement.devices:
            holder = holders.setdefault((placement.node, device), key)
            if holder != key:
                yield broken(
                    "exclusive",
                    key,
                    f"device {device} of node {placement.node} is held by {holder}",
                )


def _node_mates(
    facts: Facts, node: str, *, present: Sequence[str], coming: Sequence[tuple[str, str]]
) -> Iterator[Violation]:
    """Host memory and anti-affinity of one node, where `coming` join `present`."""
    yield from _host_memory(facts, node, present=present, coming=coming)
    together = Counter([*present, *(name for _, name in coming)])
    for key, name in coming:
        for other, count in sorted(together.items()):
            if count - (other == name) > 0 and _are_apart(facts, name, other):
                yield broken(
                    "anti_affinity", key, f"{name} shares node {node} with a replica of {other}"
                )


def _are_apart(facts: Facts, one: str, other: str) -> bool:
    """Whether either of the two is to share no node with the other."""
    whole = facts.deployments
    return (one in whole and other in whole[one].anti_affinity) or (
        other in whole and one in whole[other].anti_affinity
    )


def _host_memory(
    facts: Facts, node: str, *, present: Sequence[str], coming: Sequence[tuple[str, str]]
) -> Iterator[Violation]:
    limit = facts.nodes[node].host_memory_bytes
    wanted = sum(_host_bytes(facts.deployments.get(name)) for _, name in coming)
    if not limit or not wanted:
        return
    held = sum(_host_bytes(facts.deployments.get(name)) for name in present)
    if held + wanted > limit:
        keys = [key for key, _ in coming]
        yield broken(
            "host_memory",
            node,
            f"{keys} take {wanted} bytes, {held} of {limit} are taken",
        )


def _host_bytes(deployment: Deployment | None) -> int:
    return 0 if deployment is None else deployment.host_memory_bytes
