"""Allocations: SQL only."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from planner.model import Allocation, Desired, ReplicaState
from storage.codecs import from_json, to_json
from storage.records import AllocationRecord, EngineSpec
from storage.tables.deployments import allocations


def get(connection: Connection, replica: str) -> AllocationRecord | None:
    """The allocation of that replica."""
    row = (
        connection.execute(sa.select(allocations).where(allocations.c.replica == replica))
        .mappings()
        .one_or_none()
    )
    return None if row is None else _record(row)


def listed(
    connection: Connection, *, node: str | None = None, deployment: str | None = None
) -> tuple[AllocationRecord, ...]:
    """Allocations by replica id; of one node or deployment where given."""
    chosen = sa.select(allocations).order_by(allocations.c.replica)
    if node is not None:
        chosen = chosen.where(allocations.c.node == node)
    if deployment is not None:
        chosen = chosen.where(allocations.c.deployment == deployment)
    return tuple(_record(row) for row in connection.execute(chosen).mappings())


def put(connection: Connection, record: AllocationRecord) -> None:
    """Creates or replaces an allocation."""
    one = record.allocation
    values = {
        "deployment": one.deployment,
        "node": one.node,
        "devices": to_json(one.devices),
        "desired": one.desired.value,
        "state": one.state.value,
        "online_share": one.online_share,
        "offline_share": one.offline_share,
        "latency_budget_ms": one.latency_budget_ms,
        "slo_class": one.slo_class,
        "after": to_json(one.after),
        "generation": one.generation,
        "engine": to_json(record.engine),
        "round": record.round,
        "message": record.message,
        "create_s": record.create_s,
    }
    updated = connection.execute(
        sa.update(allocations).where(allocations.c.replica == one.replica).values(**values)
    )
    if updated.rowcount == 0:
        connection.execute(sa.insert(allocations).values(replica=one.replica, **values))


def remove(connection: Connection, replica: str) -> None:
    """Deletes the row."""
    connection.execute(sa.delete(allocations).where(allocations.c.replica == replica))


def _record(row: RowMapping) -> AllocationRecord:
    return AllocationRecord(
        allocation=Allocation(
            replica=row["replica"],
            deployment=row["deployment"],
            node=row["node"],
            devices=tuple(row["devices"]),
            desired=Desired(row["desired"]),
            state=ReplicaState(row["state"]),
            online_share=row["online_share"],
            offline_share=row["offline_share"],
            latency_budget_ms=row["latency_budget_ms"],
            slo_class=row["slo_class"],
            after=tuple(row["after"]),
            generation=row["generation"],
        ),
        engine=from_json(EngineSpec, row["engine"]),
        round=row["round"],
        message=row["message"],
        create_s=row["create_s"],
    )
