"""Nodes and their devices: SQL only."""

from collections import defaultdict

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from planner.model import Device
from storage.records import NodeRecord
from storage.tables.nodes import devices, nodes


def get(connection: Connection, id_: str) -> NodeRecord | None:
    """The node of that id."""
    found = _select(connection, nodes.c.id == id_, devices.c.node == id_)
    return found[0] if found else None


def listed(connection: Connection) -> tuple[NodeRecord, ...]:
    """Every node, by id."""
    return _select(connection, sa.true(), sa.true())


def put(connection: Connection, node: NodeRecord) -> None:
    """Creates or replaces a node with its devices."""
    values = {
        "address": node.address,
        "failure_domain": node.failure_domain,
        "agent_version": node.agent_version,
        "sglang_version": node.sglang_version,
        "protocol_version": node.protocol_version,
        "incarnation": node.incarnation,
        "labels": dict(node.labels),
        "operator_labels": dict(node.operator_labels),
        "host_memory_bytes": node.host_memory_bytes,
        "warm_models": list(node.warm_models),
        "is_ready": node.is_ready,
        "is_cordoned": node.is_cordoned,
        "reason": node.reason,
        "drain_deadline_s": node.drain_deadline_s,
        "message": node.message,
    }
    updated = connection.execute(sa.update(nodes).where(nodes.c.id == node.id).values(**values))
    if updated.rowcount == 0:
        connection.execute(sa.insert(nodes).values(id=node.id, **values))
    connection.execute(sa.delete(devices).where(devices.c.node == node.id))
    if node.devices:
        connection.execute(
            sa.insert(devices),
            [
                {
                    "node": node.id,
                    "index": one.index,
                    "device_type": one.device_type,
                    "memory_bytes": one.memory_bytes,
                }
                for one in node.devices
            ],
        )


def _select(
    connection: Connection,
    of_nodes: sa.ColumnElement[bool],
    of_devices: sa.ColumnElement[bool],
) -> tuple[NodeRecord, ...]:
    held: dict[str, list[Device]] = defaultdict(list)
    for row in connection.execute(
        sa.select(devices).where(of_devices).order_by(devices.c.node, devices.c.index)
    ).mappings():
        held[row["node"]].append(
            Device(
                index=row["index"],
                device_type=row["device_type"],
                memory_bytes=row["memory_bytes"],
            )
        )
    rows = connection.execute(sa.select(nodes).where(of_nodes).order_by(nodes.c.id)).mappings()
    return tuple(_record(row, tuple(held[row["id"]])) for row in rows)


def _record(row: RowMapping, held: tuple[Device, ...]) -> NodeRecord:
    values = dict(row)
    for name in ("labels", "operator_labels"):
        values[name] = tuple(sorted(values[name].items()))
    values["warm_models"] = tuple(values["warm_models"])
    return NodeRecord(**values, devices=held)
