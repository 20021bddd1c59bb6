"""The independent check of a plan against a snapshot.

Owns what must hold of any plan, whoever made it. Shares no code with the survey, the
objective or the solver's model: it reads the domain's values alone, so that a mistake
there cannot hide itself here. Refuses to judge how good a plan is.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from planner.interference.frontier import frontier_for
from planner.model import (
    Allocation,
    Deployment,
    Desired,
    Device,
    Move,
    MoveKind,
    Node,
    Placement,
    Plan,
    ReplicaState,
    Snapshot,
)

_SLACK = 1e-6  # relative; rounding of sums, far below any load that matters


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A rule that a plan breaks, and where."""

    rule: str
    subject: str
    message: str


def verify(snapshot: Snapshot, plan: Plan) -> tuple[Violation, ...]:
    """Checks a plan.

    Args:
        snapshot: The state to check against; it may be newer than the plan's base.
        plan: Any plan.

    Returns:
        Every violation found; empty means the plan may be committed.
    """
    check = _Check(
        nodes={node.id: node for node in snapshot.nodes},
        deployments={deployment.id: deployment for deployment in snapshot.deployments},
        allocations={allocation.replica: allocation for allocation in snapshot.allocations},
        snapshot=snapshot,
    )
    found: list[Violation] = []
    for index, placement in enumerate(plan.placements):
        if placement.replica is None:
            found += check.new(placement, f"new:{index}")
        else:
            found += check.kept(placement, placement.replica)
    if found:  # what follows reads nodes, devices and deployments that must exist
        return tuple(found)
    found += check.exclusive(plan.placements)
    found += check.bounds(plan.placements)
    found += check.loads(plan.placements)
    found += check.waits(plan)
    found += check.moves(plan.placements, plan.moves)
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    nodes: dict[str, Node]
    deployments: dict[str, Deployment]
    allocations: dict[str, Allocation]
    snapshot: Snapshot

    def kept(self, placement: Placement, replica: str) -> Iterator[Violation]:
        """A replica that exists stays as and where it is."""
        allocation = self.allocations.get(replica)
        if allocation is None:
            yield _broken("exists", replica, "no such allocation")
            return
        if allocation.desired is Desired.STOPPED:
            yield _broken("exists", replica, "its removal is committed and cannot be undone")
        for what, planned, held in (
            ("deployment", placement.deployment, allocation.deployment),
            ("node", placement.node, allocation.node),
            ("devices", placement.devices, allocation.devices),
        ):
            if planned != held:
                yield _broken("stays", replica, f"{what} {planned}, allocated {held}")
        if placement.deployment not in self.deployments:
            yield _broken("deployment", replica, f"{placement.deployment} is not wanted")
        if placement.node not in self.nodes:
            yield _broken("node", replica, f"{placement.node} is not in the fleet")

    def new(self, placement: Placement, key: str) -> Iterator[Violation]:
        """A new replica goes where it may and where it fits."""
        deployment = self.deployments.get(placement.deployment)
        node = self.nodes.get(placement.node)
        if deployment is None:
            yield _broken("deployment", key, f"{placement.deployment} is not wanted")
            return
        if node is None:
            yield _broken("node", key, f"{placement.node} is not in the fleet")
            return
        if not node.is_ready or node.is_cordoned or node.is_draining:
            yield _broken("cordon", key, f"node {node.id} takes nothing new")
        yield from self._shape(placement, key, deployment, node)

    def _shape(
        self, placement: Placement, key: str, deployment: Deployment, node: Node
    ) -> Iterator[Violation]:
        by_index = {device.index: device for device in node.devices}
        devices: list[Device] = []
        for index in placement.devices:
            if index in by_index:
                devices.append(by_index[index])
            else:
                yield _broken("devices", key, f"node {node.id} has no device {index}")
        if len(set(placement.devices)) != deployment.tensor_parallel_size:
            yield _broken(
                "tensor_parallel",
                key,
                f"{list(placement.devices)} are not {deployment.tensor_parallel_size} devices",
            )
        kinds = {device.device_type for device in devices}
        if len(kinds) > 1:
            yield _broken("device_type", key, f"mixes {sorted(kinds)}")
        if deployment.device_types and not kinds <= set(deployment.device_types):
            yield _broken("device_type", key, f"{sorted(kinds)} not allowed")
        wanted_bytes = deployment.weights_bytes + deployment.kv_cache_bytes
        needed = -(-wanted_bytes // deployment.tensor_parallel_size)
        for device in devices:
            if device.memory_bytes < needed:
                yield _broken(
                    "memory",
                    key,
                    f"needs {needed} bytes, device {device.index} of node {node.id} has "
                    f"{device.memory_bytes}",
                )

    def exclusive(self, placements: Sequence[Placement]) -> Iterator[Violation]:
        """No device is given twice, nor while a replica that goes still holds it."""
        holders: dict[tuple[str, int], str] = {}
        for allocation in self.allocations.values():
            is_over = allocation.state in (ReplicaState.STOPPED, ReplicaState.LOST)
            if allocation.desired is Desired.STOPPED and is_over:
                continue
            for device in allocation.devices:
                holders[allocation.node, device] = allocation.replica
        seen: set[str] = set()
        for index, placement in enumerate(placements):
            if placement.replica is not None:
                if placement.replica in seen:
                    yield _broken("exclusive", placement.replica, "placed twice")
                seen.add(placement.replica)
                continue
            for device in placement.devices:
                holder = holders.setdefault((placement.node, device), f"new:{index}")
                if holder != f"new:{index}":
                    yield _broken(
                        "exclusive",
                        f"new:{index}",
                        f"device {device} of node {placement.node} is held by {holder}",
                    )

    def bounds(self, placements: Sequence[Placement]) -> Iterator[Violation]:
        """max_replicas and the round's moves are kept to."""
        counts = Counter(placement.deployment for placement in placements)
        for name, count in sorted(counts.items()):
            allowed = self.deployments[name].max_replicas
            if count > allowed:
                yield _broken("max_replicas", name, f"{count} placed, {allowed} allowed")
        added = sum(placement.replica is None for placement in placements)
        allowed_moves = self.snapshot.max_moves
        if allowed_moves is not None and added > allowed_moves:
            yield _broken("max_moves", "plan", f"{added} added, {allowed_moves} allowed")

    def loads(self, placements: Sequence[Placement]) -> Iterator[Violation]:
        """Each replica's point lies under its frontier, and its budget is positive."""
        for name, deployment in sorted(self.deployments.items()):
            own = [placement for placement in placements if placement.deployment == name]
            served = min(deployment.online_work, sum(self._online_limit(p) for p in own))
            whole = sum(placement.online_share for placement in own)
            if own and abs(whole - 1.0) > 0.02 * len(own) + _SLACK:
                yield _broken("shares", name, f"online shares sum to {whole:.4f}, not 1")
            for placement in own:
                yield from self._load(placement, placement.online_share * served)

    def _load(self, placement: Placement, x: float) -> Iterator[Violation]:
        subject = f"{placement.deployment} on {placement.node}{list(placement.devices)}"
        y = placement.offline_share
        if x < 0.0 or y < 0.0:
            yield _broken("shares", subject, f"negative load ({x}, {y})")
        if placement.latency_budget_ms <= 0.0:
            yield _broken("budget", subject, f"{placement.latency_budget_ms} ms")
        frontier = frontier_for(self.snapshot, placement.deployment, self._kind(placement))
        if x > frontier.max_online_work * (1.0 + _SLACK):
            yield _broken("frontier", subject, f"online {x}, bears {frontier.max_online_work}")
        for segment in frontier.segments:
            load = segment.alpha * x + segment.beta * y
            if load > segment.gamma + _SLACK * max(1.0, abs(segment.gamma)):
                yield _broken("frontier", subject, f"({x}, {y}) lies above {segment}")

    def _online_limit(self, placement: Placement) -> float:
        frontier = frontier_for(self.snapshot, placement.deployment, self._kind(placement))
        limit = frontier.max_online_work
        for segment in frontier.segments:
            if segment.alpha > 0.0:
                limit = min(limit, segment.gamma / segment.alpha)
        return max(0.0, limit)

    def _kind(self, placement: Placement) -> str:
        for device in self.nodes[placement.node].devices:
            if device.index == placement.devices[0]:
                return device.device_type
        return ""

    def waits(self, plan: Plan) -> Iterator[Violation]:
        """What waits goes where it may, onto devices that nothing planned keeps."""
        planned = {(p.node, device) for p in plan.placements for device in p.devices}
        for index, placement in enumerate(plan.waiting):
            key = f"waiting:{index}"
            yield from self.new(placement, key)
            for device in placement.devices:
                if (placement.node, device) in planned:
                    yield _broken(
                        "exclusive", key, f"device {device} of node {placement.node} is not to go"
                    )
                planned.add((placement.node, device))

    def moves(self, placements: Sequence[Placement], moves: Sequence[Move]) -> Iterator[Violation]:
        """Moves lead exactly from the allocations to the placements."""
        keys = {f"new:{i}" for i, p in enumerate(placements) if p.replica is None}
        kept = {placement.replica for placement in placements}
        gone = {
            replica
            for replica, allocation in self.allocations.items()
            if allocation.desired is Desired.RUNNING and replica not in kept
        }
        added = Counter(move.replica for move in moves if move.kind is MoveKind.ADD)
        removed = Counter(move.replica for move in moves if move.kind is MoveKind.REMOVE)
        for key in sorted(keys | added.keys()):
            if added[key] != 1 or key not in keys:
                yield _broken("moves", key, f"{added[key]} ADD moves for it")
        for replica in sorted(gone | removed.keys()):
            if removed[replica] != 1 or replica in kept or replica not in self.allocations:
                yield _broken("moves", replica, f"{removed[replica]} REMOVE moves for it")
        for move in moves:
            unknown = [other for other in move.after if other not in keys | kept]
            if unknown:
                yield _broken("moves", move.replica, f"waits for {unknown}, which is not planned")


def _broken(rule: str, subject: str, message: str) -> Violation:
    return Violation(rule=rule, subject=subject, message=message)
