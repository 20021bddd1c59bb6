"""Deployments and their allocations."""

import sqlalchemy as sa

from storage.tables.base import metadata

deployments = sa.Table(
    "deployments",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("spec", sa.JSON, nullable=False),
    sa.Column("needs", sa.JSON(none_as_null=True)),
    sa.Column("needs_error", sa.Text, nullable=False),
    sa.Column("is_deleted", sa.Boolean, nullable=False),
    sa.Column("create_s", sa.Double, nullable=False),
    sa.Column("update_s", sa.Double, nullable=False),
)

allocations = sa.Table(
    "allocations",
    metadata,
    sa.Column("replica", sa.Text, primary_key=True),
    sa.Column("deployment", sa.Text, sa.ForeignKey("deployments.id"), nullable=False, index=True),
    sa.Column("node", sa.Text, sa.ForeignKey("nodes.id"), nullable=False, index=True),
    sa.Column("devices", sa.JSON, nullable=False),
    sa.Column("desired", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("online_share", sa.Double, nullable=False),
    sa.Column("offline_share", sa.Double, nullable=False),
    sa.Column("latency_budget_ms", sa.Double, nullable=False),
    sa.Column("slo_class", sa.Text, nullable=False, server_default=""),
    sa.Column("after", sa.JSON, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("engine", sa.JSON, nullable=False),
    sa.Column("round", sa.BigInteger, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("create_s", sa.Double, nullable=False),
)
