"""Pins, freezes and tenants: SQL only."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from storage.plan_records import FreezeRecord, PinRecord, TenantRecord
from storage.tables.placement import freezes, pins, tenants


def pins_listed(connection: Connection) -> tuple[PinRecord, ...]:
    """Every pin, by deployment, then node."""
    rows = connection.execute(sa.select(pins).order_by(pins.c.deployment, pins.c.node)).mappings()
    return tuple(PinRecord(**row) for row in rows)


def put_pin(connection: Connection, pin: PinRecord) -> None:
    """Creates or replaces the pin of a deployment on a node."""
    remove_pin(connection, deployment=pin.deployment, node=pin.node)
    connection.execute(
        sa.insert(pins).values(
            deployment=pin.deployment,
            node=pin.node,
            replicas=pin.replicas,
            reason=pin.reason,
            create_s=pin.create_s,
        )
    )


def remove_pin(connection: Connection, *, deployment: str, node: str) -> bool:
    """Deletes a pin; says whether there was one."""
    gone = connection.execute(
        sa.delete(pins).where(pins.c.deployment == deployment, pins.c.node == node)
    )
    return gone.rowcount > 0


def remove_pins_of(connection: Connection, deployment: str) -> bool:
    """Deletes all pins of a deployment; says whether there was one."""
    gone = connection.execute(sa.delete(pins).where(pins.c.deployment == deployment))
    return gone.rowcount > 0


def freezes_listed(connection: Connection) -> tuple[FreezeRecord, ...]:
    """Every freeze, by target; that of the whole fleet first."""
    rows = connection.execute(sa.select(freezes).order_by(freezes.c.target)).mappings()
    return tuple(FreezeRecord(**row) for row in rows)


def put_freeze(connection: Connection, freeze: FreezeRecord) -> None:
    """Creates a freeze; its target must not be frozen."""
    connection.execute(
        sa.insert(freezes).values(
            target=freeze.target, reason=freeze.reason, create_s=freeze.create_s
        )
    )


def remove_freeze(connection: Connection, target: str) -> bool:
    """Deletes a freeze; says whether there was one."""
    return connection.execute(sa.delete(freezes).where(freezes.c.target == target)).rowcount > 0


def tenants_listed(connection: Connection) -> tuple[TenantRecord, ...]:
    """Every tenant that was described, by id."""
    rows = connection.execute(sa.select(tenants).order_by(tenants.c.id)).mappings()
    return tuple(TenantRecord(**row) for row in rows)


def tenant(connection: Connection, id_: str) -> TenantRecord | None:
    """The tenant of that id."""
    row = connection.execute(sa.select(tenants).where(tenants.c.id == id_)).mappings().one_or_none()
    return None if row is None else TenantRecord(**row)


def put_tenant(connection: Connection, record: TenantRecord) -> None:
    """Creates or replaces a tenant."""
    remove_tenant(connection, record.id)
    connection.execute(
        sa.insert(tenants).values(
            id=record.id,
            weight=record.weight,
            max_offline_work=record.max_offline_work,
            create_s=record.create_s,
            update_s=record.update_s,
        )
    )


def remove_tenant(connection: Connection, id_: str) -> bool:
    """Deletes a tenant; says whether there was one."""
    return connection.execute(sa.delete(tenants).where(tenants.c.id == id_)).rowcount > 0
