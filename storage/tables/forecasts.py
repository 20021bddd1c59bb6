"""What rounds learned: forecasts of demand, and frontiers of replicas.

Neither is fleet state: writing them raises no revision. Bodies are text, read and checked
by whoever wrote them, so that one that cannot be read spoils nothing beside it.
"""

import sqlalchemy as sa

from storage.tables.base import metadata

forecasts = sa.Table(
    "forecasts",
    metadata,
    sa.Column("deployment", sa.Text, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("update_s", sa.Double, nullable=False),
)

frontiers = sa.Table(
    "frontiers",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),  # measured | derived
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("create_s", sa.Double, nullable=False),
    sa.Column("need_s", sa.Double, nullable=False, server_default=sa.text("0")),
)
