"""Batches, items and segments.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.String(63), primary_key=True),
        sa.Column("request_id", sa.String(36), nullable=False, unique=True),
        sa.Column("deployment", sa.String(63), nullable=False),
        sa.Column("tenant", sa.String(63), nullable=False, server_default="default"),
        sa.Column("input_uri", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("message", sa.Text, nullable=False, server_default=""),
        sa.Column("deadline_s", sa.Double),
        sa.Column("create_s", sa.Double, nullable=False),
        sa.Column("start_s", sa.Double),
        sa.Column("end_s", sa.Double),
        sa.Column("intake_offset", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("intake_line", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("is_intake_done", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("pending", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("leased", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("succeeded", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("failed", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("valid_items", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("estimated_prompt_tokens", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("estimated_output_tokens", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("prompt_tokens", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("output_tokens", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("output_uri", sa.Text),
        sa.Column("error_uri", sa.Text),
    )
    op.create_index("ix_batches_state_deployment", "batches", ["state", "deployment"])
    op.create_index("ix_batches_create_s_id", "batches", ["create_s", "id"])
    op.create_table(
        "segments",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("uri", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("create_s", sa.Double, nullable=False),
    )
    op.create_table(
        "items",
        sa.Column("batch", sa.String(63), sa.ForeignKey("batches.id"), primary_key=True),
        sa.Column("line", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("custom_id", sa.String(512)),
        sa.Column("url", sa.String(32), nullable=False, server_default=""),
        sa.Column("body_offset", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("body_length", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
        sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
        sa.Column("losses", sa.Integer, nullable=False, server_default="0"),
        sa.Column("node", sa.String(63)),
        sa.Column("replica", sa.String(63)),
        sa.Column("error_code", sa.String(64)),
        sa.Column("error_message", sa.Text),
        sa.Column("segment", sa.String(36), sa.ForeignKey("segments.id")),
        sa.Column("segment_offset", sa.BigInteger),
        sa.Column("segment_length", sa.BigInteger),
    )
    _partial_index("ix_items_custom_id", ["batch", "custom_id"], "custom_id IS NOT NULL", True)
    op.create_index("ix_items_batch_state_line", "items", ["batch", "state", "line"])
    _partial_index("ix_items_leased", ["node", "replica"], "state = 'leased'", False)


def downgrade() -> None:
    for table in ("items", "segments", "batches"):
        op.drop_table(table)


def _partial_index(name: str, columns: list[str], where: str, unique: bool) -> None:
    clause = sa.text(where)
    op.create_index(
        name, "items", columns, unique=unique, sqlite_where=clause, postgresql_where=clause
    )
