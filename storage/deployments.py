"""Deployments: SQL only."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from storage.codecs import from_json, to_json
from storage.records import DeploymentRecord, DeploymentSpec, ModelNeeds
from storage.tables.deployments import deployments


def get(connection: Connection, id_: str) -> DeploymentRecord | None:
    """The deployment of that id, deleted or not."""
    row = (
        connection.execute(sa.select(deployments).where(deployments.c.id == id_))
        .mappings()
        .one_or_none()
    )
    return None if row is None else _record(row)


def listed(connection: Connection) -> tuple[DeploymentRecord, ...]:
    """Every deployment, by id; deleted ones stay, so that a generation is never reused."""
    rows = connection.execute(sa.select(deployments).order_by(deployments.c.id)).mappings()
    return tuple(_record(row) for row in rows)


def put(connection: Connection, record: DeploymentRecord) -> None:
    """Creates or replaces a deployment."""
    values = {
        "generation": record.generation,
        "spec": to_json(record.spec),
        "needs": to_json(record.needs),
        "needs_error": record.needs_error,
        "is_deleted": record.is_deleted,
        "create_s": record.create_s,
        "update_s": record.update_s,
    }
    updated = connection.execute(
        sa.update(deployments).where(deployments.c.id == record.id).values(**values)
    )
    if updated.rowcount == 0:
        connection.execute(sa.insert(deployments).values(id=record.id, **values))


def _record(row: RowMapping) -> DeploymentRecord:
    values = dict(row)
    values["spec"] = from_json(DeploymentSpec, values["spec"])
    if values["needs"] is not None:
        values["needs"] = from_json(ModelNeeds, values["needs"])
    return DeploymentRecord(**values)
