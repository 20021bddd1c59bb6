"""Fleets and their life for placement tests: build a snapshot, commit a plan, let it settle."""

import itertools
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from planner.model import (
    Allocation,
    Deployment,
    Desired,
    Device,
    MoveKind,
    Node,
    Plan,
    ReplicaState,
    Slo,
    Snapshot,
    Stage,
)
from planner.placement.solve import solve
from planner.placement.verify import verify
from planner.reconcile.moves import releasable

GIB = 2**30


def node(name: str, *, devices: int = 2, kind: str = "cpu", gib: int = 4, **fields: Any) -> Node:
    """A node that is its own failure domain unless said otherwise."""
    fields.setdefault("failure_domain", name)
    return Node(
        id=name,
        devices=tuple(
            Device(index=i, device_type=kind, memory_bytes=gib * GIB) for i in range(devices)
        ),
        **fields,
    )


def deployment(name: str, **fields: Any) -> Deployment:
    """A small online deployment of one replica on one device."""
    defaults: dict[str, Any] = {
        "model": name,
        "slo": Slo(ttft_ms=2000.0, itl_ms=200.0),
        "min_replicas": 1,
        "max_replicas": 4,
        "weights_bytes": GIB,
        "kv_cache_bytes": GIB,
    }
    return Deployment(id=name, **(defaults | fields))


def batch(name: str, **fields: Any) -> Deployment:
    """An offline-only deployment with more backlog than any fleet here serves."""
    defaults: dict[str, Any] = {
        "min_replicas": 0,
        "offline_work": 100_000.0,
        "stage": Stage.ACTIVE,
    }
    return deployment(name, **(defaults | fields))


def running(name: str, of: str, where: str, *devices: int, **fields: Any) -> Allocation:
    """A replica that runs."""
    fields.setdefault("state", ReplicaState.RUNNING)
    return Allocation(replica=name, deployment=of, node=where, devices=devices, **fields)


def fleet(
    nodes: Iterable[Node],
    deployments: Iterable[Deployment],
    allocations: Iterable[Allocation] = (),
    **fields: Any,
) -> Snapshot:
    """A snapshot at revision 1."""
    return Snapshot(
        revision=1,
        nodes=tuple(nodes),
        deployments=tuple(deployments),
        allocations=tuple(allocations),
        **fields,
    )


def solved(snapshot: Snapshot) -> Plan:
    """The last plan of a solve; every one on the way passed the verifier and is no worse."""
    plans = list(solve(snapshot, work_left=lambda: 1.0))
    assert plans
    for plan in plans:
        assert verify(snapshot, plan) == ()
    for earlier, later in itertools.pairwise(plans):
        assert later.objective <= earlier.objective + 1e-6
    return plans[-1]


def commit(snapshot: Snapshot, plan: Plan) -> Snapshot:
    """What the applier does: new rows, removals with their conditions, new shares."""
    rows = {allocation.replica: allocation for allocation in snapshot.allocations}
    generations = {d.id: d.generation for d in snapshot.deployments}
    ids = {
        f"new:{i}": f"r{snapshot.revision}-{i}"
        for i, placement in enumerate(plan.placements)
        if placement.replica is None
    }
    for i, placement in enumerate(plan.placements):
        shares = {
            "online_share": placement.online_share,
            "offline_share": placement.offline_share,
            "latency_budget_ms": placement.latency_budget_ms,
            "slo_class": placement.slo_class,
        }
        if placement.replica is None:
            name = ids[f"new:{i}"]
            rows[name] = Allocation(
                replica=name,
                deployment=placement.deployment,
                node=placement.node,
                devices=placement.devices,
                generation=generations[placement.deployment],
                **shares,
            )
        else:
            rows[placement.replica] = replace(rows[placement.replica], **shares)
    for move in plan.moves:
        if move.kind is MoveKind.REMOVE:
            after = tuple(ids.get(name, name) for name in move.after)
            rows[move.replica] = replace(rows[move.replica], desired=Desired.STOPPED, after=after)
    return replace(snapshot, revision=snapshot.revision + 1, allocations=tuple(rows.values()))


def settle(snapshot: Snapshot) -> Snapshot:
    """What the agents do: released replicas stop, wanted ones come to run on free devices."""
    nodes = {node.id: node for node in snapshot.nodes}
    rows = {a.replica: a for a in snapshot.allocations}
    for name, row in list(rows.items()):
        is_starting = row.state in (ReplicaState.PENDING, ReplicaState.STARTING)
        if row.desired is Desired.RUNNING and is_starting and nodes[row.node].is_ready:
            rows[name] = replace(row, state=ReplicaState.RUNNING)
    for name in releasable(rows.values()):
        rows[name] = replace(rows[name], state=ReplicaState.STOPPED)
    live = {
        name: row
        for name, row in rows.items()
        if row.desired is Desired.RUNNING or row.holds_devices
    }
    held: dict[tuple[str, int], str] = {}
    for name, row in live.items():
        if not row.holds_devices:
            continue
        for device in row.devices:
            assert held.setdefault((row.node, device), name) == name, "device overcommitted"
    return replace(snapshot, revision=snapshot.revision + 1, allocations=tuple(live.values()))


def rounds(snapshot: Snapshot, *, at_most: int = 12) -> tuple[Snapshot, int]:
    """Solves, commits and settles until a plan has no moves; the count of rounds it took."""
    for count in range(at_most):
        plan = solved(snapshot)
        if not plan.moves:
            return snapshot, count
        snapshot = settle(commit(snapshot, plan))
    raise AssertionError(f"still moving after {at_most} rounds: {plan.moves}")


def where(snapshot: Snapshot, of: str) -> list[str]:
    """Nodes of the deployment's wanted replicas, sorted."""
    return sorted(
        a.node for a in snapshot.allocations if a.deployment == of and a.desired is Desired.RUNNING
    )


def edit_node(snapshot: Snapshot, name: str, **fields: Any) -> Snapshot:
    """The snapshot with one node changed."""
    return replace(
        snapshot,
        nodes=tuple(replace(n, **fields) if n.id == name else n for n in snapshot.nodes),
    )


def edit_replica(snapshot: Snapshot, name: str, **fields: Any) -> Snapshot:
    """The snapshot with one allocation changed."""
    return replace(
        snapshot,
        allocations=tuple(
            replace(a, **fields) if a.replica == name else a for a in snapshot.allocations
        ),
    )
