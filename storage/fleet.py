"""The row about the whole fleet, answered requests, gateways: SQL only."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from storage.errors import RequestReusedError
from storage.records import FleetState, GatewayRecord
from storage.tables.fleet import fleet, gateways, requests


def state(connection: Connection, *, lock: bool = False) -> FleetState:
    """The one row; with `lock` no other writer passes until this transaction ends."""
    found = sa.select(fleet)
    row = connection.execute(found.with_for_update() if lock else found).mappings().one()
    return FleetState(**{name: value for name, value in row.items() if name != "id"})


def bump_revision(connection: Connection) -> None:
    """Raises the revision by one."""
    connection.execute(sa.update(fleet).values(revision=fleet.c.revision + 1))


def set_leader(connection: Connection, *, leader: str, epoch: int) -> None:
    """Names the leader and its epoch."""
    connection.execute(sa.update(fleet).values(leader=leader, epoch=epoch))


def set_round(connection: Connection, round_: int) -> None:
    """Names the newest entry of the ledger."""
    connection.execute(sa.update(fleet).values(round=round_))


def set_plan_round(connection: Connection, round_: int) -> None:
    """Names the round whose plan is in force."""
    connection.execute(sa.update(fleet).values(plan_round=round_))


def set_rollback_round(connection: Connection, round_: int) -> None:
    """Names the round whose placement rounds return to; 0: none."""
    connection.execute(sa.update(fleet).values(rollback_round=round_))


def set_kill_switch(connection: Connection, *, engaged: bool, reason: str, change_s: float) -> None:
    """Sets the switch with its reason and time."""
    connection.execute(
        sa.update(fleet).values(
            kill_switch=engaged, kill_switch_reason=reason, kill_switch_change_s=change_s
        )
    )


def answered(
    connection: Connection, *, request_id: str, method: str, fingerprint: bytes
) -> bytes | None:
    """The stored answer of that request, or None.

    Raises:
        RequestReusedError: the id belongs to another request.
    """
    row = connection.execute(
        sa.select(requests).where(requests.c.request_id == request_id)
    ).one_or_none()
    if row is None:
        return None
    if (row.method, row.fingerprint) != (method, fingerprint):
        raise RequestReusedError(request_id=request_id, method=row.method)
    response: bytes = row.response
    return response


def remember(
    connection: Connection,
    *,
    request_id: str,
    method: str,
    fingerprint: bytes,
    response: bytes,
    create_s: float,
) -> None:
    """Stores an answer."""
    connection.execute(
        sa.insert(requests).values(
            request_id=request_id,
            method=method,
            fingerprint=fingerprint,
            response=response,
            create_s=create_s,
        )
    )


def forget_requests(connection: Connection, before_s: float) -> int:
    """Drops answers older than that; returns how many."""
    return connection.execute(sa.delete(requests).where(requests.c.create_s < before_s)).rowcount


def note_gateway(connection: Connection, gateway: GatewayRecord) -> None:
    """Creates or replaces the gateway's row."""
    connection.execute(sa.delete(gateways).where(gateways.c.id == gateway.id))
    connection.execute(
        sa.insert(gateways).values(
            id=gateway.id, version=gateway.version, address=gateway.address, seen_s=gateway.seen_s
        )
    )


def gateways_since(connection: Connection, since_s: float) -> tuple[GatewayRecord, ...]:
    """Gateways seen since then, by id."""
    rows = connection.execute(
        sa.select(gateways).where(gateways.c.seen_s >= since_s).order_by(gateways.c.id)
    )
    return tuple(GatewayRecord(**row._mapping) for row in rows)
