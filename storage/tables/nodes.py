"""Nodes and their devices."""

import sqlalchemy as sa

from storage.tables.base import metadata

nodes = sa.Table(
    "nodes",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("failure_domain", sa.Text, nullable=False),
    sa.Column("agent_version", sa.Text, nullable=False),
    sa.Column("sglang_version", sa.Text, nullable=False),
    sa.Column("protocol_version", sa.Integer, nullable=False),
    sa.Column("incarnation", sa.Text, nullable=False),
    sa.Column("labels", sa.JSON, nullable=False),
    sa.Column("operator_labels", sa.JSON, nullable=False, server_default="{}"),
    sa.Column("host_memory_bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("warm_models", sa.JSON, nullable=False, server_default="[]"),
    sa.Column("is_ready", sa.Boolean, nullable=False),
    sa.Column("is_cordoned", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("drain_deadline_s", sa.Double),
    sa.Column("message", sa.Text, nullable=False),
)

devices = sa.Table(
    "devices",
    metadata,
    sa.Column("node", sa.Text, sa.ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("index", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("device_type", sa.Text, nullable=False),
    sa.Column("memory_bytes", sa.BigInteger, nullable=False),
)
