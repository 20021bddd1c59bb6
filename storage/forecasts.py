"""Forecasts of demand and frontiers of replicas: SQL only.

Refuses to read bodies: what they mean is their writer's, and so is what to do about one
that cannot be read.
"""

from collections.abc import Collection, Iterable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from storage.forecast_records import ForecastRecord, FrontierRecord, FrontierSource
from storage.tables.forecasts import forecasts, frontiers


def listed(connection: Connection) -> tuple[ForecastRecord, ...]:
    """Every stored forecast, by deployment."""
    rows = connection.execute(sa.select(forecasts).order_by(forecasts.c.deployment)).mappings()
    return tuple(ForecastRecord(**row) for row in rows)


def put(connection: Connection, records: Iterable[ForecastRecord]) -> None:
    """Creates or replaces the forecasts of those deployments."""
    for record in records:
        connection.execute(sa.delete(forecasts).where(forecasts.c.deployment == record.deployment))
        connection.execute(
            sa.insert(forecasts).values(
                deployment=record.deployment, body=record.body, update_s=record.update_s
            )
        )


def keep(connection: Connection, deployments: Collection[str]) -> None:
    """Deletes the forecasts of all other deployments."""
    connection.execute(
        sa.delete(forecasts).where(forecasts.c.deployment.not_in(sorted(deployments)))
    )


def frontiers_listed(connection: Connection) -> tuple[FrontierRecord, ...]:
    """Every stored frontier, by key."""
    rows = connection.execute(sa.select(frontiers).order_by(frontiers.c.key)).mappings()
    return tuple(FrontierRecord(**{**row, "source": FrontierSource(row["source"])}) for row in rows)


def put_frontier(connection: Connection, record: FrontierRecord) -> None:
    """Creates or replaces the frontier of a key."""
    connection.execute(sa.delete(frontiers).where(frontiers.c.key == record.key))
    connection.execute(
        sa.insert(frontiers).values(
            key=record.key,
            source=record.source.value,
            body=record.body,
            create_s=record.create_s,
            need_s=record.need_s,
        )
    )


def need_frontiers(connection: Connection, keys: Collection[str], *, now_s: float) -> None:
    """Notes that these are needed."""
    connection.execute(
        sa.update(frontiers).where(frontiers.c.key.in_(sorted(keys))).values(need_s=now_s)
    )


def drop_frontiers(connection: Connection, *, before_s: float) -> tuple[str, ...]:
    """Deletes derived frontiers last needed before that; returns their keys."""
    is_due = sa.and_(
        frontiers.c.source == FrontierSource.DERIVED.value, frontiers.c.need_s < before_s
    )
    due = sa.select(frontiers.c.key).where(is_due).order_by(frontiers.c.key)
    keys = tuple(connection.execute(due).scalars())
    if keys:
        connection.execute(sa.delete(frontiers).where(is_due))
    return keys
