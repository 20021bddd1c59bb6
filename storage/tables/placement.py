"""What operators hold fixed: pins and freezes; and tenants, whose shares rounds keep."""

import sqlalchemy as sa

from storage.tables.base import metadata

pins = sa.Table(
    "pins",
    metadata,
    sa.Column("deployment", sa.Text, primary_key=True),
    sa.Column("node", sa.Text, primary_key=True),
    sa.Column("replicas", sa.Integer, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("create_s", sa.Double, nullable=False),
)

freezes = sa.Table(
    "freezes",
    metadata,
    # "" the whole fleet, else a resource name: deployments/chat, nodes/n1
    sa.Column("target", sa.Text, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("create_s", sa.Double, nullable=False),
)

tenants = sa.Table(
    "tenants",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("weight", sa.Double, nullable=False),
    sa.Column("max_offline_work", sa.Double),
    sa.Column("create_s", sa.Double, nullable=False),
    sa.Column("update_s", sa.Double, nullable=False),
)
